"""Runs as rows of a table: which folders are runs, and what each of their searches found."""

import os
import pathlib
import urllib.parse
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fsjax.evaluation.controls import beside
from fsjax.evaluation.result import Result, load_result, methods
from fsjax.evaluation.statistics import mean
from fsjax.fourier.dfm import told
from fsjax.report import pixels
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.search.bootstrap import at_share

# Classes of a run whose maps are drawn.
_DRAWN = 12
# Stages that alone make no run: there are no maps of a model to show.
_OTHERS = {"runs", "compare", "study", "adcs", "dynamics"}


def find(text: str) -> list[Path]:
    """The workdirs that a text names, each once.

    Args:
      text: workdirs, or folders whose direct subfolders are workdirs, separated by commas.

    Raises:
      InputError: one of them holds no run, or there is none.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not entries:
        raise InputError("runs: got nothing; expected workdirs, or folders of workdirs, separated by commas")
    found: dict[str, Path] = {}
    for entry in entries:
        folder = storage.path(entry)
        storage.check_reachable(folder, "runs")
        inside: list[Path] = sorted(folder.iterdir(), key=str) if folder.is_dir() else []
        there = [one for one in inside if _is_run(one)] or [one for one in (folder,) if _is_run(one)]
        if not there:
            raise InputError(
                f"runs: no run in {entry!r}; expected a workdir, or a folder whose subfolders are workdirs"
            )
        found |= {str(one): one for one in there}
    return list(found.values())


def _is_run(folder: Path) -> bool:
    file = folder / "config.json"
    if not file.exists():
        return False
    try:
        stages = _field(files.read_json(file), "stages", str, file)
    except (InputError, OSError):
        return True  # its row says what is wrong
    return bool(methods(folder)) or not set(stages.split(",")) <= _OTHERS


def rows(directory: Path, beside: Path) -> list[dict]:
    """A row a search method of a run, in the order of their names; one with `problem` where it cannot be read.

    Args:
      directory: the workdir.
      beside: folder of the page that has the rows, for links.
    """
    page = directory / "report" / "index.html"
    about = {"name": directory.name, "link": _relative(page, beside) if page.exists() else None}
    found = []
    for method in methods(directory) or [""]:
        try:
            if not method:
                raise InputError("no maps: the stage search is not done")
            found.append({**about, "problem": None, **_row(load_result(directory, method))})
        except (InputError, OSError) as error:
            said = f"{method}: {error}" if method else str(error)
            found.append({**about, "problem": said.replace(f"{directory}/", "")})
    return found


def _row(result: Result) -> dict:
    file, maps = result.directory / "config.json", result.maps
    share = maps.nearest(_field(result.config, "report.share", int | float, file))
    rates = result.evaluation[result.method].get(f"{share:g}")
    if rates is None:
        raise InputError(f"evaluation.json: nothing of the maps at {100 * share:g} %; run the stage evaluate again")
    threshold = _field(result.config, "evaluate.threshold", int | float, file)
    shortcuts = [verdict for verdict in rates.get("shortcut") or [] if verdict is not None]
    tpr = np.array(rates["tpr"], float)
    maps_file = result.directory / "dfm" / f"{result.method}.npz"
    stable = told(maps_file, lambda: at_share(maps, share))
    return {
        "model": _field(result.config, "model.name", str, file),
        "data": _data(result.config, file),
        "accuracy": result.evaluation["unfiltered"]["accuracy"],
        "method": result.method,
        "share": share,
        "classes": len(maps.classes),
        "shortcuts": sum(shortcuts) if shortcuts else None,
        "above": int((tpr > threshold).sum()),
        "threshold": threshold,
        "tpr": mean(tpr),
        "fpr": mean(rates["fpr"]),
        **{name: mean(control) for name, control in beside(rates, len(maps.classes)).items()},
        "stability": mean(stable.get("mean", [])),
        "forward": maps.forward_equivalents,
        "date": _date(maps_file),
        "maps": [(name, pixels.kept(mask)) for name, mask in zip(maps.classes[:_DRAWN], maps.at(share), strict=False)],
    }


def _data(config: dict, file: Path) -> str:
    """Name of the data set, or of the folder that it lies in."""
    source, root = (_field(config, f"data.{name}", str, file) for name in ("source", "root"))
    if source in ("synthetic", "tfds"):
        return _field(config, "data.name", str, file)
    return pathlib.PurePosixPath(root).name or source


def _field(config: Any, dotted: str, kind: Any, file: Path) -> Any:
    found = config
    for name in dotted.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, kind):
        raise InputError(f"{file}: {dotted} is {found!r}; expected the config of a run of this version")
    return found


def _date(file: Path) -> str | None:
    """When a file was written, in UTC; None where a store does not say."""
    seconds = file.stat().st_mtime
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") if seconds else None


def _relative(file: Path, beside: Path) -> str | None:
    """A link that a page in `beside` can follow; None from one store or disk to another."""
    if storage.is_local(file) and storage.is_local(beside):
        path = os.path.relpath(file, beside)
    elif not storage.is_local(file) and not storage.is_local(beside) and file.fs == beside.fs:
        path = os.path.relpath(file.path, beside.path)
    else:
        return None
    return urllib.parse.quote(pathlib.PurePath(path).as_posix())
