"""Data-parallel training with jax.pmap: build what stays the same, restore the newest checkpoint, loop over steps."""

import collections
import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from fsjax import models
from fsjax.data import frequencies, host_augment, stylised
from fsjax.data.augment import make_augment, split_names
from fsjax.data.dataset import Dataset
from fsjax.data.loader import batches
from fsjax.data.stylised import JoinedDataset
from fsjax.models.network import Network
from fsjax.runtime import files, interrupt, parallel, workers
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.errors import InputError
from fsjax.runtime.metrics import Metrics
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.training import divergence, evaluators, optimizers, state, ways
from fsjax.training.evaluators.evaluator import Evaluator, EvaluatorContext
from fsjax.training.settings import PRECISIONS, last_step, num_steps
from fsjax.training.state import LoopState, TrainState
from fsjax.training.step import Update, pmap_update, split_over_devices
from fsjax.training.ways.way import Copies, Setting

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Training:
    """What stays the same from step to step."""

    config: ConfigDict
    images: Dataset | JoinedDataset
    steps: int  # after which it ends
    start: Path | None  # the workdir of the run that it goes on from
    network: Network
    optimizer: optax.GradientTransformation
    average: optax.GradientTransformation | None  # of the weights
    plateau: optax.GradientTransformationExtraArgs
    update: Callable  # of step.pmap_update
    auxiliary: bool  # whether copies have BatchNorms of their own
    metadata: dict[str, Any]  # of each checkpoint


def train(
    config: ConfigDict,
    dataset: Callable[[str], Dataset],
    mean_std: tuple[np.ndarray, np.ndarray],
    directory: Path,
    metrics: Metrics,
) -> None:
    """Train the config's model and leave its last step in `directory`/checkpoints; resume from the newest one there.

    Args:
      config: of the run.
      dataset: returns the images of the split 'train', and of those that evaluators ask for.
      mean_std: that images are normalised with, of pixels in [0, 1], per channel.
      directory: the workdir.
      metrics: gets losses and the evaluators' values.

    Raises:
      InputError: a config value that cannot be used, or a loss or a weight that is no longer finite.
      interrupt.Terminated: a process was asked to stop; the last step is saved.
    """
    training = build(config, dataset("train"), mean_std, directory)
    with contextlib.closing(Checkpoints(directory / "checkpoints", config.run.keep_checkpoints)) as checkpoints:
        start = restore(training, checkpoints)
        if start.step == training.steps and checkpoints.newest() is None:
            _save(training, start, checkpoints, None)  # the run that it goes on from ended there
        context = EvaluatorContext(training.network, mean_std, config, dataset, directory)
        called = [evaluator(context) for evaluator in evaluators.parse(config.train.evaluators)]
        run_steps(training, start, called, checkpoints, metrics)


def build(config: ConfigDict, dataset: Dataset, mean_std: tuple[np.ndarray, np.ndarray], directory: Path) -> Training:
    """Return what a training with this config in this workdir needs; compiles and trains nothing."""
    options = config.train
    images: Dataset | JoinedDataset = dataset
    if options.stylised:
        images = stylised.join_stylised(dataset, options.stylised, config.data)
    network = models.build(
        config.model.name,
        num_classes=len(images.classes),
        image_size=config.data.image_size,
        dtype=PRECISIONS[options.precision],
    ).limited_to(frequencies.read(config.data.frequencies, config.data.image_size))
    network = dataclasses.replace(network, local_batch_norm=options.local_batch_norm)
    optimizer, steps = optimizers.make(options, num_steps(options, len(images))), last_step(options, len(images))
    average = optax.ema(options.ema_decay) if options.ema_decay else None
    changes = ways.make(Setting(options, config.data.image_size, images.classes, mean_std, directory))
    update = Update(
        network,
        optimizer,
        make_augment(options.augment, pad=options.pad, min_scale=options.min_scale),
        mean_std,
        config.seed,
        changes,
        average=average,
        label_smoothing=options.label_smoothing,
        accumulate=options.accumulate or 1,
    )
    metadata = {
        "model": config.model.name,
        "image_size": config.data.image_size,
        "classes": list(images.classes),
        "mean": [float(value) for value in mean_std[0]],
        "std": [float(value) for value in mean_std[1]],
        "steps": steps,
        **_file_hashes(config, network, directory),
    }
    plateau = optimizers.plateau(options)
    auxiliary = any(isinstance(way, Copies) and way.auxiliary for way in changes)
    start = ways.start(options, directory)
    return Training(
        config, images, steps, start, network, optimizer, average, plateau, pmap_update(update), auxiliary, metadata
    )


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


