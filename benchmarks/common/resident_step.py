"""A training step on a batch that stays on the devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fsjax.training.state import TrainState
from fsjax.training.step import on_devices


def random_batch(images: int, size: int, classes: int) -> dict[str, np.ndarray]:
    """Return a batch of noise images in random classes, in the loader's form."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (images, size, size, 3), np.uint8),
        "label": rng.integers(0, classes, images, np.int32),
        "index": np.arange(images, dtype=np.int32),
        "epoch": np.zeros(images, np.int32),
    }


def place(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Put a batch on all devices in the form that the pmapped step takes."""
    return next(on_devices(iter([batch])))


def stepper(update: Callable, replicas: TrainState, batch: dict[str, Any]) -> Callable[[int], int]:
    """Return a function that takes `count` further steps on the same batch and returns their number."""
    no_stop, held = np.zeros(jax.local_device_count(), bool), [replicas]

    def run(count: int) -> int:
        for _ in range(count):
            held[0], values, _ = update(held[0], batch, 0.01, no_stop)
        jax.block_until_ready((held[0], values))
        return count

    return run
