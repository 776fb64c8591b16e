"""Figures of maps, scores and rates.

Every function returns a matplotlib Figure, without pyplot state, in the style of fsjax.report.style. `width` is in
inches: style.SINGLE for one column of a paper, style.DOUBLE for two. Panels share the width; a row has at most five.
Text has one size at any width. `Masks` are bool and `Planes` float arrays [classes, height, width].
"""

from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fsjax.report import style
from fsjax.report.style import DOUBLE, Inches, Masks, Planes, colour_bar, draw_mask, draw_plane, frequency_axes

# Figures draw at most this many classes; tables list all.
MOST_CLASSES = 40
# An overlap matrix of at most this many classes has its numbers in the cells.
_MOST_NUMBERED = 12
# Panels in a row at most, and the smallest and largest width of a panel in inches.
COLUMNS, PANEL = 5, (0.92, 1.7)
_BESIDE_BAR = (1.15, 0.65)
_Rates: TypeAlias = Float[np.ndarray, "shares classes"] | list[list[float | None]]
_ERROR: dict[str, Any] = {"cmap": style.SEQUENTIAL, "vmin": 0, "vmax": 1}


@style.paper
def map_grid(masks: Masks, names: tuple[str, ...], share: float, width: Inches = DOUBLE) -> Figure:
    """Draw the mask of each class: kept frequencies dark, DC in the middle, axes in cycles per pixel."""
    figure, axes, room = style.panels(len(masks), width, COLUMNS, PANEL)
    for axis, mask, name in zip(axes, masks, names, strict=False):
        draw_mask(axis, mask)
        axis.set_title(style.fitted(name, room, end=f" ({mask.sum()})"))
    frequency_axes(figure, f"Dominant frequencies, {100 * share:g} % of the plane (positions kept in brackets)")
    return figure


@style.paper
def score_grid(scores: Planes, names: tuple[str, ...], title: str, width: Inches = DOUBLE) -> Figure:
    """Draw the score of every frequency, each class on its own scale; blank where it is NaN.

    Scores span orders of magnitude and may be negative, so colours are linear near 0 and logarithmic beyond.
    """
    figure, axes, room = style.panels(len(scores), width, COLUMNS, PANEL, margins=_BESIDE_BAR)
    for axis, plane, name in zip(axes, scores, names, strict=False):
        norm = style.symmetric_log(plane)
        draw_plane(axis, plane, cmap=style.DIVERGING, norm=norm)
        axis.set_title(style.fitted(name, room, end=f" ({norm.vmax:.0e})"))
    relative = ScalarMappable(style.symmetric_log(np.ones((1, 1))), style.DIVERGING)
    bar = colour_bar(figure, relative, axes, "score / largest of the class (in brackets)", [-1, -0.1, 0, 0.1, 1])
    bar.ax.minorticks_off()
    frequency_axes(figure, title)
    return figure


