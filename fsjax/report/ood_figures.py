"""Figures of AvgTPR over t, in and out of distribution."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsjax.evaluation.ood.average_tpr import Group, Point
from fsjax.report import style

_GROUPS = (("shortcut", "classes above t", style.BLUE), ("other", "other classes", style.VERMILION))
_RATES = (("filtered", "-", "under their maps"), ("unfiltered", ":", "unfiltered"))
_SHARES = (0.1, 0.5, 1.0)


@style.paper
def average_tpr(curves: dict[str, tuple[Point, ...]], columns: int = 3, width: int | float = style.DOUBLE) -> Figure:
    """Draw a panel per set: mean TPR of classes above t and of others, filtered (solid) and unfiltered (dotted).

    The area of a marker is the share of classes in its group; a group without a class has no marker. Width in inches.
    """
    figure, axes, room = style.panels(
        len(curves), width, columns, (1.6, 2.9), ratio=0.8, margins=(0.35, 1.1), sharex=True, sharey=True
    )
    for axis, (name, curve) in zip(axes, curves.items(), strict=False):
        _draw(axis, curve)
        axis.set(ylim=(-0.06, 1.06), xlim=(0.03, 0.97))
        style.title(axis, name, room)
        axis.set_xticks(np.arange(1, 10, 2) / 10)
        axis.tick_params(labelleft=True, labelbottom=True)
    figure.supxlabel("t: threshold of a class's TPR\nunder its map, in distribution")
    figure.supylabel("AvgTPR")
    lines = [
        Line2D([], [], color=colour, ls=line, label=f"{group}, {rate}")
        for _, group, colour in _GROUPS
        for _, line, rate in _RATES
    ]
    sizes = [
        Line2D(
            [], [], color=style.GREY, ls="", marker="o", ms=_area(share) ** 0.5, label=f"{100 * share:g} % of classes"
        )
        for share in _SHARES
    ]
    wide = figure.get_figwidth() > 5
    figure.legend(handles=lines, loc="outside upper left", ncols=1 + wide, frameon=False, handlelength=1.6)
    figure.legend(handles=sizes, loc="outside upper right", ncols=1, frameon=False, handlelength=1.2)
    return figure


def _draw(axis: Axes, curve: tuple[Point, ...]) -> None:
    thresholds = [point.threshold for point in curve]
    for name, _, colour in _GROUPS:
        groups: list[Group] = [getattr(point, name) for point in curve]
        areas = [_area(group.share or 0.0) for group in groups]
        for rate, line, _ in _RATES:
            values = np.array([getattr(group, rate) for group in groups], float)
            axis.plot(thresholds, values, line, color=colour)
            filled = colour if rate == "filtered" else "white"
            axis.scatter(thresholds, values, areas, facecolors=filled, edgecolors=colour, linewidths=0.9, zorder=3)


def _area(share: float) -> float:
    """Return the area of a marker in square points."""
    return 4 + 66 * share
