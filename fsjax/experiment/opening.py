"""The first lines of a run: its data, its model, and the stages that will run with their expected time."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.source import set_name
from fsjax.engine import tile_size
from fsjax.experiment.stage import Stage
from fsjax.models.source import model_source
from fsjax.runtime import parallel
from fsjax.runtime.progress import clock
from fsjax.training.settings import last_step

# Measuring the speed takes about as long as this number of forward passes.
_MEASURED_FROM = 20_000
# Images of a call on each device: the size of a tile on a CPU, and enough to fill an accelerator.
_ON_CPU, _ON_ACCELERATOR = 16, 256
_SECONDS = 0.3


def lines(config: ConfigDict, stages: list[Stage], datasets: dict[str, Dataset]) -> list[str]:
    """Return the lines for the stages that will run, from the splits that they read; none without data."""
    if not datasets:
        return []
    size, where = config.data.image_size, set_name(config.data) or config.data.root
    counts = ", ".join(f"{len(dataset):,} {split}" for split, dataset in datasets.items())
    classes = len(next(iter(datasets.values())).classes)
    source, options, names = model_source(config), config.train, [stage.name for stage in stages]
    model = f"model: {source.describe()}"
    if source.trains and "train" in names:
        steps = last_step(options, len(datasets["train"]))
        model += f", trained by {options.optimizer}: {steps:,} steps of {options.batch_size} images"
        if config.run.memory_mib and (timed := source.timed_model(classes)) is not None:
            # Too little memory is an error here rather than after the training.
            searched = int(max(np.bincount(datasets[config.search.split].labels))) if "search" in names else 1
            searched = min(searched, config.search.images_per_class or searched)
            tile_size.fit(timed, resident_images=searched, memory_mib=config.run.memory_mib)
    return [
        f"data: {config.data.source} {where}: {classes} classes, {counts} images, at {size} x {size} pixels",
        model,
        _work(config, stages, datasets, classes),
    ]


def _work(config: ConfigDict, stages: list[Stage], datasets: dict[str, Dataset], classes: int) -> str:
    costs = {stage.name: stage.cost(config, datasets) for stage in stages}
    total = sum(costs.values())
    rate = passes_a_second(config, classes) if total >= _MEASURED_FROM else None
    parts = [f"{name} about {clock(cost / rate)}" if rate and cost else name for name, cost in costs.items()]
    counted = f"; about as long as {total:,} forward passes of one image" if total else ""
    measured = f", {rate:,.0f} a second as measured now" if rate else ""
    return f"run: {', '.join(parts)}{counted}{measured}"


def passes_a_second(config: ConfigDict, classes: int) -> float | None:
    """Measure the images a second that the model takes forward, on all devices; None for one yet to be converted.

    All devices of this process work at the same time, since CPU devices share the cores.
    """
    size, devices = config.data.image_size, parallel.local_devices()
    if (model := model_source(config).timed_model(classes)) is None:
        return None
    images = jnp.zeros((_ON_CPU if devices[0].platform == "cpu" else _ON_ACCELERATOR, size, size, 3))
    inputs = [jax.device_put((model.params, images), device) for device in devices]
    forward = jax.jit(model.apply)
    jax.block_until_ready([forward(*on_device) for on_device in inputs])  # compiles
    started, calls, seconds = time.monotonic(), 0, 0.0
    while seconds < _SECONDS:
        jax.block_until_ready([forward(*on_device) for on_device in inputs])
        calls, seconds = calls + 1, time.monotonic() - started
    return calls * len(images) * len(devices) * parallel.process()[1] / seconds
