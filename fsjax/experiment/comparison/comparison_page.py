"""The page of a comparison: one self-contained file."""

from fsjax.evaluation import verdict
from fsjax.experiment.comparison.comparison import Comparison
from fsjax.experiment.comparison.pairing import Pairing
from fsjax.report import figures, html
from fsjax.report.answer import class_rows
from fsjax.runtime.storage import Path


def write(directory: Path, comparison: Comparison, paired: Pairing) -> None:
    """Write report/compare.html and report/figures/compare.png in the workdir; `paired` are the compared maps."""
    names, main = _names(comparison), comparison.shares[comparison.headline]
    titles = [
        f"{name}\nIoU {'–' if iou is None else f'{iou:.2f}'}"
        for name, iou in zip(comparison.classes[: figures.MOST_CLASSES], main.iou, strict=False)
    ]
    masks = (maps.masks[comparison.headline][: figures.MOST_CLASSES] for maps in (paired.left, paired.right))
    figure = figures.difference_grid(*masks, titles, (names["left"], names["right"]))
    html.write_page(
        directory,
        "compare",
        {"compare": figure},
        names=names,
        drawn=len(titles),
        judged=_judged(comparison),
        rule=verdict.rule(),
        main=main,
        **vars(comparison),
    )


def _names(comparison: Comparison) -> dict[str, str]:
    """Return what the sides are called: by their search methods where one workdir has both."""
    sides = {"left": comparison.left, "right": comparison.right}
    methods = {name: side.method for name, side in sides.items()}
    folders = {side.path.rpartition("/")[0] for side in sides.values()}
    is_one_workdir = len(folders) == 1 and folders.pop().endswith("/dfm")
    return methods if is_one_workdir and len(set(methods.values())) > 1 else {name: name for name in sides}


def _judged(comparison: Comparison) -> list[tuple[str, dict]]:
    """Return the side and the row of each class, both sides together; none without grafts."""
    if (on_model := comparison.on_model) is None:
        return []
    rows = [
        [(side, row) for row in class_rows(comparison.classes, on_model.rates[side][comparison.headline], grafts)]
        for side, grafts in on_model.grafts.items()
        if grafts
    ]
    return [entry for of_class in zip(*rows, strict=True) for entry in of_class]
