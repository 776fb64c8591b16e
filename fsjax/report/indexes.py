"""The page over the search methods of a workdir."""

from ml_collections import ConfigDict

from fsjax.evaluation.results import Evaluation, read_evaluation, read_method
from fsjax.report import answer, html
from fsjax.report.verdict_figures import LOOKS
from fsjax.runtime.storage import Path

# Classes in the table of methods; all are on each page.
_MOST_CLASSES = 40


def write_methods(config: ConfigDict, directory: Path) -> None:
    """Write report/index.html: lead to the only page, or lay the verdicts of several pages side by side."""
    evaluation = read_evaluation(directory / "evaluation.json")
    names = sorted(evaluation.methods) if evaluation else []
    judged = [name for name in names if (html.page_folder(directory, name) / "index.html").exists()]
    evaluation = read_method(directory / "evaluation.json", judged[0])
    html.write_page(
        directory,
        "index",
        model=config.model.name,
        methods=[_method_values(config, evaluation, method) for method in judged],
        classes=evaluation.classes[:_MOST_CLASSES],
        all_classes=len(evaluation.classes),
    )


def _method_values(config: ConfigDict, evaluation: Evaluation, method: str) -> dict:
    """Return name, answer and cost of a method's maps, and a row of `class_rows` a class with its look."""
    evaluated = evaluation.methods[method]
    share = evaluated.nearest(config.report.share)
    rows = answer.class_rows(evaluation.classes, evaluated.at(share), evaluated.grafts)
    return {
        "name": method,
        "share": share,
        "sentence": answer.headline(rows, evaluated.grafts, share, config.evaluate.threshold),
        "others": answer.others(rows),
        "passes": evaluated.forward_equivalents,
        "rows": [{**row, "look": LOOKS[row["kind"]]} for row in rows[:_MOST_CLASSES]],
    }
