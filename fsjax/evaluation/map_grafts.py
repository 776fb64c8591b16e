"""Judge the maps of a search method by grafts between a run's test images."""

import hashlib

import numpy as np
from jaxtyping import Bool, Int
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.data.selection import sample_of_class
from fsjax.engine.model import Model
from fsjax.evaluation import grafting, share_grid
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.grafting import Candidates
from fsjax.evaluation.grafts import GraftSample
from fsjax.evaluation.results import Unfiltered
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime.storage import Path
from fsjax.search import mask_rule


def judge_maps(
    config: ConfigDict,
    classifier: Model,
    maps: DominantFrequencyMaps,
    test: Dataset,
    unfiltered: Unfiltered,
    usable: Int[np.ndarray, " usable"],
    folder: Path | None,
) -> Grafts | None:
    """Return what grafts say of the maps; None where config.evaluate.pairs is 0. Collective.

    Pairs are drawn from the usable test images. Verdicts rest on the maps at shares up to the one nearest to
    config.report.share. Outcomes are stored in the folder, so that a restart computes only the rest.
    """
    if not config.evaluate.pairs:
        return None
    sample = GraftSample(
        images=lambda rows: np.asarray(normalise(test.images(rows), *classifier.mean_std)),
        labels=test.labels,
        usable=usable,
        tpr=unfiltered.tpr,
        fpr=unfiltered.fpr,
        pairs=config.evaluate.pairs,
        seed=config.seed,
        why_none=_why_none(len(maps.classes), len(usable) < len(test)),
    )
    candidates = candidates_of(maps, maps.nearest(config.report.share))
    directory = folder and folder / _identity(maps, candidates, sample)
    return grafting.judge(classifier, candidates, sample, memory_mib=config.run.memory_mib, directory=directory)


def candidates_of(maps: DominantFrequencyMaps, largest_tested: float) -> Candidates:
    """Return the maps at the shares of a curve and at those that are tested; at their own alone without scores."""
    height, width = maps.masks.shape[2:]
    curve = grafting.curve_shares(height, width)
    cut = share_grid.shares_of(maps, curve)
    own = [share for share in maps.shares if share <= largest_tested or share in curve or not cut]
    shares = tuple(sorted({*own, *cut}))
    rule = mask_rule(maps)

    def masks(label: int) -> Bool[np.ndarray, "shares height width"]:
        def at(share: float) -> Bool[np.ndarray, "height width"]:
            if share in maps.shares:
                return maps.masks[maps.shares.index(share), label]
            assert maps.scores is not None, "only scores are cut"
            return rule(maps.scores[label], share)

        return np.stack([at(share) for share in shares])

    tested = tuple(share <= largest_tested for share in shares)
    return Candidates(maps.classes, shares, tested, masks)


def unseen(config: ConfigDict, maps: DominantFrequencyMaps, test: Dataset) -> Int[np.ndarray, " usable"]:
    """Return the test images that the search has not seen; none where it is not known which it has."""
    everything = np.arange(len(test))
    if maps.searched_on != "test":
        return everything
    if maps.method == "imported":
        return everything[:0]
    seen = [
        sample_of_class(test.labels, label, config.search.images_per_class, config.seed)
        for label in range(len(maps.classes))
    ]
    return np.setdiff1d(everything, np.concatenate(seen))


def _why_none(classes: int, searched: bool) -> str:
    if classes == 1:
        return "there is no other class whose images could be grafted"
    images = "test images that were not searched" if searched else "test images"
    return f"too few {images}: it takes two of the class, and one of another"


def _identity(maps: DominantFrequencyMaps, candidates: Candidates, sample: GraftSample) -> str:
    """Return a name for everything that outcomes depend on beside the model."""
    # The method cuts its scores by its own rule, and what is tested has more masks.
    numbers = (maps.method, maps.shares, candidates.shares, candidates.tested, sample.pairs, sample.seed)
    digest = hashlib.sha256(repr(numbers).encode())
    for array in (maps.masks, maps.scores, sample.usable, sample.labels):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
