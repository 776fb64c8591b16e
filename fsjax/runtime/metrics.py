"""Metrics of a run: JSON lines for programs, and TensorBoard and Weights & Biases for people."""

import json
import logging
import math
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8
from upath import UPath

from fsjax.runtime import files, parallel, storage
from fsjax.runtime.storage import Path
from fsjax.runtime.writers import TensorBoard, Writer

logger = logging.getLogger(__name__)

# Between two uploads to a store, which cannot append.
UPLOAD_SECONDS = 30


class Metrics:
    """Appends to metrics.jsonl and to writers; only the main process writes. A context manager, or `close` ends it.

    TensorBoard's events are a file of their own for each start. For a store both are written on this machine, and
    uploaded every UPLOAD_SECONDS and at the end.

    Args:
      directory: the workdir.
      other_writer: starts a writer beside TensorBoard's, and returns None for none.

    Raises:
      InputError: a file that cannot be written, as on a full disk; so do its methods.
    """

    def __init__(self, directory: Path, other_writer: Callable[[], Writer | None] = lambda: None):
        self._shown, self._uploaded = directory / "metrics.jsonl", time.monotonic()
        self._writers: list[Writer] = []
        self._copies: tempfile.TemporaryDirectory | None = None  # deleted with this object
        self._writes = parallel.is_main_process()
        if not self._writes:
            return
        if storage.is_local(directory):
            self._folder = directory
        else:
            self._copies = tempfile.TemporaryDirectory()
            self._folder = pathlib.Path(self._copies.name)
        self._file = self._folder / "metrics.jsonl"
        with files.writing(self._shown):
            self._writers.append(TensorBoard(self._folder / "tensorboard"))
            if self._copies and self._shown.exists():
                self._file.write_bytes(self._shown.read_bytes())
            _drop_damaged_lines(self._file, self._shown)
        if other := other_writer():
            self._writers.append(other)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close(failed=kind is not None)

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Append a line {"stage", "step", "time", name: value, ...}; a value that is not finite becomes null."""
        if not self._writes:
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

    def images(self, section: str, step: int, images: Mapping[str, UInt8[np.ndarray, "height width"]]) -> None:
        """Show grey images by name; the writers alone get them."""
        with files.writing(self._shown):
            for writer in self._writers:
                writer.images(section, step, images)

    def outcome(self, name: str, fields: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """Show final results, in place of earlier ones, and the config fields that they depend on, on writers alone."""
        if not self._writes:
            return
        for place in (self._folder, self._shown.parent):
            storage.remove(place / "tensorboard" / name)
        with files.writing(self._shown):
            for writer in self._writers:
                writer.outcome(name, fields, values)

    def close(self, *, failed: bool = False) -> None:
        """Close the writers, which learn whether the run failed, and upload what was written."""
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


def _drop_damaged_lines(file: pathlib.Path, shown: Path) -> None:
    """Drop lines that are damaged, or unfinished since their writer was killed; the warning names the file `shown`."""
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    bad = {number for number, line in enumerate(lines, 1) if not (line.endswith(b"\n") and _is_object(line))}
    if bad:
        files.write_bytes(file, b"".join(line for number, line in enumerate(lines, 1) if number not in bad))
        logger.warning("%s: dropped what is not a whole line of JSON: line %s", shown, ", ".join(map(str, sorted(bad))))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
