"""How fast forward passes are here, for telling how long a run will take before it begins."""

import time

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fsjax.models.source import model_source
from fsjax.runtime import parallel

# Images of a call on each device: what a tile takes on a CPU, and enough to fill an accelerator.
_ON_CPU, _ON_ACCELERATOR = 16, 256
_SECONDS = 0.3
# Forward passes of its images that a training step counts as, as in benchmarks/cost/estimates.py, and those that it
# takes as long as on a CPU, where XLA's gradients are slow: resnet20 6.0, vit_micro_patch4 7.0 and vit_micro_patch8 3.3
# (measured).
TRAINING, _TRAINING_ON_CPU = 3, 6.0


def passes_a_second(config: ConfigDict, classes: int) -> float | None:
    """Measure how many images a second the config's model takes forward, on all devices of all processes.

    Weights are random, except a model file's; None before the stage train converts a model. This process's devices work
    at the same time, since a CPU's devices share its cores.
    """
    size, devices = config.data.image_size, parallel.local_devices()
    if (model := model_source(config).timed_model(classes)) is None:
        return None
    images = jnp.zeros((_ON_CPU if devices[0].platform == "cpu" else _ON_ACCELERATOR, size, size, 3))
    inputs = [jax.device_put((model.params, images), device) for device in devices]
    forward = jax.jit(model.apply)

    def call() -> None:
        jax.block_until_ready([forward(*of_device) for of_device in inputs])

    call()  # compiles
    started, calls, seconds = time.monotonic(), 0, 0.0
    while seconds < _SECONDS:
        call()
        calls, seconds = calls + 1, time.monotonic() - started
    return calls * len(images) * len(devices) * parallel.process()[1] / seconds


def training_cost() -> float:
    """Return how many forward passes of its images a training step takes as long as, on these devices."""
    return _TRAINING_ON_CPU if parallel.local_devices()[0].platform == "cpu" else TRAINING
