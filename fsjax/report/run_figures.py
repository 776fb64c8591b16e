"""The figures of a run: those of its page, and those beside it for a paper."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.evaluation import planted
from fsjax.evaluation.ood.average_tpr import average_tpr
from fsjax.evaluation.results import Evaluation, Recovery
from fsjax.fourier import masks, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models.classifier import Classifier
from fsjax.report import figures, graft_figures, ood_figures
from fsjax.search import method_of

# Most classes whose sample images are drawn for a paper; the page shows those of all.
_MOST_SAMPLED = 10


def draw(
    config: ConfigDict,
    classifier: Classifier,
    maps: DominantFrequencyMaps,
    test: Dataset,
    evaluation: Evaluation,
    rows: list[dict],
    overlaps: Float[np.ndarray, "drawn drawn"],
) -> Iterator[tuple[str, Figure]]:
    """Yield names and figures: of the maps at the share nearest to config.report.share, and of filtered test images.

    `rows` are those of `overview.rows`. `overlaps` is the IoU of the maps of every two of the classes that are drawn.
    """
    evaluated, share = evaluation.methods[maps.method], maps.nearest(config.report.share)
    masks, names = maps.at(share)[: figures.MOST_CLASSES], maps.classes[: figures.MOST_CLASSES]
    if evaluated.grafts is not None:
        yield "psi", graft_figures.psi_curves(evaluated.grafts, names)
    of_share, kinds = evaluated.at(share), [row["kind"] for row in rows]
    threshold = config.evaluate.threshold
    yield (
        "published_and_verdict",
        graft_figures.published_and_verdict(of_share.tpr, of_share.fpr, kinds, maps.classes, share, threshold),
    )
    yield "radial_profiles", graft_figures.radial_profiles(masks, names, share)
    yield "maps", figures.map_grid(masks, names, share)
    if maps.scores is not None:
        method = method_of(maps)
        yield "scores", figures.score_grid(method.drawable(maps.scores[: len(names)]), names, method.scored)
    rates = [evaluated.at(own) for own in maps.shares]
    tpr, fpr = (np.stack([getattr(at, rate)[: len(names)] for at in rates]) for rate in ("tpr", "fpr"))
    yield "rates", figures.rates(list(maps.shares), tpr, fpr, names)
    for label in range(min(len(names), _MOST_SAMPLED)):
        indices = np.flatnonzero(test.labels == label)[: config.report.samples]
        if len(indices):
            yield f"samples-{label}", _samples(classifier, test.images(indices), masks[label], names[label])
    own_tpr = evaluated.at(share).tpr
    curve = average_tpr(own_tpr, own_tpr, evaluation.unfiltered.tpr)
    yield "average_tpr", ood_figures.average_tpr({"in distribution": curve})
    if len(names) > 1 and np.isfinite(overlaps[~np.eye(len(overlaps), dtype=bool)]).any():
        yield "overlap", figures.overlap_matrix(overlaps, names, share)
    if test.planted is not None and maps.scores is not None:
        yield "planted", _planted(maps.scores, planted.positions(test.planted), maps.classes, evaluated.planted)


def _samples(
    classifier: Classifier,
    images: UInt8[np.ndarray, "images height width 3"],
    mask: Bool[np.ndarray, "height width"],
    name: str,
) -> Figure:
    mean, std = classifier.mean_std
    filtered = np.asarray(spectrum.filter_images(normalise(images, mean, std), jnp.asarray(mask[None])))[0]
    return figures.samples(images / 255.0, filtered * std + mean, name)


def _planted(
    scores: Float[np.ndarray, "classes height width"],
    truth: Bool[np.ndarray, "classes height width"],
    names: tuple[str, ...],
    recovery: dict[str, Recovery],
) -> Figure:
    labels = np.flatnonzero(truth.any((1, 2)))
    best = np.stack([masks.best_orbits(scores[label], int(truth[label].sum())) for label in labels])
    of_classes = [(names[label], recovery[names[label]]) for label in labels]
    titles = [f"{name}\n{of_class.found} of {of_class.planted_orbits} found" for name, of_class in of_classes]
    return figures.planted_grid(best, truth[labels], titles)
