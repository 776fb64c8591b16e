"""Data-parallel training with jax.pmap: gradients averaged and BatchNorm synchronised over the devices."""

import collections
import contextlib
import logging
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from fsjax import models
from fsjax.data import frequencies, host_augment, stylised
from fsjax.data.augment import make_augment, split_names
from fsjax.data.dataset import Dataset
from fsjax.data.loader import batches
from fsjax.data.stylised import Joined
from fsjax.models.network import Network
from fsjax.runtime import files, interrupt, parallel
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.errors import InputError
from fsjax.runtime.metrics import Metrics
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.training import dfmx, evaluators, optimizers
from fsjax.training.evaluators.context import Watched
from fsjax.training.step import beside_weights, make_update_fn, replicate, split_over_devices, unreplicate, weights_of

logger = logging.getLogger(__name__)

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def train(
    config: ConfigDict,
    dataset: Callable[[str], Dataset],
    mean_std: tuple[np.ndarray, np.ndarray],
    directory: Path,
    metrics: Metrics,
) -> None:
    """Trains the config's model and leaves its last step in `directory`/checkpoints; goes on where it was stopped.

    Args:
      config: of the run.
      dataset: the images of the split 'train', and of those that evaluators ask for.
      mean_std: that images are normalised with, of pixels in [0, 1], per channel.
      directory: the workdir.
      metrics: where losses and what evaluators find are written.

    Raises:
      InputError: a config value that cannot be used, or a loss that is no longer finite.
      interrupt.Terminated: SIGTERM came; the step it came in is saved.
    """
    options = config.train
    training: Dataset | Joined = dataset("train")
    if options.stylised:
        training = stylised.join_stylised(dataset("train"), options.stylised, config.data)
    steps = num_steps(options, len(training))
    network = models.build(
        config.model.name,
        num_classes=len(training.classes),
        image_size=config.data.image_size,
        dtype=PRECISIONS[options.precision],
    ).limited_to(frequencies.read(config.data.frequencies, config.data.image_size))
    optimizer, plateau = optimizers.make(options, steps), optimizers.plateau(options)
    augment = make_augment(options.augment, pad=options.pad, min_scale=options.min_scale)
    masks = dfmx.read(options.dfmx, config.data.image_size, training.classes)
    other_class = None
    if masks is not None:
        logger.info("train: DFM-X keeps %.1f %% of the frequencies, on average over classes", 100 * masks.mean())
        other_class = dfmx.make_dfmx(masks, options.dfmx.probability)
    average = optax.ema(options.ema_decay) if options.ema_decay else None
    update = make_update_fn(
        network,
        optimizer,
        augment,
        mean_std,
        config.seed,
        other_class,
        average=average,
        label_smoothing=options.label_smoothing,
        accumulate=options.accumulate or 1,
    )
    about = {
        "model": config.model.name,
        "image_size": config.data.image_size,
        "classes": list(training.classes),
        "mean": [float(value) for value in mean_std[0]],
        "std": [float(value) for value in mean_std[1]],
        "steps": steps,
        **_read_files(config, network),
    }

    variables = jax.device_get(network.init(config.seed))
    state = {**variables, "optimizer": jax.device_get(optimizer.init(variables["params"]))}
    if average:
        state["average"] = jax.device_get(average.init(variables))
    plateau_state = jax.device_get(plateau.init(variables["params"]))
    checkpoints = Checkpoints(directory / "checkpoints", config.run.keep_checkpoints)
    step = checkpoints.newest() or 0
    checkpoints.discard_after(step)
    if step:
        _check_goes_on(checkpoints.about(step), about, checkpoints.directory)
        restored = checkpoints.training(step, {**beside_weights(state), "plateau": plateau_state})
        plateau_state = restored.pop("plateau")
        state = {**checkpoints.variables(step, variables), **restored}
        logger.info("train: goes on from step %d of %d", step, steps)
    state = replicate(state)

    epoch = max(1, round(len(training) / options.batch_size))
    evaluate_every = options.evaluate_every or epoch
    checkpoint_every = config.run.checkpoint_every or epoch
    watched = Watched(network, mean_std, config, dataset, directory)
    watchers = [make(watched) for make in evaluators.training_evaluators(options.evaluators)]
    process, processes = parallel.process()

    def save(step: int, loss: float | None) -> None:
        host = unreplicate(state)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(host)):
            raise _diverged(f"the weights are not finite after step {step}")
        checkpoints.save(
            step, weights_of(host, options.ema_decay), {**beside_weights(host), "plateau": plateau_state}, about, loss
        )

    stream = batches(
        training,
        batch_size=options.batch_size,
        seed=config.seed,
        start_step=step,
        num_steps=steps - step,
        process_index=process,
        process_count=processes,
        augment=host_augment.make_host_augment(split_names(options.augment)[0], config.seed, config.data.image_size),
    )
    measured, note = [], ""
    # Of the last two steps: whether any process has been asked to stop.
    stops: collections.deque = collections.deque(maxlen=2)
    with contextlib.closing(checkpoints), _progress(step, steps, options) as progress:
        for batch in stream:
            scale = float(plateau_state.scale)
            placed = split_over_devices(batch)
            placed["stop"] = np.full(jax.local_device_count(), interrupt.requested())
            state, values = update(state, placed, scale)
            stops.append(values.pop("stop"))
            measured.append(values)
            step += 1
            last = step == steps
            # Two steps may be under way: the devices never wait, what is counted as done is done, and all processes
            # hear of a stop in the same step.
            stop = len(stops) == 2 and bool(unreplicate(stops[0]))
            progress.update(options.batch_size, note)
            if step % config.run.log_every == 0 or last:
                means = _means(measured, step)
                note = f"loss {means['loss']:.3f}"
                metrics.write("train", step, {**means, "images_per_second": progress.rate, "scale": scale})
                measured = []
            held_out = {}
            if watchers and (step % evaluate_every == 0 or last):
                trained = weights_of(unreplicate(state), options.ema_decay)
                held_out = dict(value for evaluator in watchers for value in evaluator(step, trained))
                if held_out:
                    metrics.write("train", step, held_out)
                    logger.info("train: step %d, %s", step, ", ".join(f"{k} {v:.4f}" for k, v in held_out.items()))
                if options.schedule == "plateau":
                    plateau_state = _next_plateau(plateau, plateau_state, held_out)
            if stop or last or step % checkpoint_every == 0:
                # Nothing is saved that is not seen to be finite.
                _means(measured, step)
                save(step, held_out.get("validation_loss"))
            if stop and not last:
                # A scheduler may end all processes when one has ended, so none ends before what it saves is there.
                checkpoints.wait()
                parallel.wait_for_main()
                raise interrupt.Terminated


