"""The index over the pages of a workdir's search methods: report/index.html."""

from ml_collections import ConfigDict

from fsjax.evaluation import evaluation_file
from fsjax.evaluation.results import Evaluation
from fsjax.report import headline, html
from fsjax.report.class_rows import class_rows
from fsjax.report.kinds import LOOKS
from fsjax.runtime import files
from fsjax.runtime.storage import Path

# Classes in the table; all are on each page.
_MOST_CLASSES = 40


def page_folder(directory: Path, method: str) -> Path:
    """Return where the page of a search method lies in a workdir, with its figures and data."""
    return directory / "report" / method


def pages(directory: Path) -> list[str]:
    """Return the search methods of a workdir that have a page and are evaluated, by name."""
    evaluation = evaluation_file.read(directory / "evaluation.json")
    names = sorted(evaluation.methods) if evaluation else []
    return [name for name in names if (page_folder(directory, name) / "index.html").exists()]


def write(config: ConfigDict, directory: Path) -> None:
    """Write report/index.html: with one page it leads there, with several it lays their verdicts side by side."""
    methods = pages(directory)
    evaluation = evaluation_file.read_method(directory / "evaluation.json", methods[0])
    page = html.template("index.html").render(
        title=directory.name,
        model=config.model.name,
        methods=[_of_method(config, directory, evaluation, method) for method in methods],
        classes=evaluation.classes[:_MOST_CLASSES],
        all_classes=len(evaluation.classes),
    )
    files.write_text(directory / "report" / "index.html", page)


def _of_method(config: ConfigDict, directory: Path, evaluation: Evaluation, method: str) -> dict:
    """Return name, answer and costs of a method's maps, and a row of `class_rows` a class with how it looks."""
    evaluated = evaluation.methods[method]
    share = evaluated.nearest(config.report.share)
    rows = class_rows(evaluation.classes, evaluated.at(share), evaluated.grafts)
    return {
        "name": method,
        "share": share,
        "sentence": headline.headline(rows, evaluated.grafts, share, config.evaluate.threshold),
        "others": headline.others(rows),
        "passes": evaluated.forward_equivalents,
        "rows": [{**row, "look": LOOKS[row["kind"]]} for row in rows[:_MOST_CLASSES]],
    }
