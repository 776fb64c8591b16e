"""Part `large`: masked forward passes of large models with random weights, over several tiles."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import paired
from benchmarks.cost.accelerator_parts import masked_forward, oracle, peaks
from benchmarks.cost.accelerator_parts.settings import Settings
from fsjax import models
from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.models.network import fold
from fsjax.runtime import parallel


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
    """Compare tiles with plain forward passes.

    `ratio` is the masked rate over the plain one. `peak_mib` is that of the process so far, and `temporary_mib` what
    XLA allocates for one tile beside its arguments.
    """
    sizes, model = settings.sizes, reference.at(precision)
    sides, layout = masked_forward.sides(model, images, seconds=sizes.seconds, least_tiles=sizes.large_tiles)
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
        **peaks.utilisation(rate, network, precision, settings.peaks),
        "temporary_mib": tile_size.temporary_bytes(model, tile_images) / 2**20,
        "peak_mib": peak and round(peak / 2**20),
        "loss_difference_from_cpu": oracle.loss_difference(
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
