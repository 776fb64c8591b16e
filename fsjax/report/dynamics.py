"""The page of learning dynamics and its figures: F1 over the iterations, and relative confusion."""

import itertools

import numpy as np
from matplotlib.figure import Figure

from fsjax.evaluation import band_dynamics
from fsjax.evaluation.band_dynamics import THRESHOLDS, Dynamics
from fsjax.report import html, style
from fsjax.report.style import DOUBLE, SMALL, Inches
from fsjax.runtime.storage import Path

# With three kinds of line they distinguish 24 classes.
_COLOURS = (*style.COLOURS, style.GREY)
_LINES = ("-", "--", ":")
MOST_CLASSES = len(_COLOURS) * len(_LINES)
# A matrix of at most this many classes has its numbers in the cells, and fewer classes their spread as well.
_NUMBERED, _SPREAD = 10, 5


def write(directory: Path, dynamics: Dynamics, summary: dict) -> None:
    """Write report/dynamics.html in the workdir, and its figures as PNG and PDF; `summary` describes `dynamics`."""
    confusion = {
        f"relative_confusion_{dynamics.steps[evaluation]}": confusion_grid(dynamics, evaluation)
        for evaluation in dynamics.shown
    }
    order = by_first_step(dynamics)
    html.write_page(
        directory,
        "dynamics",
        {"f1_curves": f1_curves(dynamics), **confusion},
        **{name: summary[name] for name in ("classes", "seeds", "images", "steps")},
        copies=[band_dynamics.title(name) for name in dynamics.copies],
        thresholds=[f"{threshold:g}" for threshold in THRESHOLDS],
        drawn=MOST_CLASSES,
        order=order,
        firsts=[name for name, *when in order if when == list(order[0][1:])],
        first_steps=[_first_steps(dynamics, threshold) for threshold in THRESHOLDS],
        final=[list(zip(at_end["mean"], at_end["spread"], strict=True)) for at_end in summary["f1"].values()],
        confused=[(int(dynamics.steps[shown]), shown == dynamics.learned) for shown in dynamics.shown],
    )


def by_first_step(dynamics: Dynamics) -> list[tuple[str, float | None, int]]:
    """Return (class, mean step over the seeds that learned it, their number) on the original, first learned first."""
    steps = dynamics.first_reached(THRESHOLDS[-1])[:, dynamics.original]
    rows = []
    for name, by_seed in zip(dynamics.classes, steps.T, strict=True):
        reached = by_seed[np.isfinite(by_seed)]
        rows.append((name, float(reached.mean()) if len(reached) else None, len(reached)))
    return sorted(rows, key=lambda row: (-row[2], np.inf if row[1] is None else row[1]))


def _first_steps(dynamics: Dynamics, threshold: float) -> list[list[str]]:
    """Return the step of each seed, or a dash, by copy and class."""
    steps = np.moveaxis(dynamics.first_reached(threshold), 0, -1)
    return [[", ".join("–" if np.isnan(step) else f"{step:.0f}" for step in cell) for cell in row] for row in steps]


@style.paper
def f1_curves(dynamics: Dynamics, width: Inches = DOUBLE) -> Figure:
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
        axis.set_title(style.fitted(band_dynamics.title(dynamics.copies[copy]), room))
        axis.set(xlim=(0, dynamics.steps[-1]), ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
        axis.tick_params(labelbottom=True)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in panels[copies:]:
        axis.set_axis_off()
    columns = -(-len(classes) // 8)
    size, seeds = SMALL if columns == 1 else 6.0, len(dynamics.seeds)
    panels[copies].legend(
        panels[0].lines[1:],  # the first line is the threshold
        [style.fitted(name, max(room / columns - 0.4, 0.3), size) for name in classes],
        title=f"mean and range\nof {seeds} seeds" if seeds > 1 else f"seed {dynamics.seeds[0]}",
        title_fontsize=SMALL,
        loc="center",
        frameon=False,
        ncols=columns,
        fontsize=size,
        handlelength=1.6,
        columnspacing=0.8,
    )
    figure.supxlabel("iteration")
    figure.supylabel("F1")
    return figure


@style.paper
def confusion_grid(dynamics: Dynamics, evaluation: int, width: Inches = DOUBLE) -> Figure:
    """Draw the relative confusion of every copy at one evaluation, the mean over seeds, true classes down.

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
        axis.set_title(style.fitted(band_dynamics.title(dynamics.copies[copy]), room))
    style.colour_bar(figure, image, panels, "% of the class's images", [-100, -50, 0, 50, 100])
    figure.supxlabel("predicted class")
    figure.supylabel("true class")
    return figure
