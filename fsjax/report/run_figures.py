"""The figures of a run: those of its page, and those beside it for a paper."""

import functools
from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Num
from matplotlib.figure import Figure

from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.evaluation import planted
from fsjax.evaluation.ood.average_tpr import average_tpr
from fsjax.evaluation.results import Evaluation, Recovery
from fsjax.fourier import masks, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import figures, graft_figures, ood_figures
from fsjax.report.class_rows import class_rows
from fsjax.report.shown import Shown
from fsjax.search import method_for_maps

# Most classes whose sample images are drawn for a paper; the page shows those of all.
_MOST_SAMPLED = 10


def draw(shown: Shown, overlaps: Float[np.ndarray, "drawn drawn"]) -> Iterator[tuple[str, Figure]]:
    """Yield names and figures of a page: of the maps at its share, and of filtered test images.

    `overlaps` is the IoU of the maps of every two of the classes that are drawn.
    """
    maps, test, share = shown.maps, shown.test, shown.share
    for name, figure in of_results(maps, shown.evaluation, share, shown.threshold).items():
        yield name, figure()
    masks, names = maps.at(share)[: figures.MOST_CLASSES], maps.classes[: figures.MOST_CLASSES]
    for label in range(min(len(names), _MOST_SAMPLED)):
        indices = np.flatnonzero(test.labels == label)[: shown.config.report.samples]
        if len(indices):
            yield f"samples-{label}", _samples(shown.classifier, test.images(indices), masks[label], names[label])
    if len(names) > 1 and np.isfinite(overlaps[~np.eye(len(overlaps), dtype=bool)]).any():
        yield "overlap", figures.overlap_matrix(overlaps, names, share)
    if test.planted is not None and maps.scores is not None:
        yield "planted", _planted(maps.scores, planted.positions(test.planted), maps.classes, shown.evaluated.planted)


def of_results(
    maps: DominantFrequencyMaps, evaluation: Evaluation, share: float, threshold: float
) -> dict[str, Callable[[], Figure]]:
    """Return names and what draws them: the figures of maps, at one of their shares, and of what was measured."""
    evaluated = evaluation.methods[maps.method]
    masks, names = maps.at(share)[: figures.MOST_CLASSES], maps.classes[: figures.MOST_CLASSES]
    at_share, grafts = evaluated.at(share), evaluated.grafts
    kinds = [row["kind"] for row in class_rows(maps.classes, at_share, grafts)]
    rates = [evaluated.at(own) for own in maps.shares]
    tpr, fpr = (np.stack([getattr(at, rate)[: len(names)] for at in rates]) for rate in ("tpr", "fpr"))
    curve = average_tpr(at_share.tpr, at_share.tpr, evaluation.unfiltered.tpr)
    drawn: dict[str, Callable[[], Figure]] = {}
    if grafts is not None:
        drawn["psi"] = functools.partial(graft_figures.psi_curves, grafts, names)
    drawn |= {
        "published_and_verdict": functools.partial(
            graft_figures.published_and_verdict, at_share.tpr, at_share.fpr, kinds, maps.classes, share, threshold
        ),
        "radial_profiles": functools.partial(graft_figures.radial_profiles, masks, names, share),
        "maps": functools.partial(figures.map_grid, masks, names, share),
        "rates": functools.partial(figures.rates, list(maps.shares), tpr, fpr, names),
        "average_tpr": functools.partial(ood_figures.average_tpr, {"in distribution": curve}),
    }
    if maps.scores is not None:
        method, scores = method_for_maps(maps), maps.scores[: len(names)]
        drawn["scores"] = lambda: figures.score_grid(method.drawable(scores), names, method.scored)
    return drawn


def _samples(
    classifier: Model,
    images: Num[np.ndarray, "images height width 3"],
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