@style.paper
def planted_grid(found: Masks, planted: Masks, titles: list[str], width: Inches = DOUBLE) -> Figure:
    """Draw planted orbits (open circles) over the orbits that a search found (dark squares)."""
    figure, axes, room = style.panels(len(found), width, 4, (1.1, 2.1), margins=(0.45, 0.45))
    for axis, mask, truth, title in zip(axes, found, planted, titles, strict=False):
        draw_mask(axis, mask)
        (rows, columns), (height, breadth) = np.nonzero(truth), mask.shape
        places = (columns - breadth // 2) / breadth, (rows - height // 2) / height
        axis.scatter(*places, s=20 * room, facecolors="none", edgecolors=style.VERMILION, linewidths=0.9)
        axis.set_title(style.fitted(title, room))
    frequency_axes(figure)
    return figure


@style.paper
def difference_grid(
    left: Masks, right: Masks, titles: list[str], names: tuple[str, str] = ("left", "right"), width: Inches = DOUBLE
) -> Figure:
    """Draw where two masks of each class differ: shared frequencies in black, others in their side's colour."""
    only = [f"{name} only" for name in names]
    colours = {"neither": "#ffffff", only[0]: style.VERMILION, only[1]: style.SKY, "both": style.BLACK}
    figure, axes, room = style.panels(len(left), width, COLUMNS, PANEL)
    for axis, ours, theirs, title in zip(axes, left, right, titles, strict=False):
        sides = ours + 2 * theirs.astype(int)
        draw_plane(axis, sides, cmap=ListedColormap(list(colours.values())), vmin=-0.5, vmax=3.5)
        axis.set_title(style.fitted(title, room))
    patches = [Patch(color=colours[name], label=name) for name in ("both", *only)]
    figure.legend(handles=patches, loc="outside upper center", ncols=3, frameon=False)
    frequency_axes(figure)
    return figure


@style.paper
def adcs_grid(
    adcs: Int[np.ndarray, "classes height width"], names: tuple[str, ...], largest: int, width: Inches = DOUBLE
) -> Figure:
    """Draw the ADCS of each class, all on one scale: from minus to plus the largest possible value."""
    figure, axes, room = style.panels(len(adcs), width, COLUMNS, PANEL, margins=_BESIDE_BAR)
    largest = max(largest, 1)
    for axis, plane, name in zip(axes, adcs, names, strict=False):
        draw_plane(axis, plane, cmap=style.DIVERGING, vmin=-largest, vmax=largest)
        axis.set_title(style.fitted(name, room))
    label = "ADCS (classes with less\nminus classes with more)"
    colour_bar(figure, axes[0].images[0], axes, label, [-largest, 0, largest])
    frequency_axes(figure, "Class-wise spectra: which classes have most of a frequency")
    return figure


@style.paper
def heat_map(error: Float[np.ndarray, "height width"], title: str, width: Inches = style.SINGLE) -> Figure:
    """Draw the error rate under the wave of each frequency."""
    figure, axes, _ = style.panels(1, width, 1, (1.0, 2.6), margins=_BESIDE_BAR)
    draw_plane(axes[0], error, **_ERROR)
    colour_bar(figure, axes[0].images[0], axes, "error rate", [0, 0.5, 1])
    frequency_axes(figure, title)
    return figure


@style.paper
def heat_map_grid(error: Planes, masks: Masks, names: tuple[str, ...], width: Inches = DOUBLE) -> Figure:
    """Draw the error rate of each class under the wave of each frequency, and below it the map of the class."""
    columns = max(1, min(COLUMNS, len(names), int((width - 0.9) / PANEL[0])))
    blocks = -(-len(names) // columns)
    figure, axes, room = style.panels(2 * columns * blocks, width, columns, PANEL, margins=(0.9, 0.65))
    for index, name in enumerate(names):
        block, column = divmod(index, columns)
        above, below = (axes[(2 * block + row) * columns + column] for row in (0, 1))
        draw_plane(above, error[index], **_ERROR)
        draw_mask(below, masks[index])
        above.set_title(style.fitted(name, room))
    for axis in axes:
        if not axis.images:
            axis.set_axis_off()
    colour_bar(figure, axes[0].images[0], axes, "error rate", [0, 0.5, 1])
    frequency_axes(figure, "Error rate with one wave added, and below it the dominant frequencies")
    return figure


@style.paper
def rates(shares: list[float], tpr: _Rates, fpr: _Rates, names: tuple[str, ...], width: Inches = DOUBLE) -> Figure:
    """Draw TPR (line) and FPR (dashes) of each class over the share of the plane that its map keeps."""
    figure, axes, room = style.panels(len(names), width, COLUMNS, PANEL, ratio=0.85, sharey=True)
    tpr, fpr = np.array(tpr, float), np.array(fpr, float)
    ticks, marker = _sparse_ticks(shares, room), "os" if len(shares) <= 10 else ("", "")
    for index, (axis, name) in enumerate(zip(axes, names, strict=False)):
        axis.plot(shares, tpr[:, index], "-", marker=marker[0], color=style.BLUE, ms=2.5, label="TPR")
        axis.plot(shares, fpr[:, index], "--", marker=marker[1], color=style.VERMILION, ms=2.5, label="FPR")
        axis.set(ylim=(-0.03, 1.03), title=style.fitted(name, room))
        style.share_ticks(axis, ticks)
    lines = axes[0].get_legend_handles_labels()
    heading = "Test images filtered by each class's map"
    figure.legend(*lines, title=heading, title_fontsize=style.TEXT, loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("share of the plane kept")
    figure.supylabel("rate")
    return figure


@style.paper
def overlap_matrix(
    iou: Float[np.ndarray, "classes classes"], names: tuple[str, ...], share: float, width: Inches = DOUBLE
) -> Figure:
    """Draw the IoU of the masks of every two classes, in [0, 1]; grey where it is undefined (NaN)."""
    count = len(iou)
    numbered = count <= _MOST_NUMBERED
    side = min(width - 1.6, max(0.36 * count, 1.2) if numbered else 4.2)
    figure = style.empty(min(width, max(side + 1.6, style.SINGLE)), side + 1.1)
    axis = figure.subplots()
    image = axis.imshow(iou, cmap=style.SEQUENTIAL, vmin=0, vmax=1, interpolation="nearest")
    axis.set_facecolor("#d0d0d0")
    for row, column in np.ndindex(iou.shape) if numbered else ():
        value = iou[row, column]
        text, dark = ("–", False) if np.isnan(value) else (f"{value:.2f}".lstrip("0") or "0", value < 0.5)
        axis.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")
    places, shown = style.spaced(names, side, 0.8)
    axis.set_xticks(places, shown, rotation=90)
    axis.set_yticks(places, shown)
    axis.tick_params(length=0 if places.step == 1 else 2)
    colour_bar(figure, image, [axis], "IoU", [0, 0.5, 1])
    style.heading(figure, f"Overlap of the classes' maps, {100 * share:g} % of the plane")
    return figure


def _sparse_ticks(shares: list[float], inches: float) -> list[float]:
    """Return the shares whose labels on a logarithmic axis do not overlap the label before."""
    scale = 0.8 * inches / max(np.log(max(shares) / min(shares)), 1e-9)
    ticks: list[float] = []
    for share in sorted(shares):
        if not ticks or np.log(share / ticks[-1]) * scale >= 0.26:
            ticks.append(share)
    return ticks
