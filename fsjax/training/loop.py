"""Data-parallel training with jax.pmap: set up, loop over the steps that are left, log, evaluate and save."""

import collections
import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from fsjax.data import host_augment
from fsjax.data.augment import split_names
from fsjax.data.dataset import Dataset, batches
from fsjax.runtime import interrupt, parallel, workers
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.errors import InputError
from fsjax.runtime.metrics import Metrics
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.training import evaluators, state
from fsjax.training.evaluators.evaluator import Evaluator, EvaluatorContext
from fsjax.training.setup import Training, restore
from fsjax.training.state import LoopState
from fsjax.training.step import on_devices

logger = logging.getLogger(__name__)


def train(training: Training, dataset: Callable[[str], Dataset], directory: Path, metrics: Metrics) -> None:
    """Train a model and save its last step in `directory`/checkpoints; resume from the newest checkpoint.

    dataset: split -> its images, for the splits that evaluators use. Raises InputError for a config value that cannot
    be used, and for a loss or a weight that is not finite; raises interrupt.Terminated where a process was asked to
    stop, after the last step is saved.
    """
    config = training.config
    with contextlib.closing(Checkpoints(directory / "checkpoints", config.run.keep_checkpoints)) as checkpoints:
        start = restore(training, checkpoints)
        if start.step == training.steps and checkpoints.newest() is None:
            _save(training, start, checkpoints)  # the run that this training continues ended there
        context = EvaluatorContext(training.network, training.mean_std, config, dataset, directory)
        called = [evaluator(context) for evaluator in evaluators.parse(config.train.evaluators)]
        run_steps(training, start, called, checkpoints, metrics)


def run_steps(
    training: Training, loop: LoopState, called: Sequence[Evaluator], checkpoints: Checkpoints, metrics: Metrics
) -> None:
    """Take the steps that are left; log, evaluate and save in between. Raises what `train` raises."""
    run, options, steps = training.config.run, training.config.train, training.steps
    epoch = max(1, round(len(training.images) / options.batch_size))
    evaluate_every, checkpoint_every = options.evaluate_every or epoch, run.checkpoint_every or epoch
    measured: list[dict[str, jax.Array]] = []  # since the last line of metrics
    stops: collections.deque[jax.Array] = collections.deque(maxlen=2)  # of the last two steps
    rates = training.rates.tolist()
    done, total, note = loop.step * options.batch_size, steps * options.batch_size, ""
    with Progress("train", total, "images", done=done) as progress:
        for batch in on_devices(_batches(training, loop.step)):
            scale = float(loop.plateau.scale)
            requested = np.full(jax.local_device_count(), interrupt.requested())
            replicas, values, stop = training.update(loop.replicas, batch, scale * rates[loop.step], requested)
            loop = dataclasses.replace(loop, step=loop.step + 1, replicas=replicas)
            measured.append(values)
            stops.append(stop)
            last = loop.step == steps
            # Read the stop flag of the previous step: the devices never wait, since two steps are in flight, and all
            # processes learn of a stop in the same step.
            stopping = len(stops) == 2 and bool(state.unreplicate(stops[0]))
            progress.update(options.batch_size, note)
            if last or loop.step % run.log_every == 0:
                means = _means([state.unreplicate(values) for values in measured], loop.step)
                note, measured = f"loss {means['loss']:.3f}", []
                metrics.write("train", loop.step, {**means, "images_per_second": progress.rate, "scale": scale})
            evaluated: dict[str, float] = {}
            if called and (last or loop.step % evaluate_every == 0):
                evaluated = _evaluate(training, loop, called, metrics)
                if options.schedule == "plateau":
                    _, plateau = training.plateau.update({}, loop.plateau, value=evaluated["validation_loss"])
                    loop = dataclasses.replace(loop, plateau=jax.device_get(plateau))
            if last or stopping or loop.step % checkpoint_every == 0:
                # Raises before a checkpoint with a loss that is not finite is saved.
                _means([state.unreplicate(values) for values in measured], loop.step)
                _save(training, loop, checkpoints)
            if stopping and not last:
                # All wait for the checkpoint, since a scheduler may end all processes once one has ended.
                checkpoints.wait()
                parallel.from_main(None)
                raise interrupt.Terminated


def _batches(training: Training, start: int) -> Iterator[dict[str, np.ndarray]]:
    config, (process, processes) = training.config, parallel.process()
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
    """Return the mean of each value over the steps up to `step`; raise InputError for a mean that is not finite."""
    means = {name: float(np.mean([row[name] for row in values])) for name in (values[0] if values else ())}
    if not all(math.isfinite(mean) for mean in means.values()):
        bad = next(index for index, row in enumerate(values) if not math.isfinite(row["loss"]))
        raise _not_finite(f"the loss is {values[bad]['loss']} at step {step - len(values) + bad + 1}")
    return means


def _evaluate(training: Training, loop: LoopState, called: Sequence[Evaluator], metrics: Metrics) -> dict[str, float]:
    variables = state.unreplicate(loop.replicas).variables
    values = dict(value for evaluator in called for value in evaluator.run(loop.step, variables))
    if values:
        metrics.write("train", loop.step, values)
        logger.info("train: step %d, %s", loop.step, ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
    return values


def _save(training: Training, loop: LoopState, checkpoints: Checkpoints) -> None:
    host = state.unreplicate(loop.replicas)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(host)):
        raise _not_finite(f"the weights are not finite after step {loop.step}")
    resumed = {**state.resumed_arrays(host), "plateau": loop.plateau}
    checkpoints.save(loop.step, host.variables, resumed, training.metadata)


def _not_finite(cause: str) -> InputError:
    change = "lower train.learning_rate or lengthen train.warmup_steps, with a new --workdir"
    return InputError(f"train: {cause}; the last checkpoint is kept; {change}")
