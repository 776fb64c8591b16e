"""The page of a comparison: one self-contained file."""

from fsjax.evaluation import verdict
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.results import MapRates
from fsjax.experiment.comparison.pairing import Pairing
from fsjax.report import figures, html
from fsjax.report.class_rows import class_rows
from fsjax.runtime import files
from fsjax.runtime.storage import Path


def write(
    directory: Path,
    result: dict,
    paired: Pairing,
    rates: dict[str, list[MapRates]],
    grafts: dict[str, Grafts | None],
) -> None:
    """Write report/compare.html and report/figures/compare.png in the workdir.

    Args:
      directory: the workdir.
      result: the content of compare.json.
      paired: the maps.
      rates: by side, under its masks at each share; none without a model.
      grafts: by side; none without a model.
    """
    folder, row, names = directory / "report", result["headline"], _names(result)
    ious = result["shares"][row]["iou"]
    titles = [
        f"{name}\nIoU {'–' if iou is None else f'{iou:.2f}'}"
        for name, iou in zip(result["classes"][: figures.MOST_CLASSES], ious, strict=False)
    ]
    masks = (maps.masks[row][: figures.MOST_CLASSES] for maps in (paired.left, paired.right))
    figure = figures.difference_grid(*masks, titles, (names["left"], names["right"]))
    page = html.template("compare.html").render(
        title=directory.name,
        names=names,
        drawn=len(titles),
        figure=html.embed_figure(figure, folder / "figures" / "compare.png"),
        judged=_judged(tuple(result["classes"]), {side: of_side[row] for side, of_side in rates.items()}, grafts),
        rule=verdict.rule(),
        **result,
    )
    files.write_text(folder / "compare.html", page)


def _names(result: dict) -> dict[str, str]:
    """Return what the sides are called: by their search methods where one workdir has both."""
    sides = {side: result[side] for side in ("left", "right")}
    methods = {side: of_side["method"] for side, of_side in sides.items()}
    folders = {of_side["path"].rpartition("/")[0] for of_side in sides.values()}
    is_one_workdir = len(folders) == 1 and folders.pop().endswith("/dfm")
    return methods if is_one_workdir and len(set(methods.values())) > 1 else {side: side for side in sides}


def _judged(
    names: tuple[str, ...], rates: dict[str, MapRates], grafts: dict[str, Grafts | None]
) -> list[tuple[str, dict]]:
    """Return the side and the row of each class, both sides together; none without grafts."""
    rows = [
        [(side, row) for row in class_rows(names, rates[side], of_side)] for side, of_side in grafts.items() if of_side
    ]
    return [entry for of_class in zip(*rows, strict=True) for entry in of_class]
