"""Figures of verdicts and rates, of a run and of a study: psi, TPR and FPR, AvgTPR, radial profiles, maps in rows."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.ood import results as ood_results
from fsjax.evaluation.ood.results import Group, Point
from fsjax.evaluation.results import Evaluation
from fsjax.evaluation.verdict import CONTROL
from fsjax.fourier import spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import figures, style
from fsjax.report.figures import COLUMNS, PANEL
from fsjax.report.style import DOUBLE, SINGLE, SMALL, Inches, Masks, colour_bar, draw_mask, frequency_axes
from fsjax.search import method_for_maps


class Look(NamedTuple):
    """How a kind of verdict looks: by sign and marker as well, so that colour alone never tells."""

    sign: str  # on pages
    tone: str  # a class of the page's style; 'controlled': by a map that is no shortcut, 'open': undecided
    marker: str  # in figures
    colour: str  # in figures


LOOKS = {
    "shortcut": Look("\N{BLACK UP-POINTING TRIANGLE}", "shortcut", "^", style.VERMILION),
    "trigger": Look("\N{BLACK STAR}", "shortcut", "*", style.BLACK),
    "band": Look("\N{BLACK DIAMOND}", "controlled", "D", style.ORANGE),
    "coarse": Look("\N{BLACK SQUARE}", "controlled", "s", style.SKY),
    "by absence": Look("\N{WHITE DOWN-POINTING TRIANGLE}", "controlled", "v", style.PURPLE),
    "default class": Look("\N{BULLSEYE}", "open", "P", style.GREEN),
    "spread": Look("\N{WHITE CIRCLE}", "spread", "o", style.BLUE),
    "not recognised": Look("\N{MULTIPLICATION X}", "open", "X", style.GREY),
    "undecided": Look("?", "open", "h", style.GREY),
    "": Look("\N{EN DASH}", "open", ".", style.BLACK),  # without grafts
}

# Controls whose psi is drawn at the share of the verdict, by the field of GraftRates: name, marker, colour.
_CONTROLS = {
    "low_pass_psi": ("low-pass", "x", style.VERMILION),
    "radial_psi": ("random, radial profile", "1", style.GREY),
}
_Rates: TypeAlias = Float[np.ndarray, " classes"]
_SeedRates: TypeAlias = Float[np.ndarray, "seeds classes"]
# Ways of training: colours that colour-blind readers can tell apart, and markers for print.
_STUDY_COLOURS, _STUDY_MARKERS = (*style.COLOURS[1:], style.BLACK), "osD^vP*"
# Classes have their name beside the marker where there are at most this many.
_MOST_NAMED = 12
# AvgTPR: groups of classes with their colour, rates with their line, and shares in the key.
_GROUPS = (("shortcut", "classes above t", style.BLUE), ("other", "other classes", style.VERMILION))
_RATES = (("filtered", "-", "under their maps"), ("unfiltered", ":", "unfiltered"))
_KEY_SHARES = (0.1, 0.5, 1.0)


def result_figures(
    maps: DominantFrequencyMaps, evaluation: Evaluation, share: float, threshold: float
) -> dict[str, Callable[[], Figure]]:
    """Return functions that draw maps at one of their shares and their results, by name."""
    evaluated = evaluation.methods[maps.method]
    names, at_share, grafts = maps.classes[: figures.MOST_CLASSES], evaluated.at(share), evaluated.grafts
    shown = maps.at(share)[: len(names)]

    def published() -> Figure:
        kinds = [verdict.kind for verdict in grafts.verdicts] if grafts else [""] * len(maps.classes)
        return published_and_verdict(at_share.tpr, at_share.fpr, kinds, maps.classes, share, threshold)

    def rates() -> Figure:
        by_share = [evaluated.at(each) for each in maps.shares]
        tpr, fpr = (np.stack([getattr(each, rate)[: len(names)] for each in by_share]) for rate in ("tpr", "fpr"))
        return figures.rates(list(maps.shares), tpr, fpr, names)

    curve = ood_results.average_tpr(at_share.tpr, at_share.tpr, evaluation.unfiltered.tpr)
    drawn: dict[str, Callable[[], Figure]] = {}
    if grafts is not None:
        drawn["psi"] = lambda: psi_curves(grafts, names)
    drawn |= {
        "published_and_verdict": published,
        "radial_profiles": lambda: radial_profiles(shown, names, share),
        "maps": lambda: figures.map_grid(shown, names, share),
        "rates": rates,
        "average_tpr": lambda: average_tpr({"in distribution": curve}),
    }
    if (scores := maps.scores) is not None:
        method = method_for_maps(maps)
        drawn["scores"] = lambda: figures.score_grid(method.drawable(scores[: len(names)]), names, method.scored)
    return drawn


@style.paper
def psi_curves(grafts: Grafts, names: tuple[str, ...], width: Inches = DOUBLE) -> Figure:
    """Draw psi of each class's map where it was measured, with 95 % interval, and controls at the verdict's share.

    A triangle on the line at 1/2 marks the smallest share at which the map's psi reaches it.
    """
    shares, curve, rates = np.array(grafts.curve_shares), grafts.curve, grafts.rates
    figure, axes, room = style.panels(len(names), width, COLUMNS, PANEL, ratio=0.85, sharey=True)
    ticks = [share for share in (0.001, 0.01, 0.1, 0.5) if shares[0] <= share <= shares[-1]]
    drawn = [curve.psi[:, : len(axes)], *(getattr(rates, field)[: len(axes)] for field in _CONTROLS)]
    lowest = min(-0.08, float(np.nanmin([0.0, *np.concatenate(list(map(np.ravel, drawn)))])) - 0.03)
    for label, (axis, name) in enumerate(zip(axes, names, strict=False)):
        axis.axhline(CONTROL, color="#bbbbbb", lw=0.6, zorder=0)
        measured = np.isfinite(curve.psi[:, label])
        axis.fill_between(shares[measured], *curve.psi_ci[measured, label].T, color=style.BLUE, alpha=0.18, lw=0)
        axis.plot(shares[measured], curve.psi[measured, label], "o-", ms=2.5, color=style.BLUE, label="map")
        for field, (words, marker, colour) in _CONTROLS.items():
            axis.plot(rates.share[label], getattr(rates, field)[label], marker, color=colour, ms=4, label=words)
        axis.plot(curve.smallest[label], CONTROL, "v", color=style.BLACK, ms=3.5, label="smallest share")
        limits = {"xlim": (0.8 * shares[0], 1.25 * shares[-1]), "ylim": (lowest, 1.05)}
        axis.set(**limits, yticks=[0, 0.5, 1], title=style.fitted(name, room))
        style.share_ticks(axis, ticks)
    columns: dict[str, Any] = {"ncols": 5 if width > SINGLE else 2, "columnspacing": 1.2}
    figure.legend(handles=axes[0].lines[1:], loc="outside upper center", frameon=False, **columns)
    figure.supxlabel("share of the plane grafted")
    figure.supylabel("psi")
    return figure


@style.paper
def published_and_verdict(
    tpr: _Rates,
    fpr: _Rates,
    kinds: list[str],
    names: tuple[str, ...],
    share: float,
    threshold: float,
    width: Inches = SINGLE,
) -> Figure:
    """Draw TPR against FPR of every class under its map, its verdict as the marker, and the published threshold."""
    figure = style.empty(min(width, 3.6), 3.1)
    axis = figure.subplots()
    axis.axhline(threshold, color="0.4", lw=0.8, ls=":")
    axis.text(1.02, threshold + 0.015, "published criterion", ha="right", va="bottom", fontsize=SMALL, color="0.3")
    for kind in [kind for kind in LOOKS if kind in kinds]:
        chosen = np.array([other == kind for other in kinds])
        label = f"{kind or 'no verdict'} ({chosen.sum()})"
        axis.plot(fpr[chosen], tpr[chosen], LOOKS[kind].marker, color=LOOKS[kind].colour, ms=5, mew=0, label=label)
    taken: list[tuple[float, float]] = []
    for name, x, y in zip(names, fpr, tpr, strict=True) if len(names) <= _MOST_NAMED else ():
        if np.isfinite([x, y]).all():
            right, low = x > 0.7, y < 0.15
            while any(abs(x - left) < 0.3 and abs(y - beside) < 0.06 for left, beside in taken):
                y += 0.06 if low else -0.06
            taken.append((x, y))
            offset, place = (-4 if right else 4, 2 if low else -2), style.fitted(name, 0.9, SMALL)
            sides: dict[str, Any] = {"ha": "right" if right else "left", "va": "bottom" if low else "top"}
            axis.annotate(place, (x, y), offset, textcoords="offset points", fontsize=SMALL, **sides)
    axis.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel="FPR", ylabel="TPR", aspect="equal")
    axis.set_title(f"Under maps of {100 * share:g} % of the plane")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, columnspacing=1.0, handletextpad=0.2)
    return figure


@style.paper
def average_tpr(curves: dict[str, tuple[Point, ...]], width: Inches = DOUBLE) -> Figure:
    """Draw a panel per set: mean TPR of classes above t and of others, filtered (solid) and unfiltered (dotted).

    The area of a marker is the share of classes in its group; a group without a class has no marker.
    """
    shared = {"sharex": True, "sharey": True}
    figure, axes, room = style.panels(len(curves), width, 3, (1.6, 2.9), ratio=0.8, margins=(0.35, 1.1), **shared)
    for axis, (name, curve) in zip(axes, curves.items(), strict=False):
        thresholds = [point.threshold for point in curve]
        for kind, words, colour in _GROUPS:
            groups: list[Group] = [getattr(point, kind) for point in curve]
            areas = [_area(group.share or 0.0) for group in groups]
            for rate, line, rate_words in _RATES:
                values = np.array([getattr(group, rate) for group in groups], float)
                axis.plot(thresholds, values, line, color=colour, label=f"{words}, {rate_words}")
                filled = colour if rate == "filtered" else "white"
                axis.scatter(thresholds, values, areas, facecolors=filled, edgecolors=colour, linewidths=0.9, zorder=3)
        axis.set(ylim=(-0.06, 1.06), xlim=(0.03, 0.97))
        axis.set_title(style.fitted(name, room))
        axis.set_xticks(np.arange(1, 10, 2) / 10)
        axis.tick_params(labelleft=True, labelbottom=True)
    figure.supxlabel("t: threshold of a class's TPR\nunder its map, in distribution")
    figure.supylabel("AvgTPR")
    dots: dict[str, Any] = {"color": style.GREY, "ls": "", "marker": "o"}
    sizes = [
        Line2D([], [], ms=_area(share) ** 0.5, label=f"{100 * share:g} % of classes", **dots) for share in _KEY_SHARES
    ]
    columns = 1 + (figure.get_figwidth() > 5)
    figure.legend(handles=axes[0].lines, loc="outside upper left", ncols=columns, frameon=False, handlelength=1.6)
    figure.legend(handles=sizes, loc="outside upper right", ncols=1, frameon=False, handlelength=1.2)
    return figure


def _area(share: float) -> float:
    return 4 + 66 * share  # square points


@style.paper
def radial_profiles(masks: Masks, names: tuple[str, ...], share: float, width: Inches = SINGLE) -> Figure:
    """Draw how much of each ring of the plane each class's map keeps: a row for each class, DC on the left."""
    kept, radii = profiles(masks)
    rows = len(names)
    figure = style.empty(width, min(max(0.17 * rows, 0.7), 6.5) + 1.1)
    axis = figure.subplots()
    half = radii[1] / 2 if len(radii) > 1 else 0.5
    extent = (-half, radii[-1] + half, rows - 0.5, -0.5)
    image = axis.imshow(kept, cmap=style.SEQUENTIAL, vmin=0, vmax=1, aspect="auto", extent=extent, interpolation="none")
    axis.set_yticks(*style.spaced(names, figure.get_figheight() - 1.1, 0.9))
    ticks = [tick for tick in (0, 0.25, 0.5) if tick <= radii[-1] + half]
    axis.set(xlabel="radial frequency (cycles/pixel)", xticks=ticks)
    colour_bar(figure, image, [axis], "share of the ring kept", [0, 0.5, 1])
    style.heading(figure, f"Radial profiles of the maps, {100 * share:g} % of the plane")
    return figure


