"""Figures of learning dynamics: F1 over the iterations, and relative confusion."""

import itertools

import numpy as np
from matplotlib.figure import Figure

from fsjax.evaluation import bands
from fsjax.evaluation.learning_curves import THRESHOLDS, Dynamics
from fsjax.report import style
from fsjax.report.axes import colour_bar
from fsjax.report.style import DOUBLE, SMALL

# With three kinds of line they distinguish 24 classes.
_COLOURS = (*style.COLOURS, style.GREY)
_LINES = ("-", "--", ":")
MOST_CLASSES = len(_COLOURS) * len(_LINES)
# Most classes whose numbers are written into a matrix, and whose spread is.
_NUMBERED, _SPREAD = 10, 5


@style.paper
def f1_curves(dynamics: Dynamics, width: int | float = DOUBLE) -> Figure:
    """Draw the F1 of each class over the iterations, a panel per copy: mean and range over seeds."""
    classes, copies = dynamics.classes[:MOST_CLASSES], len(dynamics.copies)
    # The last panel of all holds the key.
    figure, panels, room = style.panels(copies + 1, width, 4, (1.3, 2.3), ratio=0.75, sharex=True, sharey=True)
    for copy, axis in enumerate(panels[:copies]):
        axis.axhline(THRESHOLDS[-1], color="#bbbbbb", lw=0.6, zorder=0)
        for label, (line, colour) in zip(range(len(classes)), itertools.product(_LINES, _COLOURS), strict=False):
            scores = dynamics.f1[:, :, copy, label]
            axis.fill_between(dynamics.steps, scores.min(0), scores.max(0), color=colour, alpha=0.18, lw=0)
            axis.plot(dynamics.steps, scores.mean(0), color=colour, ls=line, label=classes[label])
        style.title(axis, bands.title(dynamics.copies[copy]), room)
        axis.set(xlim=(0, dynamics.steps[-1]), ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
        axis.tick_params(labelbottom=True)
        axis.spines[["top", "right"]].set_visible(False)
    key = panels[copies]
    for axis in panels[copies:]:
        axis.set_axis_off()
    columns = -(-len(classes) // 8)
    size = SMALL if columns == 1 else 6.0
    key.legend(
        panels[0].lines[1:],  # the first one is the threshold
        [style.fitted(name, max(room / columns - 0.4, 0.3), size) for name in classes],
        loc="center",
        ncols=columns,
        frameon=False,
        fontsize=size,
        handlelength=1.6,
        columnspacing=0.8,
        title=f"mean and range\nof {len(dynamics.seeds)} seeds"
        if len(dynamics.seeds) > 1
        else f"seed {dynamics.seeds[0]}",
        title_fontsize=SMALL,
    )
    figure.supxlabel("iteration")
    figure.supylabel("F1")
    return figure


@style.paper
def confusion_grid(dynamics: Dynamics, evaluation: int, width: int | float = DOUBLE) -> Figure:
    """Relative confusion of every copy at one evaluation, the mean over seeds, true classes down.

    Few classes leave room for the numbers, and fewer for their standard deviation over seeds.
    """
    values = dynamics.relative_confusion[:, evaluation]
    shown = [copy for copy in range(len(dynamics.copies)) if copy != dynamics.original]
    classes, numbered = len(dynamics.classes), len(dynamics.classes) <= _NUMBERED
    smallest = max(1.15, 0.25 * classes) if numbered else 1.3
    sizes, margins = (smallest, max(1.75, smallest)), (1.5, 1.0)
    figure, panels, room = style.panels(len(shown), width, 5, sizes, margins=margins, sharex=True, sharey=True)
    for (axis, _, lowest), copy in zip(style.outer(panels[: len(shown)]), shown, strict=True):
        mean, spread = values[:, copy].mean(0), values[:, copy].std(0, ddof=1) if len(values) > 1 else None
        image = axis.imshow(mean, cmap=style.DIVERGING, vmin=-100, vmax=100, interpolation="nearest")
        for row, column in np.ndindex(mean.shape) if numbered else ():
            text = f"{round(mean[row, column])}".replace("-", "−")
            if spread is not None and classes <= _SPREAD:
                text += f"\n±{spread[row, column]:.0f}"
            colour = "#333333" if abs(mean[row, column]) < 60 else "white"
            axis.text(column, row, text, ha="center", va="center", fontsize=6, color=colour, linespacing=0.95)
        if classes <= MOST_CLASSES:
            names = [style.fitted(name, 0.8, 6.0) for name in dynamics.classes]
            axis.set_xticks(range(classes), names, rotation=90, fontsize=6)
            axis.set_yticks(range(classes), names, fontsize=6)
        axis.tick_params(length=0, labelbottom=lowest)
        style.title(axis, bands.title(dynamics.copies[copy]), room)
    colour_bar(figure, image, panels, "% of the class's images", [-100, -50, 0, 50, 100])
    figure.supxlabel("predicted class")
    figure.supylabel("true class")
    return figure
