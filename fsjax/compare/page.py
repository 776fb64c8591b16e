"""The page of a comparison: one self-contained file."""

from fsjax import workdir
from fsjax.compare.pairing import Paired
from fsjax.report import figures, html
from fsjax.storage import Path


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
        f"{name} (IoU {'–' if iou is None else f'{iou:.2f}'})"
        for name, iou in zip(result["classes"][: figures.MOST_CLASSES], ious, strict=False)
    ]
    masks = (maps.masks[row][: figures.MOST_CLASSES] for maps in (paired.left, paired.right))
    figure = figures.difference_grid(*masks, titles)
    page = html.template("compare.html").render(
        title=directory.name,
        drawn=len(titles),
        figure=html.embedded(figure, folder / "figures" / "compare.png"),
        **result,
    )
    workdir.write_text(folder / "compare.html", page)