def profiles(masks: Masks) -> tuple[Float[np.ndarray, "classes rings"], Float[np.ndarray, " rings"]]:
    """Return the share of each ring that masks keep, in [0, 1], and the rings' middle radii in cycles per pixel.

    Rings are as wide as one cycle over the longer side; DC is the first.
    """
    longer = max(masks.shape[1:])
    ring = np.rint(spectrum.radius(*masks.shape[1:]) * longer).astype(int).ravel()
    sizes = np.bincount(ring)
    kept = np.stack([np.bincount(ring, mask.ravel(), len(sizes)) for mask in masks])
    present = sizes > 0
    return kept[:, present] / sizes[present], np.arange(len(sizes))[present] / longer


@style.paper
def study_maps(masks: list[Masks], labels: list[str], names: tuple[str, ...], width: Inches = DOUBLE) -> Figure:
    """Draw the mask of each class (columns) in each run (rows): kept frequencies dark."""
    rows, columns = len(masks), len(names)
    pitch = min((width - 0.8) / columns, 1.05)
    figure = style.empty(pitch * columns + 0.8, max(pitch, 0.45) * rows + 0.8)
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, (run_masks, label) in enumerate(zip(masks, labels, strict=True)):
        for column, mask in enumerate(run_masks):
            draw_mask(axes[row, column], mask)
            if row == 0:
                axes[row, column].set_title(style.fitted(names[column], pitch, SMALL), fontsize=SMALL)
        axes[row, 0].set_ylabel(style.fitted(label, max(pitch, 0.45), SMALL), fontsize=SMALL)
    frequency_axes(figure)
    return figure


