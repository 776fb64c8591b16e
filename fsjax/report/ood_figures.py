"""AvgTPR over t, in and out of distribution; every function returns a matplotlib Figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsjax.report.figures import KEPT, PLANTED

_GROUPS = (("shortcut", "shortcut classes", KEPT), ("other", "other classes", PLANTED))
_RATES = (("filtered", "-", "under their maps"), ("unfiltered", ":", "unfiltered"))
_SHARES = (0.1, 0.5, 1.0)


def average_tpr(curves: dict[str, list[dict]], columns: int = 3) -> Figure:
    """One panel a set: mean TPR over t of shortcut classes and of the others, filtered (solid) and unfiltered (dotted).

    The area of a marker is the share of classes in its group; without a class there is none.

    Args:
      curves: of ood.average_tpr.average_tpr, by the name of the set.
      columns: of panels.
    """
    columns = min(columns, len(curves))
    rows = -(-len(curves) // columns)
    size = (max(2.7 * columns, 5.4), 2.3 * rows + 1.1)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, squeeze=False, sharex=True, sharey=True, layout="constrained"
    )
    for axis in axes.ravel()[len(curves) :]:
        axis.set_axis_off()
    for axis, (name, curve) in zip(axes.ravel(), curves.items(), strict=False):
        _draw(axis, curve)
        axis.set(title=name, ylim=(-0.06, 1.06), xlim=(0.03, 0.97))
        axis.set_xticks(np.arange(1, 10, 2) / 10)
        axis.tick_params(labelleft=True, labelbottom=True)
    figure.supxlabel("t: a class is a shortcut where its TPR under its map, in distribution, is above", fontsize=8)
    figure.supylabel("AvgTPR", fontsize=8)
    lines = [
        Line2D([], [], color=colour, ls=style, label=f"{group}, {rate}")
        for _, group, colour in _GROUPS
        for _, style, rate in _RATES
    ]
    sizes = [
        Line2D(
            [], [], color="#777777", ls="", marker="o", ms=_area(share) ** 0.5, label=f"{100 * share:g} % of classes"
        )
        for share in _SHARES
    ]
    figure.legend(handles=lines, loc="outside upper left", ncols=2, frameon=False, fontsize=7.5)
    figure.legend(handles=sizes, loc="outside upper right", ncols=1, frameon=False, fontsize=7.5)
    return figure


def _draw(axis: Axes, curve: list[dict]) -> None:
    thresholds = [point["threshold"] for point in curve]
    for group, _, colour in _GROUPS:
        areas = [_area(point[group]["share"] or 0.0) for point in curve]
        for rate, style, _ in _RATES:
            values = np.array([point[group][rate] for point in curve], float)
            axis.plot(thresholds, values, style, color=colour, lw=1.2)
            filled = colour if rate == "filtered" else "white"
            axis.scatter(thresholds, values, areas, facecolors=filled, edgecolors=colour, linewidths=0.9, zorder=3)


def _area(share: float) -> float:
    """Of a marker, in square points."""
    return 4 + 66 * share
