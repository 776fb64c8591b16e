"""The figures of a run, for its page and for a paper."""

import functools
from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Num
from matplotlib.figure import Figure

from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.evaluation.ood.results import average_tpr
from fsjax.evaluation.results import Evaluation, Recovery, planted_positions
from fsjax.fourier import masks, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import figures, verdict_figures
from fsjax.report.answer import class_rows
from fsjax.report.overview import Subject
from fsjax.search import method_for_maps

# Paper figures show sample images of at most this many classes; the page shows all.
_MOST_SAMPLED = 10


def draw(subject: Subject, overlaps: Float[np.ndarray, "drawn drawn"]) -> Iterator[tuple[str, Figure]]:
    """Yield names and figures of a page: maps and rates at its share, and filtered test images.

    `overlaps` is the IoU between the maps of every two drawn classes.
    """
    maps, test, share = subject.maps, subject.test, subject.share
    for name, figure in result_figures(maps, subject.evaluation, share, subject.threshold).items():
        yield name, figure()
    masks, names = maps.at(share)[: figures.MOST_CLASSES], maps.classes[: figures.MOST_CLASSES]
    for label in range(min(len(names), _MOST_SAMPLED)):
        indices = np.flatnonzero(test.labels == label)[: subject.config.report.samples]
        if len(indices):
            yield f"samples-{label}", _samples(subject.model, test.images(indices), masks[label], names[label])
    if len(names) > 1 and np.isfinite(overlaps[~np.eye(len(overlaps), dtype=bool)]).any():
        yield "overlap", figures.overlap_matrix(overlaps, names, share)
    if test.planted is not None and maps.scores is not None:
        truth = planted_positions(test.planted)
        yield "planted", _planted(maps.scores, truth, maps.classes, subject.evaluated.planted)


def result_figures(
    maps: DominantFrequencyMaps, evaluation: Evaluation, share: float, threshold: float
) -> dict[str, Callable[[], Figure]]:
    """Return functions that draw maps at one of their shares and their results, by name."""
    evaluated, grafts = evaluation.methods[maps.method], evaluation.methods[maps.method].grafts
    names, at_share = maps.classes[: figures.MOST_CLASSES], evaluated.at(share)
    masks = maps.at(share)[: len(names)]
    kinds = [row["kind"] for row in class_rows(maps.classes, at_share, grafts)]
    tpr, fpr = (
        np.stack([getattr(evaluated.at(each), rate)[: len(names)] for each in maps.shares]) for rate in ("tpr", "fpr")
    )
    curve = average_tpr(at_share.tpr, at_share.tpr, evaluation.unfiltered.tpr)
    drawn: dict[str, Callable[[], Figure]] = {}
    if grafts is not None:
        drawn["psi"] = functools.partial(verdict_figures.psi_curves, grafts, names)
    drawn |= {
        "published_and_verdict": functools.partial(
            verdict_figures.published_and_verdict, at_share.tpr, at_share.fpr, kinds, maps.classes, share, threshold
        ),
        "radial_profiles": functools.partial(verdict_figures.radial_profiles, masks, names, share),
        "maps": functools.partial(figures.map_grid, masks, names, share),
        "rates": functools.partial(figures.rates, list(maps.shares), tpr, fpr, names),
        "average_tpr": functools.partial(verdict_figures.average_tpr, {"in distribution": curve}),
    }
    if maps.scores is not None:
        method, scores = method_for_maps(maps), maps.scores[: len(names)]
        drawn["scores"] = lambda: figures.score_grid(method.drawable(scores), names, method.scored)
    return drawn


def _samples(
    model: Model,
    images: Num[np.ndarray, "images height width 3"],
    mask: Bool[np.ndarray, "height width"],
    name: str,
) -> Figure:
    mean, std = model.mean_std
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
    recovered = [(names[label], recovery[names[label]]) for label in labels]
    titles = [f"{name}\n{each.found} of {each.planted_orbits} found" for name, each in recovered]
    return figures.planted_grid(best, truth[labels], titles)