def num_steps(options: ConfigDict, images: int) -> int:
    """Steps of a training: train.epochs over `images` images, or train.steps where epochs is 0."""
    return math.ceil(options.epochs * images / options.batch_size) if options.epochs else options.steps


def check(config: ConfigDict) -> None:
    """Raises InputError for a train field that cannot be used."""
    options = config.train
    optimizers.make(options, 1)
    evaluators.training_evaluators(options.evaluators)
    make_augment(options.augment, pad=options.pad, min_scale=options.min_scale)
    host_augment.check(split_names(options.augment)[0])
    dfmx.read(options.dfmx, config.data.image_size)
    if options.stylised:
        stylised.check(options.stylised)
    if options.precision not in PRECISIONS:
        raise InputError(f"train.precision: got {options.precision!r}; expected {', '.join(PRECISIONS)}")
    if options.epochs < 0 or options.steps < 0 or not (options.epochs or options.steps):
        raise InputError(
            f"train.epochs, train.steps: {options.epochs:g}, {options.steps}; expected one of them above 0"
        )
    if options.batch_size < 1 or options.batch_size % jax.device_count():
        raise InputError(
            f"train.batch_size: {options.batch_size} is not a positive multiple of the {jax.device_count()} devices"
        )
    if options.accumulate < 0 or options.batch_size % (jax.device_count() * (options.accumulate or 1)):
        raise InputError(
            f"train.accumulate: got {options.accumulate}; "
            f"expected a number that divides the {options.batch_size} images "
            f"of a batch on {jax.device_count()} devices evenly"
        )
    for field in ("ema_decay", "label_smoothing"):
        if not 0 <= options[field] < 1:
            raise InputError(f"train.{field}: got {options[field]:g}; expected 0 (off) or more, and less than 1")
    if options.select not in ("", "best"):
        raise InputError(f"train.select: got {options.select!r}; expected '' (the last step) and 'best'")
    if options.schedule == "plateau" and not config.data.validation_share:
        raise InputError("train.schedule: 'plateau' needs a validation part; data.validation_share is 0")
    for field, value in (("schedule", "plateau"), ("select", "best")):
        if options[field] == value and "validation" not in options.evaluators:
            raise InputError(
                f"train.{field}: {value!r} needs the evaluator 'validation'; train.evaluators is {options.evaluators!r}"
            )


def _progress(step: int, steps: int, options: ConfigDict) -> Progress:
    return Progress("train", steps * options.batch_size, "images", done=step * options.batch_size)


def _read_files(config: ConfigDict, network: Network) -> dict[str, str]:
    """The content of the files that a training reads beside its images, field -> hexadecimal digits."""
    found = {}
    if network.packed_frequencies:
        found[frequencies.FIELD] = network.packed_frequencies.hex()
    if file := dfmx.file_of(config.train.dfmx):
        found["train.dfmx.maps"] = files.sha256(file)
    return found


def _check_goes_on(found: dict, about: dict, directory: Path) -> None:
    """Raises InputError where a checkpoint was trained with other content in the files that the config names."""
    for field in (frequencies.FIELD, "train.dfmx.maps"):
        if found.get(field) != about.get(field):
            raise InputError(
                f"{field}: the file has changed since {directory} was trained; put it back, or name another --workdir"
            )


def _means(measured: list[dict], step: int) -> dict[str, float]:
    """The mean of each value over the steps up to this one; raises InputError where one is not finite."""
    measured = [unreplicate(values) for values in measured]
    means = {name: float(np.mean([values[name] for values in measured])) for name in (measured[0] if measured else ())}
    if not all(math.isfinite(value) for value in means.values()):
        bad = next(i for i, values in enumerate(measured) if not math.isfinite(values["loss"]))
        raise _diverged(f"the loss is {measured[bad]['loss']} at step {step - len(measured) + bad + 1}")
    return means


def _diverged(what: str) -> InputError:
    return InputError(
        f"train: {what}; the last checkpoint is kept; lower train.learning_rate or lengthen train.warmup_steps, with a "
        "new --workdir"
    )


def _next_plateau(plateau: optax.GradientTransformationExtraArgs, state: PyTree, held_out: dict[str, float]) -> PyTree:
    return jax.device_get(plateau.update({}, state, value=held_out["validation_loss"])[1])
