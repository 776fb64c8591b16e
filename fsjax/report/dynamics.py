"""The page of learning dynamics: one self-contained file."""

import numpy as np

from fsjax.evaluation import bands
from fsjax.evaluation.learning_curves import THRESHOLDS, Dynamics
from fsjax.report import curves, html
from fsjax.runtime import files
from fsjax.runtime.storage import Path


def write(directory: Path, dynamics: Dynamics, summary: dict) -> None:
    """Write report/dynamics.html in the workdir, and its figures as PNG and PDF; `summary` is that of `dynamics`."""
    folder = directory / "report"
    confused = [
        {
            "step": int(dynamics.steps[evaluation]),
            "learned": evaluation == dynamics.learned,
            "figure": html.embed_figure(
                curves.confusion_grid(dynamics, evaluation),
                folder / "figures" / f"relative_confusion_{dynamics.steps[evaluation]}.png",
            ),
        }
        for evaluation in dynamics.shown
    ]
    order = by_first_step(dynamics)
    page = html.template("dynamics.html").render(
        title=directory.name,
        **{name: summary[name] for name in ("classes", "seeds", "images", "steps")},
        copies=[bands.title(name) for name in dynamics.copies],
        thresholds=[f"{threshold:g}" for threshold in THRESHOLDS],
        curves=html.embed_figure(curves.f1_curves(dynamics), folder / "figures" / "f1_curves.png"),
        drawn=curves.MOST_CLASSES,
        order=order,
        firsts=[name for name, *when in order if when == list(order[0][1:])],
        first_steps=[_first_steps(dynamics, threshold) for threshold in THRESHOLDS],
        final=[list(zip(at_end["mean"], at_end["spread"], strict=True)) for at_end in summary["f1"].values()],
        confused=confused,
    )
    files.write_text(folder / "dynamics.html", page)


def by_first_step(dynamics: Dynamics) -> list[tuple[str, float | None, int]]:
    """Return (class, mean step over the seeds that learned it, their number) on the original, first learned first."""
    steps = dynamics.first_reached(THRESHOLDS[-1])[:, dynamics.original]
    known = np.isfinite(steps)
    means = [
        float(step[reached].mean()) if reached.any() else None for step, reached in zip(steps.T, known.T, strict=True)
    ]
    rows = list(zip(dynamics.classes, means, known.sum(0).tolist(), strict=True))
    return sorted(rows, key=lambda row: (-row[2], np.inf if row[1] is None else row[1]))


def _first_steps(dynamics: Dynamics, threshold: float) -> list[list[str]]:
    """Return, by copy and class, the step of each seed, or a dash."""
    steps = np.moveaxis(dynamics.first_reached(threshold), 0, -1)
    return [[", ".join("–" if np.isnan(step) else f"{step:.0f}" for step in cell) for cell in row] for row in steps]
