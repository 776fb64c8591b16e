"""The figures of a run: those of its page, and those that lie beside it for a paper."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.evaluation.evaluate import truth_of
from fsjax.evaluation.ood.average_tpr import average_tpr
from fsjax.fourier import masks, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models.classifier import Classifier
from fsjax.report import figures, ood_figures
from fsjax.search import method_of

# Classes of which sample images are drawn for a paper; the page shows those of all.
_SAMPLED = 10


def draw(
    config: ConfigDict,
    classifier: Classifier,
    maps: DominantFrequencyMaps,
    test: Dataset,
    evaluation: dict,
    overlaps: Float[np.ndarray, "drawn drawn"],
) -> Iterator[tuple[str, Figure]]:
    """Names and figures.

    Args:
      config: of the run.
      classifier: whose mean and deviation images are normalised with.
      maps: that are shown, at the share nearest to config.report.share.
      test: images to show filtered.
      evaluation: evaluation.json.
      overlaps: IoU of the maps of every two of the classes that are drawn.
    """
    result, share = evaluation[maps.method], maps.nearest(config.report.share)
    kept, names = maps.at(share)[: figures.MOST_CLASSES], maps.classes[: figures.MOST_CLASSES]
    yield "maps", figures.map_grid(kept, names, share)
    if maps.scores is not None:
        yield "scores", _score_grid(maps, names)
    keys = [f"{value:g}" for value in maps.shares]
    yield (
        "rates",
        figures.rates(
            list(maps.shares),
            [result[key]["tpr"][: figures.MOST_CLASSES] for key in keys],
            [result[key]["fpr"][: figures.MOST_CLASSES] for key in keys],
            names,
        ),
    )
    for label in range(min(len(names), _SAMPLED)):
        shown = np.flatnonzero(test.labels == label)[: config.report.samples]
        if not len(shown):
            continue
        originals = test.images(shown)
        normalised = normalise(originals, *classifier.mean_std)
        filtered = np.asarray(spectrum.filter_images(normalised, jnp.asarray(kept[label : label + 1])))[0]
        seen = filtered * classifier.mean_std[1] + classifier.mean_std[0]
        yield f"samples-{label}", figures.samples(originals / 255.0, seen, names[label])
    own, plain = (np.array(rates["tpr"], float) for rates in (result[f"{share:g}"], evaluation["unfiltered"]))
    yield "average_tpr", ood_figures.average_tpr({"in distribution": average_tpr(own, own, plain)})
    if len(names) > 1 and np.isfinite(overlaps[~np.eye(len(overlaps), dtype=bool)]).any():
        yield "overlap", figures.overlap_matrix(overlaps, names, share)
    if test.planted is not None and maps.scores is not None:
        yield "planted", _planted_figure(maps, truth_of(test.planted), result["planted"])


def _planted_figure(maps: DominantFrequencyMaps, truth: np.ndarray, recovery: dict) -> Figure:
    assert maps.scores is not None, "without scores there is nothing to hold against what was planted"
    labels = np.flatnonzero(truth.any((1, 2)))
    found = [masks.best_orbits(maps.scores[label], int(truth[label].sum())) for label in labels]
    titles = [
        f"{maps.classes[label]}\n{recovery[maps.classes[label]]['found']} of "
        f"{recovery[maps.classes[label]]['planted_orbits']} found"
        for label in labels
    ]
    return figures.planted_grid(np.stack(found), truth[labels], titles)


def _score_grid(maps: DominantFrequencyMaps, names: tuple[str, ...]) -> Figure:
    assert maps.scores is not None, "drawn where there are scores"
    method = method_of(maps)
    return figures.score_grid(method.drawable(maps.scores[: figures.MOST_CLASSES]), names, method.scored)
