"""Figures of learning dynamics: F1 over the iterations, and relative confusion."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fsjax.evaluate import bands
from fsjax.evaluate.curves import THRESHOLDS, Dynamics
from fsjax.report import figures  # noqa: F401 - sets the style of all figures

# Okabe and Ito's, colour-blind safe, and grey; with three kinds of line they tell 24 classes apart.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
_LINES = ("-", "--", ":")
MOST_CLASSES = len(_COLOURS) * len(_LINES)
# Of which the numbers are written into a matrix, and the spread too.
_NUMBERED, _SPREAD = 10, 5


def f1_curves(found: Dynamics) -> Figure:
    """F1 of each class over the iterations, a panel a copy: the mean over seeds, and from the least to the greatest."""
    figure, panels = _panels(len(found.copies) + 1, columns=4, width=2.3, height=1.65, sharex=True, sharey=True)
    classes = found.classes[:MOST_CLASSES]
    for copy, axis in enumerate(panels[: len(found.copies)]):
        axis.axhline(THRESHOLDS[-1], color="#bbbbbb", lw=0.6, zorder=0)
        for label, (colour, line) in enumerate(_styles(len(classes))):
            scores = found.f1[:, :, copy, label]
            axis.fill_between(found.steps, scores.min(0), scores.max(0), color=colour, alpha=0.18, lw=0)
            axis.plot(found.steps, scores.mean(0), color=colour, ls=line, lw=1.3, label=classes[label])
        axis.set_title(bands.title(found.copies[copy]))
        axis.set(xlim=(0, found.steps[-1]), ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
        axis.tick_params(labelsize=7, length=2, labelbottom=True)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    key = panels[len(found.copies)]
    for axis in panels[len(found.copies) :]:
        axis.set_axis_off()
    key.legend(
        handles,
        labels,
        loc="center",
        ncols=-(-len(labels) // 8),
        frameon=False,
        fontsize=8 if len(labels) <= 8 else 6,
        title=f"mean and range\nof {len(found.seeds)} seeds" if len(found.seeds) > 1 else f"seed {found.seeds[0]}",
        title_fontsize=8,
    )
    figure.supxlabel("iteration", fontsize=8)
    figure.supylabel("F1", fontsize=8)
    return figure


def confusion_grid(found: Dynamics, evaluation: int) -> Figure:
    """Relative confusion of every copy at one evaluation, the mean over seeds, true classes down.

    Few classes leave room for the numbers, and fewer for their standard deviation over seeds.
    """
    values = found.relative_confusion[:, evaluation]
    shown = [copy for copy in range(len(found.copies)) if copy != found.original]
    classes, numbered = len(found.classes), len(found.classes) <= _NUMBERED
    size = max(1.75, 0.25 * classes) if numbered else 1.9
    figure, panels = _panels(len(shown), columns=5, width=size, height=size + 0.12, sharex=True, sharey=True)
    for index, (axis, copy) in enumerate(zip(panels, shown, strict=False)):
        mean, over = values[:, copy].mean(0), values[:, copy].std(0, ddof=1) if len(values) > 1 else None
        image = axis.imshow(mean, cmap="RdBu", vmin=-100, vmax=100, interpolation="nearest")
        for row, column in np.ndindex(mean.shape) if numbered else ():
            text = f"{mean[row, column]:.0f}".replace("-", "−")
            if over is not None and classes <= _SPREAD:
                text += f"\n±{over[row, column]:.0f}"
            pale = abs(mean[row, column]) < 60
            colour = "#333333" if pale else "white"
            axis.text(column, row, text, ha="center", va="center", fontsize=5.5, color=colour, linespacing=0.95)
        names = [name if len(name) <= 12 else f"{name[:11]}…" for name in found.classes]
        if classes <= MOST_CLASSES:
            axis.set_xticks(range(classes), names, rotation=0 if classes <= _SPREAD else 90)
            axis.set_yticks(range(classes), names)
        columns = axis.get_subplotspec().get_gridspec().ncols
        axis.tick_params(labelsize=6.5, length=0, labelbottom=index + columns >= len(shown))
        axis.set_title(bands.title(found.copies[copy]), fontsize=8)
    for axis in panels[len(shown) :]:
        axis.set_axis_off()
    bar = figure.colorbar(image, ax=panels, shrink=0.6, aspect=30, ticks=[-100, -50, 0, 50, 100])
    bar.set_label("% of the class's images", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.supxlabel("predicted class", fontsize=8)
    figure.supylabel("true class", fontsize=8)
    return figure


def _styles(count: int) -> Iterator[tuple[str, str]]:
    for index in range(count):
        yield _COLOURS[index % len(_COLOURS)], _LINES[index // len(_COLOURS)]


def _panels(count: int, columns: int, width: float, height: float, **shared) -> tuple[Figure, list[Axes]]:
    """So many panels in rows of equal length, at most `columns`; the last ones may have nothing to hold."""
    rows = -(-count // columns)
    columns = -(-count // rows)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns + 0.5, height * rows + 0.4),
        squeeze=False,
        layout="constrained",
        **shared,
    )
    return figure, list(axes.ravel())
