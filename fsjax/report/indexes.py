"""Pages that list other pages: the search methods of a workdir, and several runs."""

import os
import pathlib
import urllib.parse
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax.data.source import set_name
from fsjax.evaluation.results import (
    Evaluation,
    MethodResult,
    read_evaluation,
    read_method,
    read_result,
    searched_methods,
)
from fsjax.evaluation.statistics import mean
from fsjax.fourier.dfm import file_in, files_in, read_provenance
from fsjax.report import answer, html, pictures
from fsjax.report.verdict_figures import LOOKS
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.search.reliability import stability_at_share

# Classes in the table of methods; all are on each page.
_MOST_CLASSES = 40
# A row of the runs shows the maps of at most this many classes.
_MOST_DRAWN = 12
# A workdir with only these stages has no maps of a model, so it is no run.
_WITHOUT_MAPS = {"runs", "compare", "study", "adcs", "dynamics"}


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


def write_runs(directory: Path, text: str) -> None:
    """Write report/runs.html in the workdir, with a row for each search method of the runs that a text names."""
    rows = [row for run in find_runs(text) for row in _run_rows(run, directory / "report")]
    html.write_page(directory, "runs", rows=rows)


def check_runs(text: str) -> None:
    """Raise InputError where a text names no runs."""
    find_runs(text)


def find_runs(text: str) -> list[Path]:
    """Return the workdirs that a text names, each once.

    Args:
      text: workdirs, or folders whose direct subfolders are workdirs, separated by commas.

    Raises:
      InputError: an entry that holds no run, or no entry.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not entries:
        raise InputError("runs: got nothing; expected workdirs, or folders of workdirs, separated by commas")
    runs: dict[str, Path] = {}
    for entry in entries:
        folder = storage.path(entry)
        storage.check_reachable(folder, "runs")
        inside: list[Path] = sorted(folder.iterdir(), key=str) if folder.is_dir() else []
        workdirs = [path for path in inside if _is_run(path)] or [path for path in (folder,) if _is_run(path)]
        if not workdirs:
            raise InputError(
                f"runs: got {entry!r}, which has no run; expected a workdir, or a folder whose subfolders are workdirs"
            )
        runs |= {str(path): path for path in workdirs}
    return list(runs.values())


def run_inputs(text: str) -> list[Path]:
    """Return the files that the page of runs is made from."""
    read: list[Path] = []
    for directory in find_runs(text):
        maps = files_in(directory)
        read += [directory / "config.json", directory / "evaluation.json", *maps]
        read += [html.page_folder(directory, file.stem) / "index.html" for file in maps]
    return [file for file in read if file.is_file()]


def _is_run(folder: Path) -> bool:
    file = folder / "config.json"
    if not file.exists():
        return False
    try:
        stages = _field(files.read_json(file), "stages", str, file)
    except (InputError, OSError):
        return True  # its row says what is wrong
    return bool(searched_methods(folder)) or not set(stages.split(",")) <= _WITHOUT_MAPS


def _run_rows(directory: Path, page_folder: Path) -> list[dict]:
    """Return a row for each search method of a run; a row has a `problem` where its results cannot be read.

    Links start at a page in `page_folder`.
    """
    rows = []
    for method in searched_methods(directory) or [""]:
        page = html.page_folder(directory, method) / "index.html"
        named = {"name": directory.name, "link": _relative(page, page_folder) if page.exists() else None}
        try:
            if not method:
                raise InputError("no maps: the stage search is not done")
            rows.append({**named, "problem": None, **_run_values(directory, read_result(directory, method))})
        except (InputError, OSError) as error:
            message = f"{method}: {error}" if method else str(error)
            rows.append({**named, "problem": message.replace(f"{directory}/", "")})
    return rows


def _run_values(directory: Path, result: MethodResult) -> dict:
    file, maps = directory / "config.json", result.maps
    share = maps.nearest(_field(result.config, "report.share", int | float, file))
    threshold = _field(result.config, "evaluate.threshold", int | float, file)
    data = {name: _field(result.config, f"data.{name}", str, file) for name in ("source", "name", "root")}
    rates, grafts = result.rates(share), result.evaluation.methods[result.method].grafts
    maps_file = file_in(directory, result.method)
    stability = read_provenance(maps_file, lambda: stability_at_share(maps, share))
    drawn = zip(maps.classes[:_MOST_DRAWN], maps.at(share), strict=False)
    return {
        "model": _field(result.config, "model.name", str, file),
        "data": set_name(data) or pathlib.PurePosixPath(data["root"]).name or data["source"],
        "accuracy": result.evaluation.unfiltered.accuracy,
        "method": result.method,
        "share": share,
        "classes": len(maps.classes),
        "shortcuts": sum(verdict.kind == "shortcut" for verdict in grafts.verdicts) if grafts else None,
        "above": int((rates.tpr > threshold).sum()),
        "threshold": threshold,
        "tpr": mean(rates.tpr),
        "fpr": mean(rates.fpr),
        "psi": mean(grafts.rates.psi) if grafts else None,
        "smallest": _median(grafts.curves["map"].smallest) if grafts else None,
        "stability": mean(stability.get("mean", [])),
        "forward": maps.forward_equivalents,
        "date": _date(maps_file),
        "maps": [(name, pictures.mask_picture(mask)) for name, mask in drawn],
    }


def _median(smallest: Float[np.ndarray, " classes"]) -> float | None:
    """Return the median of smallest shares; None where psi stays below 1/2 for half of the classes or more."""
    middle = float(np.median(np.nan_to_num(smallest, nan=np.inf)))
    return middle if np.isfinite(middle) else None


def _field(config: Any, dotted: str, kind: Any, file: Path) -> Any:
    value = config
    for name in dotted.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, kind):
        raise InputError(f"{file}: {dotted}: got {value!r}; expected the config of a run of this version")
    return value


def _date(file: Path) -> str | None:
    """Return when a file was written, in UTC; None where a store does not tell."""
    seconds = file.stat().st_mtime
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") if seconds else None


def _relative(file: Path, folder: Path) -> str | None:
    """Return a link from a page in a folder to a file; None between different stores, or a store and a disk."""
    if storage.is_local(file) and storage.is_local(folder):
        path = os.path.relpath(file, folder)
    elif not storage.is_local(file) and not storage.is_local(folder) and file.fs == folder.fs:
        path = os.path.relpath(file.path, folder.path)
    else:
        return None
    return urllib.parse.quote(pathlib.PurePath(path).as_posix())
