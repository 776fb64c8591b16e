"""The page of a comparison: one self-contained file."""

from fsjax.evaluation.controls import RATE
from fsjax.experiment.compare.pairing import Paired
from fsjax.report import figures, html
from fsjax.report.verdicts import verdicts
from fsjax.runtime import files
from fsjax.runtime.storage import Path


def write(directory: Path, result: dict, paired: Paired) -> None:
    """Writes report/compare.html and report/figures/compare.png in the workdir.

    Args:
      directory: the workdir.
      result: what compare.json holds.
      paired: the masks that it is of.
    """
    folder, row = directory / "report", result["headline"]
    ious = result["shares"][row]["iou"]
    titles = [
        f"{name}\nIoU {'–' if iou is None else f'{iou:.2f}'}"
        for name, iou in zip(result["classes"][: figures.MOST_CLASSES], ious, strict=False)
    ]
    masks = (maps.masks[row][: figures.MOST_CLASSES] for maps in (paired.left, paired.right))
    figure = figures.difference_grid(*masks, titles)
    page = html.template("compare.html").render(
        title=directory.name,
        drawn=len(titles),
        figure=html.embedded(figure, folder / "figures" / "compare.png"),
        controlled=_controlled(result),
        rate=RATE,
        **result,
    )
    files.write_text(folder / "compare.html", page)


def _controlled(result: dict) -> list[tuple[str, dict]]:
    """Class by class, the verdict on either side's mask in the row that is shown first; none without controls."""
    row, names = result["headline"], tuple(result["classes"])
    sides = {side: rows[row] for side, rows in result.get("rates", {}).items()}
    if not all("best_trivial" in rates for rates in sides.values()):
        return []
    judged = [
        [(side, found) for found in verdicts(names, rates, result["shares"][row][side], result["threshold"])]
        for side, rates in sides.items()
    ]
    return [entry for of_class in zip(*judged, strict=True) for entry in of_class]
