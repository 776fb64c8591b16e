"""Figures of a study: maps of each way of training, their control over classes, and the TPR under them."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from fsjax.evaluation.verdict import CONTROL
from fsjax.report import style
from fsjax.report.style import DOUBLE, SMALL, Inches, Masks, draw_mask, frequency_axes

# Colours that colour-blind readers can tell apart, and markers for print.
_COLOURS = (*style.COLOURS[1:], style.BLACK)
_Rates: TypeAlias = Float[np.ndarray, "seeds classes"]
_MARKERS = "osD^vP*"


@style.paper
def map_rows(masks: list[Masks], labels: list[str], names: tuple[str, ...], width: Inches = DOUBLE) -> Figure:
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
def rates(
    tpr: list[_Rates],
    psi: list[_Rates],
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
                fmt=_MARKERS[index % len(_MARKERS)],
                color=_COLOURS[index % len(_COLOURS)],
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
