"""How fast forward passes are here, for telling how long a run will take before it begins."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree
from ml_collections import ConfigDict

from fsjax import models
from fsjax.models import stored_weights
from fsjax.models.folding import fold
from fsjax.runtime import parallel

# Images of a call on each device: what a tile takes on a CPU, and enough to fill an accelerator.
_ON_CPU, _ON_ACCELERATOR = 16, 256
_SECONDS = 0.3
# Forward passes of its images that a training step counts as, as in benchmarks/cost/estimates.py, and those that it
# takes as long as on a CPU, where XLA's gradients are slow: resnet20 6.0, vit_micro_patch4 7.0 and vit_micro_patch8 3.3
# (measured).
TRAINING, _TRAINING_ON_CPU = 3, 6.0


def passes_a_second(config: ConfigDict, classes: int) -> float:
    """Return about how many images a second the config's model takes forward, on all devices of all processes.

    Weights are random, but those of a model file. This process's devices work at the same time, since those of a CPU
    share its cores.
    """
    size, devices = config.data.image_size, parallel.local_devices()
    apply, params = _model(config, classes)
    images = jnp.zeros((_ON_CPU if devices[0].platform == "cpu" else _ON_ACCELERATOR, size, size, 3))
    inputs = [jax.device_put((params, images), device) for device in devices]
    forward = jax.jit(apply)

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


def _model(config: ConfigDict, classes: int) -> tuple[Callable, PyTree]:
    if stored_weights.is_stored(config):
        stored = stored_weights.read(config)
        return stored.apply, stored.arrays
    dtype = jnp.bfloat16 if config.search.precision == "bfloat16" else jnp.float32
    network = models.build(config.model.name, num_classes=classes, image_size=config.data.image_size, dtype=dtype)
    return fold(network, network.init(config.seed))
