"""The figures of a run, for its page and for a paper."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from fsjax.evaluation.ood.results import average_tpr
from fsjax.evaluation.results import Evaluation, planted_positions
from fsjax.fourier import masks
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import figures, verdict_figures
from fsjax.report.overview import Subject
from fsjax.search import method_for_maps


def result_figures(
    maps: DominantFrequencyMaps, evaluation: Evaluation, share: float, threshold: float
) -> dict[str, Callable[[], Figure]]:
    """Return functions that draw maps at one of their shares and their results, by name."""
    evaluated = evaluation.methods[maps.method]
    names, at_share, grafts = maps.classes[: figures.MOST_CLASSES], evaluated.at(share), evaluated.grafts
    shown = maps.at(share)[: len(names)]

    def published_and_verdict() -> Figure:
        kinds = [verdict.kind for verdict in grafts.verdicts] if grafts else [""] * len(maps.classes)
        rates = at_share.tpr, at_share.fpr
        return verdict_figures.published_and_verdict(*rates, kinds, maps.classes, share, threshold)

    def rates() -> Figure:
        by_share = [evaluated.at(each) for each in maps.shares]
        tpr, fpr = (np.stack([getattr(each, rate)[: len(names)] for each in by_share]) for rate in ("tpr", "fpr"))
        return figures.rates(list(maps.shares), tpr, fpr, names)

    curve = average_tpr(at_share.tpr, at_share.tpr, evaluation.unfiltered.tpr)
    drawn: dict[str, Callable[[], Figure]] = {}
    if grafts is not None:
        drawn["psi"] = lambda: verdict_figures.psi_curves(grafts, names)
    drawn |= {
        "published_and_verdict": published_and_verdict,
        "radial_profiles": lambda: verdict_figures.radial_profiles(shown, names, share),
        "maps": lambda: figures.map_grid(shown, names, share),
        "rates": rates,
        "average_tpr": lambda: verdict_figures.average_tpr({"in distribution": curve}),
    }
    if (scores := maps.scores) is not None:
        method = method_for_maps(maps)
        drawn["scores"] = lambda: figures.score_grid(method.drawable(scores[: len(names)]), names, method.scored)
    return drawn


def planted(subject: Subject) -> Figure:
    """Draw the planted orbits of each class over as many orbits with the best scores."""
    names, scores, orbits = subject.maps.classes, subject.maps.scores, subject.test.planted
    assert scores is not None and orbits is not None
    truth = planted_positions(orbits)
    labels = np.flatnonzero(truth.any((1, 2)))
    best = np.stack([masks.best_orbits(scores[label], int(truth[label].sum())) for label in labels])
    recovered = [(names[label], subject.evaluated.planted[names[label]]) for label in labels]
    titles = [f"{name}\n{each.found} of {each.planted_orbits} found" for name, each in recovered]
    return figures.planted_grid(best, truth[labels], titles)
