"""Parts `large` and `training_large`: masked forward passes and the training step of large models, random weights."""

import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import paired, resident_step
from benchmarks.cost.accelerator_parts import comparisons
from benchmarks.cost.accelerator_parts.settings import Settings
from configs import common
from fsjax import models
from fsjax.data.augment import make_augment
from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.models.network import fold
from fsjax.runtime import parallel
from fsjax.search.graft import PASSES
from fsjax.training import optimizers, state
from fsjax.training.step import Update, pmap_update

CLASSES = 1000  # of the trained models


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a row for each model in TF32 and bfloat16."""
    size = settings.sizes.large_size
    images = natural_images(settings.sizes.large_images, size)
    for name in settings.sizes.large_models.split(","):
        reference = random_model(name, size)
        for precision in ("tensorfloat32", "bfloat16"):
            yield {
                "model": name,
                "image_size": size,
                "images_from": "noise",
                "method": "removal",
                "precision": precision,
                **masked_rates(name, reference, precision, images, settings),
            }


def masked_rates(name: str, reference: Model, precision: str, images: np.ndarray, settings: Settings) -> dict[str, Any]:
    """Compare tiles with plain forward passes: `ratio` is the masked rate over the plain rate.

    `peak_mib` is the peak of the process so far, and `temporary_mib` XLA's allocation for a tile beside its arguments.
    """
    sizes, model = settings.sizes, reference.at(precision)
    sides, layout = comparisons.forward_sides(model, images, seconds=sizes.seconds, least_tiles=sizes.large_tiles)
    rates = paired.rates(sides, sizes.pairs)
    rate, peak = float(np.median(rates["masked"])), parallel.peak_bytes()
    few, tile_images = images[: sizes.large_checked], int(layout["tile_images"])
    network = models.build(name, num_classes=10, image_size=sizes.large_size)
    return {
        "images": len(images),
        "images_per_second": rate,
        "forward_images_per_second": float(np.median(rates["forward"])),
        **paired.ratio(rates["masked"], rates["forward"]),
        **layout,
        **comparisons.utilisation(rate, network, precision, settings.peaks),
        "temporary_mib": tile_size.temporary_bytes(model, tile_images) / 2**20,
        "peak_mib": peak and round(peak / 2**20),
        "loss_difference_from_cpu": comparisons.loss_difference(
            model, reference, few, np.arange(len(few)) % 10, masks=sizes.large_checked, tile_images=tile_images
        ),
    }


def random_model(name: str, size: int) -> Model:
    """Return a model of ten classes with its initial weights, BatchNorm folded, also in bfloat16."""
    network = models.build(name, num_classes=10, image_size=size)
    variables = jax.device_get(network.init(0))
    low, _ = fold(models.build(name, num_classes=10, image_size=size, dtype=jnp.bfloat16), variables)
    return Model(*fold(network, variables), (size, size, 3), apply_bfloat16=low)


def natural_images(count: int, size: int) -> np.ndarray:
    """Return noise with the 1/f amplitudes of photographs and unit standard deviation."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size) * size, np.fft.rfftfreq(size) * size, indexing="ij"))
    noise = np.fft.rfft2(rng.normal(size=(count, size, size, 3)), axes=(1, 2))
    images = np.fft.irfft2(noise / (1 + frequency)[None, :, :, None], s=(size, size), axes=(1, 2))
    return (images / images.std()).astype(np.float32)


def measure_training(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a row for each model."""
    for name in settings.sizes.trained_models.split(","):
        yield step_row(name, settings)


def step_row(name: str, settings: Settings) -> dict[str, Any]:
    """Measure the pmapped bfloat16 step of a run that augments by flips and resized crops, on resident data."""
    sizes, train = settings.sizes, common.base().train
    size, images = sizes.large_size, sizes.large_batch * jax.local_device_count()
    network = models.build(name, num_classes=CLASSES, image_size=size, dtype=jnp.bfloat16)
    optimizer = optimizers.make(train, 10**6)
    augment = make_augment("flip,resized_crop", pad=train.pad, min_scale=train.min_scale)
    mean_std = (np.array(common.IMAGENET[0]), np.array(common.IMAGENET[1]))
    update = pmap_update(Update(network, optimizer, augment, mean_std, 0))
    replicas = state.replicate(state.create(network.init(0), optimizer))
    batch = resident_step.place(resident_step.random_batch(images, size, CLASSES))
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
        **comparisons.utilisation(PASSES * per_second, network, "bfloat16", settings.peaks),
        "temporary_mib": step.memory_analysis().temp_size_in_bytes / 2**20,
        "peak_mib": peak and round(peak / 2**20),
        "compile_seconds": compile_seconds,
    }