def run_steps(
    training: Training,
    loop: LoopState,
    called: Sequence[Evaluator],
    checkpoints: Checkpoints,
    metrics: Metrics,
) -> None:
    """Take the steps that are left; log, evaluate and save in between. Errors as of `train`."""
    run, options, steps = training.config.run, training.config.train, training.steps
    epoch = max(1, round(len(training.images) / options.batch_size))
    evaluate_every, checkpoint_every = options.evaluate_every or epoch, run.checkpoint_every or epoch
    measured: list[dict[str, jax.Array]] = []  # since the last line of metrics
    stops: collections.deque[jax.Array] = collections.deque(maxlen=2)  # of the last two steps
    diverges = divergence.DivergenceWatch(len(training.images.classes))
    done, total, note = loop.step * options.batch_size, steps * options.batch_size, ""
    with Progress("train", total, "images", done=done) as progress:
        for batch in _batches(training, loop.step):
            scale = float(loop.plateau.scale)
            requested = np.full(jax.local_device_count(), interrupt.requested())
            replicas, values, stop = training.update(loop.replicas, split_over_devices(batch), scale, requested)
            loop = dataclasses.replace(loop, step=loop.step + 1, replicas=replicas)
            measured.append(values)
            stops.append(stop)
            last = loop.step == steps
            # Reading the flag of the step before lets two steps be under way, so the devices never wait, what counts
            # as done is done, and all processes learn of a stop in the same step.
            stopping = len(stops) == 2 and bool(state.unreplicate(stops[0]))
            progress.update(options.batch_size, note)
            if last or loop.step % run.log_every == 0:
                fetched = [state.unreplicate(values) for values in measured]
                means = _means(fetched, loop.step)
                diverges.add((float(values["loss"]) for values in fetched), loop.step)
                note, measured = f"loss {means['loss']:.3f}", []
                metrics.write("train", loop.step, {**means, "images_per_second": progress.rate, "scale": scale})
            evaluated: dict[str, float] = {}
            if called and (last or loop.step % evaluate_every == 0):
                evaluated = _evaluate(training, loop, called, metrics)
                if options.schedule == "plateau":
                    _, plateau = training.plateau.update({}, loop.plateau, value=evaluated["validation_loss"])
                    loop = dataclasses.replace(loop, plateau=jax.device_get(plateau))
            if last or stopping or loop.step % checkpoint_every == 0:
                _means(
                    [state.unreplicate(values) for values in measured], loop.step
                )  # raises before a loss that is not finite is saved
                _save(training, loop, checkpoints, evaluated.get("validation_loss"))
            if stopping and not last:
                # A scheduler may end all processes when one has ended, so all wait until the checkpoint is written.
                checkpoints.wait()
                parallel.wait_for_main()
                raise interrupt.Terminated


def _batches(training: Training, start: int) -> Iterator[dict[str, np.ndarray]]:
    config = training.config
    process, processes = parallel.process()
    host_names, _ = split_names(config.train.augment)
    return batches(
        training.images,
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=start,
        num_steps=training.steps - start,
        process_index=process,
        process_count=processes,
        augment=host_augment.make_host_augment(host_names, config.seed, workers.most_processes()),
    )


def _means(values: Sequence[dict[str, np.floating]], step: int) -> dict[str, float]:
    """Return the mean of each value over the steps up to this one; raise InputError where one is not finite."""
    means = {name: float(np.mean([row[name] for row in values])) for name in (values[0] if values else ())}
    if not all(math.isfinite(mean) for mean in means.values()):
        bad = next(index for index, row in enumerate(values) if not math.isfinite(row["loss"]))
        raise divergence.not_finite(f"the loss is {values[bad]['loss']} at step {step - len(values) + bad + 1}")
    return means


def _evaluate(training: Training, loop: LoopState, called: Sequence[Evaluator], metrics: Metrics) -> dict[str, float]:
    variables = state.evaluated_variables(state.unreplicate(loop.replicas), training.config.train.ema_decay)
    values = dict(value for evaluator in called for value in evaluator.run(loop.step, variables))
    if values:
        metrics.write("train", loop.step, values)
        logger.info("train: step %d, %s", loop.step, ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
    return values


def _save(training: Training, loop: LoopState, checkpoints: Checkpoints, validation_loss: float | None) -> None:
    host = state.unreplicate(loop.replicas)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(host)):
        raise divergence.not_finite(f"the weights are not finite after step {loop.step}")
    variables = state.evaluated_variables(host, training.config.train.ema_decay)
    resumed = {**state.resumed_arrays(host), "plateau": loop.plateau}
    checkpoints.save(loop.step, variables, resumed, training.metadata, validation_loss)


def _file_hashes(config: ConfigDict, network: Network, directory: Path) -> dict[str, str]:
    """Return field -> hexadecimal digest of the files that a training reads beside its images."""
    hashes = {field: files.sha256(file) for field, file in ways.files(config.train, directory).items()}
    if network.packed_frequencies:
        hashes[frequencies.FIELD] = network.packed_frequencies.hex()
    return hashes


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
