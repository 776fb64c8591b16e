"""Writers of metrics for people to watch a run: TensorBoard, and Weights & Biases where a config names a project.

Their packages are imported on first use: what writes no metrics need not load them, and wandb is an extra.
"""

import importlib.util
import logging
import pathlib
import re
import sys
import time
import types
import uuid
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

MODES = ("online", "offline")


@runtime_checkable
class Writer(Protocol):
    """Shows a run to people; only the main process has any."""

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Show numbers of a stage at one of its steps."""

    def images(self, section: str, step: int, images: Mapping[str, UInt8[np.ndarray, "height width"]]) -> None:
        """Show grey images of a section by name, at a step of their own."""

    def outcome(self, name: str, fields: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """Show final results under a name, with the config fields that they depend on."""

    def close(self, *, failed: bool) -> None:
        """End; `failed`: the run did not come to its end."""


class TensorBoard(Writer):
    """Writes an event file of its own in a local folder, and one for each outcome in a folder of that name.

    Outcomes are apart because TensorBoard takes a folder for one session of HPARAMS, and a session's first values as
    final.
    """

    def __init__(self, folder: pathlib.Path):
        self._tensorboard = _import_tensorboard()
        self._folder, self._file = folder, self._open(folder)

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Add the scalars stage/name."""
        for name, value in values.items():
            self._add(self._file, step, self._tensorboard.summary.scalar(f"{stage}/{name}", value))
        self._file.flush()

    def images(self, section: str, step: int, images: Mapping[str, UInt8[np.ndarray, "height width"]]) -> None:
        """Add the images section/name; the slider above an image goes through its steps."""
        for name, pixels in images.items():
            self._add(self._file, step, self._tensorboard.summary.image(f"{section}/{name}", pixels, dataformats="HW"))
        self._file.flush()

    def outcome(self, name: str, fields: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """Add a row to the table HPARAMS."""
        summary = self._tensorboard.summary
        shown = {
            field: value if isinstance(value, bool | int | float) else str(value) for field, value in fields.items()
        }
        # The first part would fix the table's columns to those of the first row that is read.
        _, start, end = summary.hparams(shown, {})
        file = self._open(self._folder / name)
        for part in (start, *(summary.scalar(key, value) for key, value in values.items()), end):
            self._add(file, 0, part)
        file.close()

    def close(self, *, failed: bool) -> None:
        self._file.close()

    def _open(self, folder: pathlib.Path) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        # The file's name has the second in it, and the clock may be moved back.
        return self._tensorboard.EventsWriter(str(folder / "events"), f".{uuid.uuid4().hex[:8]}")

    def _add(self, file: Any, step: int, part: Any) -> None:
        file.write_event(self._tensorboard.Event(wall_time=time.time(), step=step, summary=part))


def _import_tensorboard() -> types.SimpleNamespace:
    """Import tensorboardX without PyTorch, which it would load for tensors that it is never given here."""
    modules: dict[str, Any] = sys.modules
    if hidden := "torch" not in modules:
        modules["torch"] = None
    try:
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
    finally:
        if hidden:
            del modules["torch"]
    return types.SimpleNamespace(summary=summary, EventsWriter=EventsWriter, Event=Event)


class WeightsAndBiases(Writer):
    """W&B counts calls as its steps, which only grow, so ours stand beside the values as `<section>/step`."""

    def __init__(self, run: Any, image: Any):
        self._run, self._image = run, image  # wandb.Image
        self._sections: set[str] = set()

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self._log(stage, step, values)

    def images(self, section: str, step: int, images: Mapping[str, UInt8[np.ndarray, "height width"]]) -> None:
        self._log(section, step, {name: self._image(pixels) for name, pixels in images.items()})

    def outcome(self, name: str, fields: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """Update the run's summary; its config is there already."""
        self._run.summary.update({f"{name}/{key}": value for key, value in values.items()})

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))

    def _log(self, section: str, step: int, values: Mapping[str, Any]) -> None:
        if section not in self._sections:
            self._sections.add(section)
            self._run.define_metric(f"{section}/*", step_metric=f"{section}/step")
        self._run.log({**{f"{section}/{name}": value for name, value in values.items()}, f"{section}/step": step})


def check_wandb(options: ConfigDict) -> None:
    """Raise InputError for a field of config.wandb that cannot be used, or where its package is missing."""
    if options.mode not in MODES:
        raise InputError(f"wandb.mode: got {options.mode!r}; expected {', '.join(MODES)}")
    if not options.project:
        return
    package = importlib.util.find_spec("wandb")
    # The package leaves a folder of its own name where it was used, which Python takes for an empty package.
    if package is None or package.origin is None:
        raise InputError(
            f"wandb.project: {options.project!r} needs a package that is not installed: pip install 'fsjax[wandb]'"
        )


def start_wandb(config: ConfigDict, directory: Path) -> Writer | None:
    """Begin or continue the W&B run of a workdir, under the id in its wandb.json; None where it is off.

    Raises:
      InputError: Weights & Biases refuses, as it does a user who has not logged in; wandb.json is damaged.
    """
    if not config.wandb.project:
        return None
    import wandb

    try:
        run = wandb.init(
            project=config.wandb.project,
            entity=config.wandb.entity or None,
            mode=config.wandb.mode,
            id=_wandb_id(directory / "wandb.json"),
            resume="allow",
            name=str(directory),
            config=config.to_dict(),
            allow_val_change=True,  # fields of `run` and the like may differ from the last start's
            dir=str(directory) if storage.is_local(directory) else None,
            reinit="create_new",  # a study has runs inside its own
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.Error as error:
        expected = "expected offline, or a user logged in"
        raise InputError(f"wandb.mode: {config.wandb.mode!r}: {one_line(error)}; {expected}") from error
    logger.info("wandb: %s", run.url if config.wandb.mode == "online" else f"offline, in {run.dir}")
    return WeightsAndBiases(run, wandb.Image)


def _wandb_id(file: Path) -> str:
    if not file.exists():
        files.write_json(file, {"id": uuid.uuid4().hex[:8]})
    content = files.read_json(file)
    if not (isinstance(content, dict) and re.fullmatch(r"\w+", str(content.get("id")))):
        raise InputError(f"{file}: not the id of a run; delete it to have another run begun")
    return content["id"]
