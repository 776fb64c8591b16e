"""Set up a training: build what stays the same from step to step, and restore the state that it begins with."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax import models
from fsjax.data import frequencies
from fsjax.data.augment import make_augment
from fsjax.data.dataset import Dataset
from fsjax.models.network import Network
from fsjax.runtime import files
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.training import optimizers, state, ways
from fsjax.training.settings import PRECISIONS, last_step, num_steps
from fsjax.training.state import LoopState, TrainState
from fsjax.training.step import PmappedUpdate, Update
from fsjax.training.ways import dfmx, graft
from fsjax.training.ways.way import Copies, Setting

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Training:
    """What stays the same from step to step."""

    config: ConfigDict
    images: Dataset
    mean_std: tuple[np.ndarray, np.ndarray]  # of pixels in [0, 1], per channel
    steps: int  # after which the training ends
    start: Path | None  # workdir of the run that the training continues; None = random weights
    network: Network
    optimizer: optax.GradientTransformation
    rates: Float[np.ndarray, " steps"]  # learning rate of each step
    plateau: optax.GradientTransformationExtraArgs
    update: Callable  # from step.PmappedUpdate
    auxiliary: bool  # whether copies have BatchNorms apart from the classifier's
    metadata: dict[str, Any]  # of each checkpoint


def build(config: ConfigDict, images: Dataset, mean_std: tuple[np.ndarray, np.ndarray], directory: Path) -> Training:
    """Return the parts of a training with this config in this workdir; compile and train nothing."""
    options = config.train
    network = models.build(
        config.model.name,
        num_classes=len(images.classes),
        image_size=config.data.image_size,
        dtype=PRECISIONS[options.precision],
    ).limited_to(frequencies.read(config.data.frequencies, config.data.image_size))
    optimizer, steps = optimizers.make(options), last_step(options, len(images))
    schedule = optimizers.learning_rate(options, num_steps(options, len(images)))
    changes = ways.make(Setting(options, config.data.image_size, images.classes, mean_std, directory))
    update = Update(
        network,
        optimizer,
        make_augment(options.augment, pad=options.pad, min_scale=options.min_scale),
        mean_std,
        config.seed,
        changes,
        options.label_smoothing,
    )
    hashes = {field: files.sha256(file) for field, file in ways.files(options, directory).items()}
    if network.packed_frequencies:
        hashes[frequencies.FIELD] = network.packed_frequencies.hex()
    metadata = {
        "model": config.model.name,
        "image_size": config.data.image_size,
        "classes": list(images.classes),
        "mean": [float(value) for value in mean_std[0]],
        "std": [float(value) for value in mean_std[1]],
        "steps": steps,
        **hashes,
    }
    return Training(
        config=config,
        images=images,
        mean_std=mean_std,
        steps=steps,
        start=graft.start(options, directory) if "graft" in ways.chosen(options) else None,
        network=network,
        optimizer=optimizer,
        rates=np.broadcast_to(jax.jit(schedule)(np.arange(steps)), steps),
        plateau=optimizers.plateau(options),
        update=PmappedUpdate(update),
        auxiliary=any(isinstance(way, Copies) and way.auxiliary for way in changes),
        metadata=metadata,
    )


def restore(training: Training, checkpoints: Checkpoints) -> LoopState:
    """Return the state of the newest whole checkpoint, or the first state; delete newer, damaged checkpoints.

    Raises InputError where the content of a file that the config names has changed since the checkpoint was trained,
    or the run that the training continues is longer or has another network or optimiser.
    """
    step = checkpoints.newest() or 0
    checkpoints.discard_after(step)
    if step:
        saved, where = checkpoints.metadata(step), checkpoints.directory
        for field in (frequencies.FIELD, graft.FIELD, dfmx.FIELD):
            if saved.get(field) != training.metadata.get(field):
                raise InputError(
                    f"{field}: the file has changed since {where} was trained; put it back, or name another --workdir"
                )
        logger.info("train: resumes from step %d of %d", step, training.steps)
    elif training.start:
        return _continue_run(training, training.start)
    return _state(training, checkpoints, step)


def first_state(training: Training) -> LoopState:
    """Return the state before the first step of a training that continues no other."""
    return _state(training, None, 0)


def _state(training: Training, checkpoints: Checkpoints | None, step: int) -> LoopState:
    """Return the state of a checkpoint, or the first state where the step is 0."""
    variables = jax.device_get(training.network.init(training.config.seed))
    current = state.create(variables, training.optimizer, auxiliary=training.auxiliary)
    plateau = jax.device_get(jax.jit(training.plateau.init)(np.float32(0)))  # in place of the float32 parameters
    if step and checkpoints:
        resumed = checkpoints.restore("training", step, {**state.resumed_arrays(current), "plateau": plateau})
        plateau = resumed.pop("plateau")
        current = TrainState(**(checkpoints.restore("variables", step, current.variables) | resumed))
    return LoopState(step, state.replicate(current), plateau)


def _continue_run(training: Training, run: Path) -> LoopState:
    with contextlib.closing(Checkpoints(run / "checkpoints")) as checkpoints:
        step = checkpoints.newest()
        if step is None or step > training.steps:
            raise InputError(
                f"train.graft.start: {run} was trained for {step or 0} steps; expected 1 to {training.steps}, the "
                "steps of this training"
            )
        metadata = checkpoints.metadata(step)
        try:
            if all(metadata[name] == training.metadata[name] for name in ("model", "image_size", "classes")):
                logger.info("train: continues %s from step %d, up to %d", run, step, training.steps)
                return _state(training, checkpoints, step)
        except ValueError as error:  # Orbax's, in many lines, where the state has other arrays
            logger.debug("%s", error)
        raise InputError(
            f"train.graft.start: got {run}; expected a run of the same model, image size, classes, optimiser and ways"
        )
