"""The page over several runs: one self-contained file with a row for each run and search method."""

from fsjax.evaluation.load_result import methods
from fsjax.report import html
from fsjax.report.run_rows import find, rows
from fsjax.runtime import files
from fsjax.runtime.storage import Path


def check(text: str) -> None:
    """Raise InputError where a text names no runs."""
    find(text)


def inputs(text: str) -> list[Path]:
    """Return the files that the page is made from."""
    found: list[Path] = []
    for directory in find(text):
        found += [directory / name for name in ("config.json", "evaluation.json", "report/index.html")]
        found += [directory / "dfm" / f"{method}.npz" for method in methods(directory)]
    return [file for file in found if file.is_file()]


def write(directory: Path, text: str) -> None:
    """Write report/runs.html.

    Args:
      directory: the workdir.
      text: the runs that are shown, as for run_rows.find.
    """
    folder = directory / "report"
    found = [row for run in find(text) for row in rows(run, folder)]
    page = html.template("runs.html").render(title="runs", rows=found)
    files.write_text(folder / "runs.html", page)
