"""Compare networks on a CPU: PyTorch with fsjax.from_torch of the same module, and training steps of both.

  python benchmarks/cost/beside_torch.py                                # every network at 32, 64 and 224 pixels
  python benchmarks/cost/beside_torch.py --networks=torchvision/resnet18 --sizes=64 --training=

Prints a JSON line for each network and size, and a table at the end. Ours runs as the engine does, a device a core.
Ratios are ours over PyTorch's, medians over interleaved rounds: images a second of CPU time beside PyTorch with one
thread, and images a second of wall time beside PyTorch with a thread a core, which needs a quiet machine. Gradients are
by the images. A training step has gradients by the weights, and SGD with momentum.
"""

import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import timm
import torch
import torchvision
from absl import app, flags
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.common import paired, resident_step
from benchmarks.parity.torch_models import torch_resnet
from configs import common
from fsjax import models
from fsjax.engine.programs import over_devices
from fsjax.runtime import parallel, startup
from fsjax.training import optimizers, state
from fsjax.training.step import PmappedUpdate, Update

DEFAULT = (
    "torchvision/resnet18,torchvision/resnet50,timm/efficientnet_lite0,timm/efficientnet_b0,"
    "timm/mobilenetv3_large_100,timm/convnext_tiny,timm/vit_small_patch16_224"
)
# Images of a batch at each size.
BATCHES = {32: 64, 64: 32, 224: 8}

NETWORKS = flags.DEFINE_list("networks", DEFAULT.split(","), "Names of torchvision or timm.")
SIZES = flags.DEFINE_list("sizes", ["32", "64", "224"], "Sides of the images, pixels.")
TRAINING = flags.DEFINE_list("training", ["resnet20", "resnet18_cifar"], "Names of fsjax.models, trained at 32 pixels.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Interleaved rounds.")

Sides = dict[str, Callable[[], int]]


def main(_: list[str]) -> None:
    startup.use_cores(BATCHES[32])
    cases = [(name, size) for name in NETWORKS.value for size in map(int, SIZES.value)]
    rows = []
    for name, size in [*cases, *((name, 0) for name in TRAINING.value)]:
        began = time.perf_counter()
        if size:
            module = build(name, size)
            images = np.random.default_rng(0).normal(size=(BATCHES.get(size, 8), 3, size, size)).astype(np.float32)
            sides = ours(module, images), theirs(module, images)
        else:
            sides = {"training": our_steps(name)}, {"training": their_steps(name)}
        row = {"benchmark": "beside_torch", "network": name, "size": size or 32}
        rows.append(row | {"compile_seconds": round(time.perf_counter() - began, 1)} | measured(*sides))
        print(json.dumps(rows[-1]), flush=True)
    print(f"\n`{' '.join(['python', *sys.argv])}`, {len(os.sched_getaffinity(0))} cores\n")
    print("| network | pixels | of | images a CPU-second, ours and PyTorch's | ratio | ratio with all threads |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        for what in (what for what in ("forward", "gradient", "training") if what in row):
            rates = f"{row[f'{what}_ours']:,} and {row[f'{what}_torch']:,}"
            print(f"| {row['network']} | {row['size']} | {what} | {rates} | {row[what]} | {row[f'{what}_all']} |")


def measured(ours: Sides, theirs: Sides) -> dict[str, Any]:
    """Return ratios and images a second, in CPU time beside one thread and in wall time beside all."""
    found: dict[str, Any] = {}
    for suffix, threads, clock in (("", 1, time.process_time), ("_all", jax.device_count(), time.perf_counter)):
        torch.set_num_threads(threads)
        for what, run in theirs.items():
            run()
            rates = paired.rates({"ours": ours[what], "torch": run}, ROUNDS.value, clock)
            found[what + suffix] = round(paired.ratio(rates["ours"], rates["torch"])["ratio"], 2)
            found |= {f"{what}{suffix}_{side}": round(float(np.median(rates[side])), 1) for side in rates}
    return found


def build(name: str, size: int) -> torch.nn.Module:
    """Return a network of ten classes with random weights, in evaluation mode."""
    torch.manual_seed(0)
    library, _, model = name.partition("/")
    if library == "torchvision":
        module = torchvision.models.get_model(model, num_classes=10)
    else:
        module = timm.create_model(model, num_classes=10, **({"img_size": size} if "vit" in model else {}))
    return module.eval().requires_grad_(False)


def ours(module: torch.nn.Module, images: np.ndarray) -> Sides:
    """Return sides of `paired.rates`, compiled: logits, and gradients of a class's logits by the images."""
    model, mesh = fsjax.from_torch(module, images[:1]), parallel.mesh()
    params = jax.device_put(model.params, NamedSharding(mesh, P()))
    batch = jax.device_put(np.moveaxis(images, 1, -1), NamedSharding(mesh, P(parallel.AXIS)))

    def gradient(params: Any, batch: jax.Array) -> jax.Array:
        return jax.grad(lambda batch: model.apply(params, batch)[:, 0].sum())(batch)

    functions = {"forward": model.apply, "gradient": gradient}
    calls = {what: over_devices(call, mesh, (False, True), "highest") for what, call in functions.items()}

    def side(call: Callable) -> Callable[[], int]:
        def run() -> int:
            jax.block_until_ready(call(params, batch))
            return len(batch)

        run()
        return run

    return {what: side(call) for what, call in calls.items()}


def theirs(module: torch.nn.Module, images: np.ndarray) -> Sides:
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


def our_steps(name: str) -> Callable[[], int]:
    """Return a side of `paired.rates`, compiled: a training step of our network on a resident batch."""
    count = BATCHES[32]
    network, optimizer = models.build(name, num_classes=10, image_size=32), optimizers.make(common.base().train)
    update = Update(network, optimizer, lambda keys, images: images, (np.full(3, 0.5), np.full(3, 0.25)), 0)
    batch = resident_step.place(resident_step.random_batch(count, 32, 10))
    replicas = state.replicate(state.create(network.init(0), optimizer))
    run = resident_step.stepper(PmappedUpdate(update), replicas, batch)
    run(1)
    return lambda: run(1) * count


def their_steps(name: str) -> Callable[[], int]:
    """Return the same side in PyTorch."""
    module, batch = torch_resnet(name).train(), resident_step.random_batch(BATCHES[32], 32, 10)
    images, labels = torch.tensor(batch["image"]).permute(0, 3, 1, 2), torch.tensor(batch["label"]).long()
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)

    def run() -> int:
        logits = module((images / 255 - 0.5) / 0.25)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        return len(images)

    return run


if __name__ == "__main__":
    app.run(main)