@style.paper
def study_rates(
    tpr: list[_SeedRates],
    psi: list[_SeedRates],
    labels: list[str],
    names: tuple[str, ...],
    threshold: float,
    width: Inches = DOUBLE,
) -> Figure:
    """Draw psi and TPR of each class's map: mean and range of each way of training over its seeds.

    Without psi only the TPR is drawn. Dotted lines: the psi that controls a class; the TPR's threshold.
    """
    panels = [("TPR on the map's frequencies", tpr, threshold)]
    if any(np.isfinite(values).any() for values in psi):
        panels.insert(0, ("psi of the map", psi, CONTROL))
    figure = style.empty(min(width, max(style.SINGLE, 0.72 * len(names) + 1.2)), 0.7 + 1.9 * len(panels))
    for axis, (title, values, level) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        for index, (by_seed, label) in enumerate(zip(values, labels, strict=True)):
            offset = (index - (len(values) - 1) / 2) * 0.7 / len(values)
            mean = by_seed.mean(0)
            axis.errorbar(
                np.arange(len(mean)) + offset,
                mean,
                np.stack([mean - by_seed.min(0), by_seed.max(0) - mean]) if len(by_seed) > 1 else None,
                fmt=_STUDY_MARKERS[index % len(_STUDY_MARKERS)],
                color=_STUDY_COLOURS[index % len(_STUDY_COLOURS)],
                ms=3.5,
                lw=0.8,
                label=style.fitted(label, 1.2, SMALL),
            )
        axis.axhline(level, color="0.5", lw=0.8, ls=":")
        lowest = min(0, *(np.nanmin(each, initial=0) for each in values))
        axis.set(ylabel=title, ylim=(lowest - 0.03, 1.03), xlim=(-0.6, len(names) - 0.4))
        axis.set_xticks(np.arange(len(names)), [])
    axis.set_xticklabels([style.fitted(name, 0.9, SMALL) for name in names], rotation=30, ha="right")
    columns = max(1, min(len(tpr), int(figure.get_figwidth() / 1.5)))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=columns, frameon=False)
    return figure
