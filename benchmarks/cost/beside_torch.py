"""Compare networks on a CPU: PyTorch with fsjax.from_torch of the same module, in images a CPU-second.

  python benchmarks/cost/beside_torch.py                                # every network at 32, 64 and 224 pixels
  python benchmarks/cost/beside_torch.py --networks=torchvision/resnet18 --sizes=64

Prints a JSON line for each network and size, and for PyTorch with one thread and with all: images a second of CPU
time, forward and with gradients by the images, and the ratio of ours over PyTorch's, medians over interleaved rounds.
"""

import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timm
import torch
import torchvision
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.common import paired

DEFAULT = (
    "torchvision/resnet18,torchvision/resnet50,timm/efficientnet_lite0,timm/efficientnet_b0,"
    "timm/mobilenetv3_large_100,timm/convnext_tiny,timm/vit_small_patch16_224"
)
# Images of a batch at each size.
BATCHES = {32: 64, 64: 32, 224: 4}

NETWORKS = flags.DEFINE_list("networks", DEFAULT.split(","), "Names of torchvision or timm.")
SIZES = flags.DEFINE_list("sizes", ["32", "64", "224"], "Sides of the images, pixels.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Interleaved rounds.")


def main(_: list[str]) -> None:
    for name in NETWORKS.value:
        for size in map(int, SIZES.value):
            module = build(name, size)
            images = np.random.default_rng(0).normal(size=(BATCHES.get(size, 8), 3, size, size)).astype(np.float32)
            began = time.perf_counter()
            sides = ours(module, images)
            row = {"benchmark": "beside_torch", "network": name, "size": size}
            row["compile_seconds"] = round(time.perf_counter() - began, 1)
            for threads in sorted({1, len(os.sched_getaffinity(0))}):
                torch.set_num_threads(threads)
                measured: dict[str, Any] = {"threads": threads}
                for what, run in theirs(module, images).items():
                    rates = paired.rates({"ours": sides[what], "torch": run}, ROUNDS.value, time.process_time)
                    measured[what] = paired.ratio(rates["ours"], rates["torch"])["ratio"]
                    measured |= {f"{what}_{side}": round(float(np.median(rates[side])), 1) for side in rates}
                print(json.dumps({**row, **measured}), flush=True)


def build(name: str, size: int) -> torch.nn.Module:
    """Return a network of ten classes with random weights, in evaluation mode."""
    torch.manual_seed(0)
    library, _, model = name.partition("/")
    if library == "torchvision":
        module = torchvision.models.get_model(model, num_classes=10)
    else:
        module = timm.create_model(model, num_classes=10, **({"img_size": size} if "vit" in model else {}))
    return module.eval().requires_grad_(False)


def ours(module: torch.nn.Module, images: np.ndarray) -> dict[str, Callable[[], int]]:
    """Return sides of `paired.rates`, compiled: logits, and gradients of a class's logits by the images."""
    model, batch = fsjax.from_torch(module, images[:1]), jnp.asarray(np.moveaxis(images, 1, -1))
    calls = {
        "forward": jax.jit(model.apply),
        "gradient": jax.jit(jax.grad(lambda params, batch: model.apply(params, batch)[:, 0].sum(), 1)),
    }

    def side(call: Callable) -> Callable[[], int]:
        def run() -> int:
            jax.block_until_ready(call(model.params, batch))
            return len(batch)

        run()
        return run

    return {what: side(call) for what, call in calls.items()}


def theirs(module: torch.nn.Module, images: np.ndarray) -> dict[str, Callable[[], int]]:
    """Return the same sides in PyTorch."""
    batch = torch.tensor(images)

    def forward() -> int:
        with torch.inference_mode():
            module(batch)
        return len(batch)

    def gradient() -> int:
        module(batch.requires_grad_())[:, 0].sum().backward()
        batch.grad = None
        return len(batch)

    return {"forward": forward, "gradient": gradient}


if __name__ == "__main__":
    app.run(main)
