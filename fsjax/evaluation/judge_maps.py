"""Judge the maps of a search method by grafts: choose masks and images, measure each class, and give the verdicts."""

import dataclasses
from collections.abc import Callable, Collection

import jax
import numpy as np
from jaxtyping import Bool, Int
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.data.selection import Pairs, sample_of_class
from fsjax.engine.model import Model
from fsjax.evaluation import graft_measures, verdict
from fsjax.evaluation.graft_outcomes import ClassGrafts, Grafter, GraftSample
from fsjax.evaluation.graft_results import Baseline, Curve, GraftRates, Grafts, Triggers, Verdict
from fsjax.evaluation.rates import grid_shares
from fsjax.evaluation.results import Unfiltered
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import digest
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search import mask_rule

# Shares of a curve: their number, the largest, and the least that is of interest on a large plane.
_POINTS, _LARGEST, _LEAST = 10, 0.5, 0.001


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Masks of every class at ascending shares; a verdict may rest on the first `tested`, one or more."""

    names: tuple[str, ...]
    shares: tuple[float, ...]
    tested: int
    masks: Callable[[int], Bool[np.ndarray, "shares height width"]]


def judge_maps(
    config: ConfigDict,
    model: Model,
    maps: DominantFrequencyMaps,
    test: Dataset,
    unfiltered: Unfiltered,
    usable: Int[np.ndarray, " usable"],
    folder: Path | None,
    triggers: Triggers | None = None,
    only: Collection[int] | None = None,
) -> Grafts | None:
    """Judge maps by grafts between a run's usable test images; None where config.evaluate.pairs is 0. Collective.

    Verdicts rest on the maps at shares up to the share nearest to config.report.share. `only` as in `judge`.
    """
    if not config.evaluate.pairs:
        return None
    images = "test images that were not searched" if len(usable) < len(test) else "test images"
    why_none = f"too few {images}: a verdict needs two of the class, and one of another"
    if len(maps.classes) == 1:
        why_none = "there is no other class whose images could be grafted"
    sample = GraftSample(
        images=lambda rows: normalise(test.images(rows), *model.mean_std),
        labels=test.labels,
        usable=usable,
        tpr=unfiltered.tpr,
        fpr=unfiltered.fpr,
        pairs=config.evaluate.pairs,
        seed=config.seed,
        why_none=why_none,
    )
    candidates = cut_candidates(maps, maps.nearest(config.report.share))
    # All that outcomes depend on beside the model. The method cuts its scores by its own rule, and tested shares have
    # more masks.
    numbers = (maps.method, maps.shares, candidates.shares, candidates.tested, sample.pairs, sample.seed)
    identity = digest((np.array(repr(numbers)), maps.masks, maps.scores, usable, test.labels))[:16]
    directory = folder and folder / identity
    memory_mib = config.run.memory_mib
    return judge(model, candidates, sample, triggers=triggers, only=only, memory_mib=memory_mib, directory=directory)


def judge(
    model: Model,
    candidates: Candidates,
    sample: GraftSample,
    *,
    triggers: Triggers | None = None,
    only: Collection[int] | None = None,
    memory_mib: int = 0,
    directory: Path | None = None,
) -> Grafts:
    """Measure every class's masks by grafts, and give the verdicts. Collective; memory and directory as in Grafter.

    `only` are the classes to measure, None all; the others stay without pairs.
    """
    count, shares, tested = len(candidates.names), candidates.shares, candidates.tested
    nothing, chosen = np.zeros(0, int), range(count) if only is None else only
    pairs = [sample.draw(label) if label in chosen else Pairs(*[nothing] * 4) for label in range(count)]
    grafter = Grafter(model, sample, memory_mib, directory)
    measures = [graft_measures.unknown(len(shares))] * count
    labels = [label for label in range(count)[parallel.share(count)] if len(pairs[label])]
    level = verdict.level(count, tested)
    grafts_each = grafts_a_class(sample.pairs, tested)
    with Progress("evaluate grafts", len(labels) * grafts_each, "grafts") as progress:
        for number, label in enumerate(labels, 1):
            grafts = ClassGrafts(grafter, label, pairs[label], progress)
            is_recognised = verdict.is_recognised(float(sample.tpr[label]), float(sample.fpr[label]))
            control = verdict.control(float(grafts.base.mean()), count)
            measures[label] = graft_measures.measure(
                grafts, candidates.masks(label), shares, tested, level, sample.seed, control, is_recognised
            )
            progress.skip(number * grafts_each - progress.count)  # most classes need fewer
    return _results(candidates, sample, triggers, pairs, measures)


def grafts_a_class(pairs: int, tested: int) -> int:
    """Return how many grafts `judge` makes for a class at most, with these numbers of pairs and tested shares."""
    return pairs * graft_measures.grafts_a_pair(tested)


def curve_shares(height: int, width: int) -> tuple[float, ...]:
    """Return shares of the plane, ascending by a constant factor, rounded up so that each has room for an orbit."""
    shares = np.geomspace(max(2 / (height * width), _LEAST), _LARGEST, _POINTS)
    return tuple((np.ceil(shares * 1e5) / 1e5).tolist())


def cut_candidates(maps: DominantFrequencyMaps, largest_tested: float) -> Candidates:
    """Return the maps at the shares of a curve and at the tested shares; without scores at their own shares alone."""
    height, width = maps.masks.shape[2:]
    curve = curve_shares(height, width)
    cut = grid_shares(maps, curve)
    own = [share for share in maps.shares if share <= largest_tested or share in curve or not cut]
    shares = tuple(sorted({*own, *cut}))

    def masks(label: int) -> Bool[np.ndarray, "shares height width"]:
        if not cut or maps.scores is None:
            return maps.masks[:, label]
        rule, scores = mask_rule(maps), maps.scores[label]
        return np.stack([rule(scores, share) for share in shares])

    return Candidates(maps.classes, shares, sum(share <= largest_tested for share in shares), masks)


def unseen(config: ConfigDict, maps: DominantFrequencyMaps, test: Dataset) -> Int[np.ndarray, " usable"]:
    """Return the test images that the search has not seen; none for imported maps that were searched on test images."""
    everything = np.arange(len(test))
    if maps.searched_on != "test":
        return everything
    if maps.method == "imported":
        return everything[:0]
    images_each, classes = config.search.images_per_class, range(len(maps.classes))
    seen = [sample_of_class(test.labels, label, images_each, config.seed) for label in classes]
    return np.setdiff1d(everything, np.concatenate(seen))


def _results(
    candidates: Candidates, sample: GraftSample, triggers: Triggers | None, pairs: list[Pairs], measures: list[dict]
) -> Grafts:
    """Merge the measures of all classes, which processes have for some classes each, and add the verdicts."""
    merged = jax.tree.map(lambda *values: parallel.merge(np.stack(values)), *measures)
    images = [(drawn.donors, drawn.recipients) for drawn in pairs]
    donors, recipients = np.array([[len(np.unique(side)) for side in sides] for sides in images]).T
    # Arrays have the classes first, psi of a curve the shares.
    curve = {name: np.moveaxis(array, 0, int(name.startswith("psi"))) for name, array in merged["curve"].items()}
    grafts = Grafts(
        baseline=Baseline(np.array([len(drawn) for drawn in pairs]), donors, recipients, merged["base"]),
        rates=GraftRates(**merged["rates"]),
        tested_shares=candidates.shares[: candidates.tested],
        curve_shares=candidates.shares,
        curve=Curve(**curve),
        made=np.nan_to_num(merged["made"]).astype(int),
        verdicts=(),
    )
    verdicts = [class_verdict(grafts, sample, triggers, label, candidates.names) for label in range(len(pairs))]
    return dataclasses.replace(grafts, verdicts=tuple(verdicts))


def class_verdict(
    grafts: Grafts, sample: GraftSample, triggers: Triggers | None, label: int, names: tuple[str, ...]
) -> Verdict:
    """Return the verdict on a class by the measures of its grafts, which lack verdicts, and the sample's rates."""
    pairs, smallest = int(grafts.baseline.pairs[label]), float(grafts.curve.smallest[label])
    at, name = grafts.rates.at(label) if pairs else None, names[label]
    decision = verdict.decide(
        at,
        tpr=float(sample.tpr[label]),
        fpr=float(sample.fpr[label]),
        base=float(grafts.baseline.base[label]),
        classes=len(names),
        pairs=pairs,
        level=verdict.level(len(names), len(grafts.tested_shares)),
        why_none=sample.why_none,
    )
    kind, reason, by = verdict.or_trigger(decision, triggers, label)
    return Verdict(
        name=name,
        kind=kind,
        by=by,
        share=float(at.share) if at else None,
        psi=float(at.psi) if at else None,
        psi_ci=tuple(at.psi_ci.tolist()) if at else (),
        smallest=None if np.isnan(smallest) else smallest,
        sentence=f"{name}: {kind}{' by ' + by if by else ''}: {reason}.",
    )
