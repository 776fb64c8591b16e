"""Weights & Biases, where a config names a project: what TensorBoard shows, under the same names."""

import importlib.util
import logging
import re
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.runtime.writers import Board

logger = logging.getLogger(__name__)

MODES = ("online", "offline")


def check(options: ConfigDict) -> None:
    """Raises InputError for a field of config.wandb that cannot be used, or where its package is missing."""
    if options.mode not in MODES:
        raise InputError(f"wandb.mode: got {options.mode!r}; expected {', '.join(MODES)}")
    if not options.project:
        return
    found = importlib.util.find_spec("wandb")
    # The package leaves a folder of its own name where it was used, which Python takes for an empty package.
    if found is None or found.origin is None:
        raise InputError(
            f"wandb.project: {options.project!r} needs a package that is not installed: pip install 'fsjax[wandb]'"
        )


def start(config: ConfigDict, directory: Path) -> Board | None:
    """The run of a workdir, begun or gone on with under the id that wandb.json keeps; None where it is off.

    Raises:
      InputError: Weights & Biases refuses, as it does a user who has not logged in; wandb.json is damaged.
    """
    if not config.wandb.project:
        return None
    import wandb  # on first use: it is an extra

    try:
        run = wandb.init(
            project=config.wandb.project,
            entity=config.wandb.entity or None,
            mode=config.wandb.mode,
            id=_id(directory / "wandb.json"),
            resume="allow",
            name=str(directory),
            config=config.to_dict(),
            allow_val_change=True,  # fields of `run` and the like may differ from the last start's
            dir=str(directory) if storage.is_local(directory) else None,
            reinit="create_new",  # a study has runs inside its own
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.Error as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"wandb.mode: {config.wandb.mode!r}: {reason}; expected offline, or a user logged in"
        ) from error
    logger.info("wandb: %s", run.url if config.wandb.mode == "online" else f"offline, in {run.dir}")
    return WeightsAndBiases(run, wandb.Image)


def _id(file: Path) -> str:
    if not file.exists():
        files.write_json(file, {"id": uuid.uuid4().hex[:8]})
    kept = files.read_json(file)
    if not (isinstance(kept, dict) and re.fullmatch(r"\w+", str(kept.get("id")))):
        raise InputError(f"{file}: not the id of a run; delete it to have another run begun")
    return kept["id"]


class WeightsAndBiases(Board):
    """A board. W&B counts calls as its steps, which only grow, so ours stand beside the values as `<section>/step`."""

    def __init__(self, run: Any, image: Any):
        self._run, self._image = run, image
        self._sections: set[str] = set()

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """As of Board."""
        self._log(stage, step, values)

    def images(self, section: str, step: int, images: Mapping[str, UInt8[np.ndarray, "height width"]]) -> None:
        """As of Board."""
        self._log(section, step, {name: self._image(pixels) for name, pixels in images.items()})

    def outcome(self, name: str, fields: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """As of Board: in the run's summary; its config is there already."""
        self._run.summary.update({f"{name}/{value}": found for value, found in values.items()})

    def close(self, *, failed: bool) -> None:
        """As of Board."""
        self._run.finish(exit_code=int(failed))

    def _log(self, section: str, step: int, values: Mapping[str, Any]) -> None:
        if section not in self._sections:
            self._sections.add(section)
            self._run.define_metric(f"{section}/*", step_metric=f"{section}/step")
        self._run.log({**{f"{section}/{name}": value for name, value in values.items()}, f"{section}/step": step})
