"""Where a training begins: its newest checkpoint, the last step of the run that it goes on from, or random weights."""

import contextlib
import logging
from typing import Any

import jax

from fsjax.data import frequencies
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.training import state, ways
from fsjax.training.state import LoopState, TrainState
from fsjax.training.training import Training

logger = logging.getLogger(__name__)


def restore(training: Training, checkpoints: Checkpoints) -> LoopState:
    """Return the state of the newest whole checkpoint, or a first one; newer, damaged checkpoints are deleted.

    Raises:
      InputError: the files that the config names had other content when the checkpoint was trained, or the run that it
        goes on from is longer or of another network or optimiser.
    """
    step = checkpoints.newest() or 0
    checkpoints.discard_after(step)
    if step:
        metadata = checkpoints.metadata(step)
        _check_steps(metadata, checkpoints.directory)
        _check_files(metadata, training.metadata, checkpoints.directory)
        logger.info("train: resumes from step %d of %d", step, training.steps)
        return _read(training, checkpoints, step)
    if training.start:
        return _go_on(training, training.start)
    fresh, plateau = _first(training)
    return LoopState(0, state.replicate(fresh), plateau)


def _first(training: Training) -> tuple[TrainState, Any]:
    """Return the state before the first step, and that of the plateau schedule."""
    variables = jax.device_get(training.network.init(training.config.seed))
    fresh = state.create(variables, training.optimizer, training.average, auxiliary=training.auxiliary)
    return fresh, jax.device_get(training.plateau.init(variables["params"]))


def _read(training: Training, checkpoints: Checkpoints, step: int) -> LoopState:
    """Return the state of a checkpoint."""
    fresh, plateau = _first(training)
    resumed = checkpoints.training(step, {**state.resumed_arrays(fresh), "plateau": plateau})
    plateau = resumed.pop("plateau")
    restored = TrainState(**(checkpoints.variables(step, fresh.variables) | resumed))
    return LoopState(step, state.replicate(restored), plateau)


def _go_on(training: Training, run: Path) -> LoopState:
    """Return the last state of another run."""
    with contextlib.closing(Checkpoints(run / "checkpoints")) as checkpoints:
        step = checkpoints.newest()
        if step is None or step > training.steps:
            raise InputError(
                f"train.graft.start: {run} was trained for {step or 0} steps; expected 1 to {training.steps}, those "
                "of this training"
            )
        metadata = checkpoints.metadata(step)
        _check_steps(metadata, checkpoints.directory)
        try:
            if all(metadata[name] == training.metadata[name] for name in ("model", "image_size", "classes")):
                logger.info("train: goes on from step %d of %s, up to %d", step, run, training.steps)
                return _read(training, checkpoints, step)
        except ValueError as error:  # Orbax's, in many lines, where the state has other arrays
            logger.debug("%s", error)
        raise InputError(
            f"train.graft.start: got {run}; expected a run of the same model, image size, classes, optimiser and ways"
        )


def _check_steps(metadata: dict, directory: Path) -> None:
    """Raise InputError for a checkpoint that counts its steps from another run's last one, as those of fsjax 0.1 do."""
    if metadata.get("steps_before"):
        raise InputError(f"{directory}: fsjax 0.1 trained it as a part of a training; delete the folder to train anew")


def _check_files(saved: dict, current: dict, directory: Path) -> None:
    """Raise InputError where the files that the config names had other content when a checkpoint was trained."""
    for field in (frequencies.FIELD, *ways.FILE_FIELDS):
        if saved.get(field) != current.get(field):
            raise InputError(
                f"{field}: the file has changed since {directory} was trained; put it back, or name another --workdir"
            )
