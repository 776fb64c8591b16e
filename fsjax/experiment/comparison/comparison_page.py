"""The page of a comparison: one self-contained file."""

from fsjax.evaluation.controls import RATE
from fsjax.experiment.comparison.pairing import Pairing
from fsjax.report import figures, html
from fsjax.report.verdicts import verdicts
from fsjax.runtime import files
from fsjax.runtime.storage import Path


def write(directory: Path, result: dict, paired: Pairing) -> None:
    """Write report/compare.html and report/figures/compare.png in a workdir.

    Args:
      directory: the workdir.
      result: the content of compare.json.
      paired: the compared masks.
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
        controlled=_verdicts(result),
        rate=RATE,
        **result,
    )
    files.write_text(folder / "compare.html", page)


def _verdicts(result: dict) -> list[tuple[str, dict]]:
    """Return, class by class, each side's verdict on its headline mask; empty without controls."""
    row, names = result["headline"], tuple(result["classes"])
    sides = {side: rates[row] for side, rates in result.get("rates", {}).items()}
    if not all("best_trivial" in rates for rates in sides.values()):
        return []
    of_sides = [
        [(side, verdict) for verdict in verdicts(names, rates, result["shares"][row][side], result["threshold"])]
        for side, rates in sides.items()
    ]
    return [entry for of_class in zip(*of_sides, strict=True) for entry in of_class]
