"""Compare logits and input gradients of our models with torchvision's and timm's, at full depth and at their own size.

  python benchmarks/parity/parity.py

Prints one JSON object a line: the model, the source of the PyTorch model, the size of the images, the largest
difference of a logit, the largest difference of a gradient over the greatest gradient, the spread of the logits
(the largest standard deviation of a logit over the images, as a scale for the differences), and seconds.
Exit status 1 if logits differ by more than 1e-4 or gradients by more than 1e-3.

Our models run in float32, PyTorch's in float64; weights, statistics and images are random. A deep model has millions of
ReLUs. Some are so near zero that rounding switches them, and gradients jump there. If float32 gradients differ by more
than the tolerance, ours are also computed in float64, `gradients_float64`, and these must agree.

The torchvision forms and timm's published ViTs are compared at 224 pixels, the others at 32 and, where the model takes
it, 33; a ViT that timm has not published at 224 is timm's class at a few patches a side.
"""

import dataclasses
import gc
import json
import pathlib
import sys
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.parity.torch_models import random_images, randomise, timm_name, torch_logits_and_gradients, torch_model
from fsjax.models import MODELS, Network, build, state_dict
from fsjax.runtime.errors import InputError

# Tolerances of logits, and of gradients relative to the largest gradient.
LOGITS, GRADIENTS = 1e-4, 1e-3
IMAGES = 3


def main() -> int:
    """Compare every model; return 0 if all are within the tolerances, else 1."""
    within = True
    for name, size in cases():
        row = compare(name, size)
        print(json.dumps(row), flush=True)
        within &= agrees(row)
        jax.clear_caches()
        gc.collect()
    return 0 if within else 1


def cases() -> Iterator[tuple[str, int]]:
    """Yield (name, size of the images) of each comparison."""
    for name in MODELS:
        for size in _sizes(name):
            try:
                build(name, num_classes=10, image_size=size)
            except InputError:
                continue
            yield name, size


def agrees(row: dict) -> bool:
    """Return whether a row is within the tolerances; NaN is not."""
    return row["logits"] <= LOGITS and row.get("gradients_float64", row["gradients"]) <= GRADIENTS


def compare(name: str, size: int) -> dict:
    """Return the row of the model of this name."""
    return compare_with(*torch_model(name, size), name, size)


def compare_with(model: torch.nn.Module, source: str, name: str, size: int) -> dict:
    """Draw a model's weights, import them from its state dict, and return its row."""
    started = time.perf_counter()
    randomise(model)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    imported = state_dict.to_network(state, name, size, source)
    network, variables = imported.network, imported.variables
    images = random_images(IMAGES, size)
    direction = np.random.default_rng(0).normal(size=(IMAGES, 10)).astype(np.float32)
    logits, gradients = _logits_and_gradients(network, variables, images, direction)
    expected, expected_gradients = torch_logits_and_gradients(model, images, direction)

    def error(gradients):
        return float(np.abs(gradients - expected_gradients).max() / np.abs(expected_gradients).max())

    row = {
        "model": name,
        "torch": source,
        "size": size,
        "logits": float(np.abs(logits - expected).max()),
        "gradients": error(gradients),
        "spread": round(float(expected.std(axis=0).max()), 3),
    }
    if not row["gradients"] <= GRADIENTS:
        exact = dataclasses.replace(network, dtype=jnp.dtype("float64"))
        with jax.enable_x64(True):
            doubled = jax.tree.map(np.float64, (variables, images))
            row["gradients_float64"] = error(_logits_and_gradients(exact, *doubled, direction)[1])
    return {**row, "seconds": round(time.perf_counter() - started, 1)}


def _logits_and_gradients(network: Network, variables: dict, images: Array, direction: np.ndarray) -> tuple:
    @jax.jit
    @jax.default_matmul_precision("highest")
    def both(variables, images):
        logits, pull_back = jax.vjp(lambda images: network.apply(variables, images), images)
        return logits, pull_back(jnp.asarray(direction))[0]

    return jax.device_get(both(variables, images))


def _sizes(name: str) -> tuple[int, ...]:
    if name == "resnet10w16_imagenet":
        return ()  # the same code as the other ResNets, but torchvision has no model of this width
    if name.endswith("_imagenet"):
        return (224,)
    if name.startswith("vit"):
        patch = int(name.split("_")[2].removeprefix("patch"))
        return (224,) if timm_name(name) else (max(32, 4 * patch),)
    return 32, 33


if __name__ == "__main__":
    sys.exit(main())
