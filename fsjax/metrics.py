"""Numbers of a run, as JSON lines for programs and TensorBoard events for people."""

import json
import logging
import math
import pathlib
import tempfile
import time
import uuid

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from fsjax import parallel, storage, workdir
from fsjax.storage import Path

logger = logging.getLogger(__name__)

# Between two uploads to a store, which cannot append.
UPLOAD_SECONDS = 30


class Metrics:
    """Appends to metrics.jsonl and to a TensorBoard event file of its own in a workdir; only the main process writes.

    For a store both are written on this machine, and uploaded every UPLOAD_SECONDS and at the end.

    Raises:
      InputError: a file that cannot be written, as on a full disk; so do its methods.
    """

    def __init__(self, directory: Path):
        self._file: pathlib.Path | None = None
        if not parallel.is_main_process():
            return
        # Gone with this object.
        self._copies = None if storage.is_local(directory) else tempfile.TemporaryDirectory()
        folder = pathlib.Path(self._copies.name) if self._copies else directory
        self._shown, self._uploaded = directory / "metrics.jsonl", time.monotonic()
        self._file = folder / "metrics.jsonl"
        with workdir.writing(self._shown):
            (folder / "tensorboard").mkdir(parents=True, exist_ok=True)
            if self._copies and self._shown.exists():
                self._file.write_bytes(self._shown.read_bytes())
            _mend(self._file, self._shown)
            # The file's name has the second in it, and the clock may be moved back.
            self._board = EventsWriter(str(folder / "tensorboard" / "events"), f".{uuid.uuid4().hex[:8]}")

    def write(self, stage: str, step: int, values: dict[str, float]) -> None:
        """One line {"stage", "step", "time", name: value, ...}; a value that is not finite becomes null."""
        if self._file is None:
            return
        now = time.time()
        clean = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"stage": stage, "step": step, "time": round(now, 3), **clean}, allow_nan=False)
        with workdir.writing(self._shown):
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            for name, value in values.items():
                self._board.write_event(Event(wall_time=now, step=step, summary=scalar(f"{stage}/{name}", value)))
            self._board.flush()
            if self._copies and time.monotonic() - self._uploaded > UPLOAD_SECONDS:
                self._upload()

    def close(self) -> None:
        """Closes, and uploads, both files."""
        if self._file is None:
            return
        with workdir.writing(self._shown):
            self._board.close()
            if self._copies:
                self._upload()
                self._copies.cleanup()

    def _upload(self) -> None:
        self._uploaded = time.monotonic()
        folder = self._file.parent
        for file in [self._file, *(folder / "tensorboard").iterdir()]:
            if file.exists():
                to = self._shown.parent / file.relative_to(folder).as_posix()
                to.fs.put_file(str(file), to.path)


def _mend(file: pathlib.Path, shown: Path) -> None:
    """Drops lines that are damaged, or were not finished when their writer was killed; says so of the file `shown`."""
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    bad = {number for number, line in enumerate(lines, 1) if not (line.endswith(b"\n") and _is_object(line))}
    if bad:
        workdir.write_bytes(file, b"".join(line for number, line in enumerate(lines, 1) if number not in bad))
        logger.warning("%s: dropped what is not a whole line of JSON: line %s", shown, ", ".join(map(str, sorted(bad))))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
