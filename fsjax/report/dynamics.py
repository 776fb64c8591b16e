"""The page of learning dynamics: one self-contained file."""

import numpy as np

from fsjax.evaluation import bands
from fsjax.evaluation.learning_curves import THRESHOLDS, Dynamics
from fsjax.report import curves, html
from fsjax.runtime import files
from fsjax.runtime.storage import Path


def write(directory: Path, found: Dynamics, summary: dict) -> None:
    """Write report/dynamics.html in the workdir, and its figures as PNG and PDF in report/figures.

    Args:
      directory: the workdir.
      found: F1 and confusion over the iterations.
      summary: the content of dynamics.json.
    """
    folder = directory / "report"
    confused = [
        {
            "step": int(found.steps[evaluation]),
            "learned": evaluation == found.learned,
            "figure": html.embed_figure(
                curves.confusion_grid(found, evaluation),
                folder / "figures" / f"relative_confusion_{found.steps[evaluation]}.png",
            ),
        }
        for evaluation in found.shown
    ]
    order = by_first_step(found)
    page = html.template("dynamics.html").render(
        title=directory.name,
        **{name: summary[name] for name in ("classes", "seeds", "images", "steps")},
        copies=[bands.title(name) for name in found.copies],
        thresholds=[f"{threshold:g}" for threshold in THRESHOLDS],
        curves=html.embed_figure(curves.f1_curves(found), folder / "figures" / "f1_curves.png"),
        drawn=curves.MOST_CLASSES,
        order=order,
        firsts=[name for name, *when in order if when == list(order[0][1:])],
        first_steps=[_first_steps(found, threshold) for threshold in THRESHOLDS],
        final=[list(zip(at_end["mean"], at_end["spread"], strict=True)) for at_end in summary["f1"].values()],
        confused=confused,
    )
    files.write_text(folder / "dynamics.html", page)


def by_first_step(found: Dynamics) -> list[tuple[str, float | None, int]]:
    """Return (class, mean step over the seeds that learned it, their number) on the original, first learned first."""
    steps = found.first_reached(THRESHOLDS[-1])[:, found.original]
    known = np.isfinite(steps)
    means = [float(one[there].mean()) if there.any() else None for one, there in zip(steps.T, known.T, strict=True)]
    rows = list(zip(found.classes, means, known.sum(0).tolist(), strict=True))
    return sorted(rows, key=lambda row: (-row[2], np.inf if row[1] is None else row[1]))


def _first_steps(found: Dynamics, threshold: float) -> list[list[str]]:
    """Return, by copy and class, the step of each seed, or a dash."""
    steps = np.moveaxis(found.first_reached(threshold), 0, -1)
    return [[", ".join("–" if np.isnan(step) else f"{step:.0f}" for step in cell) for cell in row] for row in steps]
