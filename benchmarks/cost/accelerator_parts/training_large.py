"""Part `training_large`: the pmapped training step of large models in bfloat16, on data that stay on the devices."""

import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import paired, resident_step
from benchmarks.cost.accelerator_parts import peaks
from benchmarks.cost.accelerator_parts.settings import Settings
from configs import common
from fsjax import models
from fsjax.data.augment import make_augment
from fsjax.runtime import parallel
from fsjax.search.gradient import PASSES
from fsjax.training import optimizers, state
from fsjax.training.step import Update, pmap_update

CLASSES = 1000


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a row for each model."""
    for name in settings.sizes.trained_models.split(","):
        yield step_row(name, settings)


def step_row(name: str, settings: Settings) -> dict[str, Any]:
    """Measure the step of a run that augments by flips and resized crops.

    `peak_mib` is that of the process so far, and `temporary_mib` what XLA allocates for a step beside its arguments.
    """
    sizes, train = settings.sizes, common.base().train
    size, images = sizes.large_size, sizes.large_batch * jax.local_device_count()
    network = models.build(name, num_classes=CLASSES, image_size=size, dtype=jnp.bfloat16)
    optimizer = optimizers.make(train, 10**6)
    augment = make_augment("flip,resized_crop", pad=train.pad, min_scale=train.min_scale)
    mean_std = (np.array(common.IMAGENET[0]), np.array(common.IMAGENET[1]))
    update = pmap_update(Update(network, optimizer, augment, mean_std, 0))
    replicas = state.replicate(state.create(network.init(0), optimizer))
    batch = resident_step.place(random_batch(images, size))
    started = time.perf_counter()
    step = update.lower(replicas, batch, 1.0, np.zeros(jax.local_device_count(), bool)).compile()
    compile_seconds = time.perf_counter() - started

    run = resident_step.stepper(step, replicas, batch)
    run(2)
    rate = paired.rates({"step": functools.partial(run, 2)}, 1)["step"][0]
    several = max(2, round(rate * sizes.seconds))
    rates = paired.rates({"step": functools.partial(run, several)}, sizes.pairs)
    per_second, peak = float(np.median(rates["step"])) * images, parallel.peak_bytes()
    return {
        "model": name,
        "image_size": size,
        "images_from": "noise",
        "precision": "bfloat16",
        "images": images,
        "images_per_second": per_second,
        **peaks.utilisation(PASSES * per_second, network, "bfloat16", settings.peaks),
        "temporary_mib": step.memory_analysis().temp_size_in_bytes / 2**20,
        "peak_mib": peak and round(peak / 2**20),
        "compile_seconds": compile_seconds,
    }


def random_batch(images: int, size: int) -> dict[str, np.ndarray]:
    """Return a batch of noise in random classes, as the loader yields it."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (images, size, size, 3), np.uint8),
        "label": rng.integers(0, CLASSES, images, np.int32),
        "index": np.arange(images, dtype=np.int32),
        "epoch": np.zeros(images, np.int32),
    }
