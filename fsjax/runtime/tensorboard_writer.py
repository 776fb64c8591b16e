"""TensorBoard's event files."""

import pathlib
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fsjax.runtime.writers import Board

# tensorboardX loads PyTorch wherever it is installed, for tensors that it is never given here: seconds of every start.
_modules: dict[str, Any] = sys.modules
if _hidden := "torch" not in _modules:
    _modules["torch"] = None
try:
    from tensorboardX import summary
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
finally:
    if _hidden:
        del _modules["torch"]


class TensorBoard(Board):
    """An event file of its own in a folder of this machine, and one for each outcome in a folder of that name.

    Outcomes lie apart since TensorBoard takes a folder for one session of HPARAMS, and a session's first word as final.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._writer = _writer(folder)

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """As of Board: the scalars stage/name."""
        for name, value in values.items():
            _add(self._writer, step, summary.scalar(f"{stage}/{name}", value))
        self._writer.flush()

    def images(self, section: str, step: int, images: Mapping[str, UInt8[np.ndarray, "height width"]]) -> None:
        """As of Board: the images section/name; the slider above an image goes through its steps."""
        for name, pixels in images.items():
            _add(self._writer, step, summary.image(f"{section}/{name}", pixels, dataformats="HW"))
        self._writer.flush()

    def outcome(self, name: str, fields: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """As of Board: a row of the table HPARAMS."""
        shown = {
            field: value if isinstance(value, bool | int | float) else str(value) for field, value in fields.items()
        }
        # The first part would fix the table's columns to those of the first row that is read.
        _, start, end = summary.hparams(shown, {})
        writer = _writer(self._folder / name)
        for part in (start, *(summary.scalar(value, found) for value, found in values.items()), end):
            _add(writer, 0, part)
        writer.close()

    def close(self, *, failed: bool) -> None:
        """As of Board."""
        self._writer.close()


def _writer(folder: pathlib.Path) -> EventsWriter:
    folder.mkdir(parents=True, exist_ok=True)
    # The file's name has the second in it, and the clock may be moved back.
    return EventsWriter(str(folder / "events"), f".{uuid.uuid4().hex[:8]}")


def _add(writer: EventsWriter, step: int, part: Summary) -> None:
    writer.write_event(Event(wall_time=time.time(), step=step, summary=part))
