"""The page over several runs: one self-contained file with a row for each run and search method."""

import os
import pathlib
import urllib.parse
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jaxtyping import Float

from fsjax.data.source import set_name
from fsjax.evaluation.load_result import MethodResult, methods, read_result
from fsjax.evaluation.statistics import mean
from fsjax.fourier.dfm import file_in, files_in, read_provenance
from fsjax.report import html, index, pictures
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.search.bootstrap import stability_at_share

# Most classes of a run whose maps are drawn.
_MOST_DRAWN = 12
# Stages without maps of a model; a workdir with only these is not a run.
_WITHOUT_MAPS = {"runs", "compare", "study", "adcs", "dynamics"}


def check(text: str) -> None:
    """Raise InputError where a text names no runs."""
    find(text)


def find(text: str) -> list[Path]:
    """Return the workdirs that a text names, each once.

    Args:
      text: workdirs, or folders whose direct subfolders are workdirs, separated by commas.

    Raises:
      InputError: one of them holds no run, or there is none.
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


def inputs(text: str) -> list[Path]:
    """Return the files that the page is made from."""
    read: list[Path] = []
    for directory in find(text):
        maps = files_in(directory)
        pages = (index.page_folder(directory, file.stem) / "index.html" for file in maps)
        of_run = (directory / name for name in ("config.json", "evaluation.json", "report/index.html"))
        read += [*of_run, *maps, *pages]
    return [file for file in read if file.is_file()]


def write(directory: Path, text: str) -> None:
    """Write report/runs.html in the workdir, about the runs that a text names (see `find`)."""
    folder = directory / "report"
    rows = [row for run in find(text) for row in _rows(run, folder)]
    files.write_text(folder / "runs.html", html.template("runs.html").render(title="runs", rows=rows))


def _is_run(folder: Path) -> bool:
    file = folder / "config.json"
    if not file.exists():
        return False
    try:
        stages = _field(files.read_json(file), "stages", str, file)
    except (InputError, OSError):
        return True  # its row says what is wrong
    return bool(methods(folder)) or not set(stages.split(",")) <= _WITHOUT_MAPS


def _rows(directory: Path, page_folder: Path) -> list[dict]:
    """Return a row for each search method of a run, by name; one with `problem` where it cannot be read.

    Links lead from a page in `page_folder`.
    """
    rows = []
    for method in methods(directory) or [""]:
        named = {"name": directory.name, "link": _link(directory, method, page_folder)}
        try:
            if not method:
                raise InputError("no maps: the stage search is not done")
            rows.append({**named, "problem": None, **_row(directory, read_result(directory, method))})
        except (InputError, OSError) as error:
            message = f"{method}: {error}" if method else str(error)
            rows.append({**named, "problem": message.replace(f"{directory}/", "")})
    return rows


def _link(directory: Path, method: str, page_folder: Path) -> str | None:
    """Return a link to the page of a method, or to the only page of a workdir of before; None where there is none."""
    places = (index.page_folder(directory, method), directory / "report")
    page = next((place / "index.html" for place in places if (place / "index.html").exists()), None)
    return None if page is None else _relative(page, page_folder)


def _row(directory: Path, result: MethodResult) -> dict:
    file, maps = directory / "config.json", result.maps
    share = maps.nearest(_field(result.config, "report.share", int | float, file))
    threshold = _field(result.config, "evaluate.threshold", int | float, file)
    rates, grafts = result.rates(share), result.evaluation.methods[result.method].grafts
    maps_file = file_in(directory, result.method)
    stability = read_provenance(maps_file, lambda: stability_at_share(maps, share))
    pictures_of = zip(maps.classes[:_MOST_DRAWN], maps.at(share), strict=False)
    return {
        "model": _field(result.config, "model.name", str, file),
        "data": _data(result.config, file),
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
        "maps": [(name, pictures.mask_picture(mask)) for name, mask in pictures_of],
    }


def _median(smallest: Float[np.ndarray, " classes"]) -> float | None:
    """Return the median of smallest shares; None where half of the classes or more reach psi 1/2 at no share."""
    middle = float(np.median(np.nan_to_num(smallest, nan=np.inf)))
    return middle if np.isfinite(middle) else None


def _data(config: dict, file: Path) -> str:
    """Return the name of the data set, or of its folder."""
    data = {name: _field(config, f"data.{name}", str, file) for name in ("source", "name", "root")}
    return set_name(data) or pathlib.PurePosixPath(data["root"]).name or data["source"]


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
    """Return a link from a page in a folder to a file; None from one store or disk to another."""
    if storage.is_local(file) and storage.is_local(folder):
        path = os.path.relpath(file, folder)
    elif not storage.is_local(file) and not storage.is_local(folder) and file.fs == folder.fs:
        path = os.path.relpath(file.path, folder.path)
    else:
        return None
    return urllib.parse.quote(pathlib.PurePath(path).as_posix())
