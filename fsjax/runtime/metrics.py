"""Metrics of a run: JSON lines for programs, TensorBoard and Weights & Biases for people."""

import contextlib
import json
import logging
import math
import pathlib
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from ml_collections import ConfigDict
from upath import UPath

from fsjax.runtime import files, parallel, storage
from fsjax.runtime.errors import InputError, check_known, one_line
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

UPLOAD_SECONDS = 30  # between two uploads to a store, which cannot append
MODES = ("online", "offline")


class Metrics(contextlib.AbstractContextManager["Metrics"]):
    """Appends to metrics.jsonl and shows the same values on TensorBoard, and on W&B where `start_wandb` starts it.

    A context manager. Only the main process writes. For a store, files are written on this machine and uploaded every
    UPLOAD_SECONDS and at the end. All methods raise InputError where a file cannot be written, as on a full disk.
    """

    def __init__(self, directory: Path, start_wandb: Callable[[], "_WeightsAndBiases | None"] = lambda: None):
        self._shown, self._uploaded = directory / "metrics.jsonl", time.monotonic()
        self._writers: list[_TensorBoard | _WeightsAndBiases] = []
        self._copies: tempfile.TemporaryDirectory | None = None  # deleted with this object
        if not parallel.is_main_process():
            return
        if storage.is_local(directory):
            self._folder = directory
        else:
            self._copies = tempfile.TemporaryDirectory()
            self._folder = pathlib.Path(self._copies.name)
        self._file = self._folder / "metrics.jsonl"
        with files.writing(self._shown):
            self._writers.append(_TensorBoard(self._folder / "tensorboard"))
            if self._copies and self._shown.exists():
                self._file.write_bytes(self._shown.read_bytes())
            content = self._file.read_bytes() if self._file.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:  # a killed writer left an unfinished line
                files.write_bytes(self._file, whole)
        if wandb_writer := start_wandb():
            self._writers.append(wandb_writer)

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close(failed=kind is not None)

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Append a line {"stage", "step", "time", name: value, ...}; a value that is not finite becomes null."""
        if not self._writers:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"stage": stage, "step": step, "time": round(time.time(), 3), **finite}, allow_nan=False)
        with files.writing(self._shown):
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            for writer in self._writers:
                writer.write(stage, step, values)
            if self._copies and time.monotonic() - self._uploaded > UPLOAD_SECONDS:
                self._upload()

    def outcome(self, name: str, fields: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """Show final results and the config fields behind them, on the writers alone; replace earlier ones."""
        if not self._writers:
            return
        for place in (self._folder, self._shown.parent):
            storage.remove(place / "tensorboard" / name)
        with files.writing(self._shown):
            for writer in self._writers:
                writer.outcome(name, fields, values)

    def close(self, *, failed: bool = False) -> None:
        """Close the writers, tell them whether the run failed, and upload the files."""
        with files.writing(self._shown):
            for writer in self._writers:
                writer.close(failed=failed)
            if self._copies:
                self._upload()
                self._copies.cleanup()

    def _upload(self) -> None:
        self._uploaded = time.monotonic()
        for file in [self._file, *(self._folder / "tensorboard").rglob("*")]:
            if file.is_file():
                to = UPath(self._shown.parent) / file.relative_to(self._folder).as_posix()
                to.fs.put_file(str(file), to.path)


def check_wandb(options: ConfigDict) -> None:
    """Raise InputError for an invalid field of config.wandb, or where the package is missing."""
    check_known("wandb.mode", options.mode, MODES)
    if not options.project:
        return
    try:
        from wandb import init  # noqa: F401 - a folder of this name counts as a package, without init
    except ImportError as error:
        advice = "needs a missing package: pip install 'fsjax[wandb]'"
        raise InputError(f"wandb.project: {options.project!r} {advice}") from error


def start_wandb(config: ConfigDict, directory: Path) -> "_WeightsAndBiases | None":
    """Begin or resume the W&B run of a workdir, whose id is in wandb.json; return None where W&B is off.

    Raise InputError where W&B refuses, for example without a login, or wandb.json is damaged.
    """
    if not config.wandb.project:
        return None
    import wandb

    id_file = directory / "wandb.json"
    if not id_file.exists():
        files.write_json(id_file, {"id": uuid.uuid4().hex[:8]})
    try:
        run = wandb.init(
            project=config.wandb.project,
            entity=config.wandb.entity or None,
            mode=config.wandb.mode,
            id=files.read_json(id_file)["id"],
            resume="allow",
            name=str(directory),
            config=config.to_dict(),
            allow_val_change=True,  # fields such as `run` may differ from the last start's
            dir=str(directory) if storage.is_local(directory) else None,
            reinit="create_new",  # a study has runs inside its own
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.Error as error:
        raise InputError(f"wandb.mode: got {one_line(error)}; expected offline, or a user logged in") from error
    logger.info("wandb: %s", run.url if config.wandb.mode == "online" else f"offline, in {run.dir}")
    return _WeightsAndBiases(run)


class _TensorBoard:
    """Writes TensorBoard events to a local folder, and each outcome to a folder in it.

    EventsWriter writes at once; the thread of SummaryWriter would hang on a full disk. Outcomes are apart because
    TensorBoard reads one session of HPARAMS per folder.
    """

    def __init__(self, folder: pathlib.Path):
        from tensorboardX import summary  # on first use, since it takes a second
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(parents=True, exist_ok=True)
        # The file's name has the second in it, and the clock may be moved back.
        self._file = EventsWriter(str(folder / "events"), f".{uuid.uuid4().hex[:8]}")
        self._folder, self._summary = folder, summary

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        parts = (self._summary.scalar(f"{stage}/{name}", value) for name, value in values.items())
        self._add(step, *parts)

    def outcome(self, name: str, fields: Mapping[str, Any], values: Mapping[str, float]) -> None:
        hparams = {key: value if isinstance(value, bool | int | float) else str(value) for key, value in fields.items()}
        # Without the first part, which would fix the table's columns by its first row.
        _, start, end = self._summary.hparams(hparams, {})
        session = _TensorBoard(self._folder / name)
        session._add(0, start, *(self._summary.scalar(key, value) for key, value in values.items()), end)
        session.close(failed=False)

    def close(self, *, failed: bool) -> None:
        self._file.close()

    def _add(self, step: int, *parts: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        for part in parts:
            self._file.write_event(Event(wall_time=time.time(), step=step, summary=part))
        self._file.flush()


class _WeightsAndBiases:
    """Logs to a W&B run. W&B's own steps only grow, so ours are logged beside the values as `<section>/step`."""

    def __init__(self, run: Any):
        self._run = run
        self._sections: set[str] = set()

    def write(self, stage: str, step: int, values: Mapping[str, Any]) -> None:
        if stage not in self._sections:
            self._sections.add(stage)
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        self._run.log({**{f"{stage}/{name}": value for name, value in values.items()}, f"{stage}/step": step})

    def outcome(self, name: str, fields: Mapping[str, Any], values: Mapping[str, float]) -> None:
        self._run.summary.update({f"{name}/{key}": value for key, value in values.items()})

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
