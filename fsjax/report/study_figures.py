"""Figures of a study: the maps of its ways of training, and how well they carry the classes."""

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from fsjax.report.figures import draw_mask, frequency_axes

# Okabe and Ito's, without yellow: told apart by colour-blind readers, and by their markers in print.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_MARKERS = "osD^vP*"


def map_rows(
    masks: list[Bool[np.ndarray, "classes height width"]], labels: list[str], names: tuple[str, ...]
) -> Figure:
    """The mask of each class, a column, in each run, a row: kept frequencies dark."""
    rows, columns = len(masks), len(names)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.05 * columns + 1.1, 1.1 * rows + 0.8), squeeze=False, layout="constrained"
    )
    for row, (of_run, label) in enumerate(zip(masks, labels, strict=True)):
        for column, mask in enumerate(of_run):
            axis = axes[row, column]
            draw_mask(axis, mask)
            if row == 0:
                axis.set_title(names[column], fontsize=8)
        axes[row, 0].set_ylabel(label, fontsize=8)
    frequency_axes(figure)
    for axis in axes[:-1].ravel():
        axis.set_xticklabels([])
    for axis in axes[:, 1:].ravel():
        axis.set_yticklabels([])
    return figure


def rates(
    tpr: list[Float[np.ndarray, "seeds classes"]], labels: list[str], names: tuple[str, ...], threshold: float
) -> Figure:
    """TPR of each class under its map: the mean of each way of training over its seeds, and their range."""
    figure, axis = plt.subplots(figsize=(max(4.5, 0.72 * len(names) + 1.6), 3.0), layout="constrained")
    places = np.arange(len(names))
    for index, (values, label) in enumerate(zip(tpr, labels, strict=True)):
        offset = (index - (len(tpr) - 1) / 2) * 0.7 / len(tpr)
        mean = values.mean(0)
        axis.errorbar(
            places + offset,
            mean,
            np.stack([mean - values.min(0), values.max(0) - mean]) if len(values) > 1 else None,
            fmt=_MARKERS[index % len(_MARKERS)],
            color=_COLOURS[index % len(_COLOURS)],
            ms=4,
            lw=0.8,
            label=label,
        )
    axis.axhline(threshold, color="0.5", lw=0.8, ls=":")
    axis.set(ylabel="TPR on the map's frequencies", ylim=(-0.03, 1.03), xlim=(-0.6, len(names) - 0.4))
    axis.set_xticks(places, names, rotation=30, ha="right", fontsize=8)
    figure.legend(loc="outside upper center", ncols=min(len(tpr), 4), frameon=False, fontsize=8)
    return figure
