"""Compile tiles and training steps of real models for absent accelerators, and print XLA's estimates.

  pip install libtpu            # or 'jax[cuda12]', for --accelerator='8 x H100'
  python benchmarks/cost/aot.py                                       # all of MODELS and PROGRAMS, in all precisions
  python benchmarks/cost/aot.py --models=resnet18_imagenet:224 --programs=filter,search --transforms=fft,dft
  python benchmarks/cost/aot.py --programs=training --precisions=bfloat16 --accelerator='8 x H100'

PROGRAMS are the tiles of a search, of filtered evaluation (`rates`) and of the verdict's `grafts`; the `filter` of a
search's tile without the network; the `gradient` by frequency, which the search `graft` takes; and the training step.
Prints one JSON object a program, and a table at the end. Its values for an image under a mask, or a training image, are
XLA's estimate of cycles on a TPU (none on a GPU), split into the network's products and convolutions, the FFT, and
everything else; bytes of memory traffic; temporaries; and processor seconds of the compilation. Microseconds are cycles
at 1.5 GHz, the clock of a v5e. `filter_share` is the filter's part of a tile. `device_gib` is the memory of a device:
arguments and temporaries. Nothing runs, and weights are zeros. In training, 'highest' and 'tensorfloat32' are both
float32 in the device's default products.
"""

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import ahead_of_time, markdown

os.environ.update(ahead_of_time.ENVIRONMENT)

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax.sharding import Mesh

from configs import common
from fsjax import models
from fsjax.data.augment import make_augment
from fsjax.engine.model import PRECISIONS, Model, graft_model
from fsjax.engine.tile import make_tile, tile_shapes
from fsjax.fourier import patches
from fsjax.fourier.transforms import INVERSES
from fsjax.models.network import Network, fold
from fsjax.runtime import parallel
from fsjax.search import graft
from fsjax.training import optimizers

# Name and pixels -> masks and images of a tile on one device, and images of a training step on one device.
MODELS = {"resnet18_cifar:32": (4, 64, 64), "resnet50_imagenet:224": (2, 16, 128), "vit_base_patch16:224": (2, 16, 128)}
OTHERS = (2, 16, 32)
# What a tile counts; a filter's tile takes the mean pixel for the logits.
STATISTICS = {"filter": "loss", "search": "loss", "rates": "predicted_target", "grafts": "captured"}
PROGRAMS = (*STATISTICS, "gradient", "training")
GHZ = 1.5

CHOSEN = flags.DEFINE_list("models", list(MODELS), "Names of fsjax.models with their pixels, name:pixels.")
WHICH = flags.DEFINE_list("programs", list(PROGRAMS), f"What is compiled: {', '.join(PROGRAMS)}.")
AT = flags.DEFINE_list("precisions", list(PRECISIONS), "Precisions of the forward passes.")
TRANSFORMS = flags.DEFINE_list("transforms", ["fft"], f"How images are filtered: {', '.join(INVERSES)}.")
ACCELERATOR = flags.DEFINE_enum("accelerator", "v5e:2x2", list(ahead_of_time.ACCELERATORS), "What to compile for.")


def main(_: list[str]) -> None:
    mesh = Mesh(np.array(ahead_of_time.devices(ACCELERATOR.value)), (parallel.AXIS,))
    rows = []
    for chosen in CHOSEN.value:
        name, size = chosen.split(":")
        for precision in AT.value:
            at = {"model": name, "image_size": int(size), "precision": precision, "accelerator": ACCELERATOR.value}
            network, filters = built(name, int(size), precision), {}
            for program, by, images, lowered in programs(network, precision, MODELS.get(chosen, OTHERS), mesh):
                row = estimates(ahead_of_time.describe(lowered, images), images)
                filters |= {by: row["cycles"]} if program == "filter" else {}
                share = round(filters[by] / row["cycles"], 3) if row["cycles"] and by in filters else ""
                rows.append({"program": program, **at, "by": by, "images": images, **row, "filter_share": share})
                print(json.dumps(rows[-1]), flush=True)
    print(table(rows))


def programs(
    network: Network, precision: str, sizes: tuple[int, int, int], mesh: Mesh
) -> Iterator[tuple[str, str, int, Any]]:
    """Yield the chosen programs: name, transform, images of one device, and the lowered program."""
    masks, images, batch = sizes
    for transform in TRANSFORMS.value:
        for program in WHICH.value:
            if program not in STATISTICS:
                continue
            # A graft's tile has one mask.
            shape = (1, masks * images) if program == "grafts" else (masks, images)
            yield program, transform, masks * images, tile(network, precision, transform, program, *shape, mesh)
    if "gradient" in WHICH.value:
        yield "gradient", "", masks * images, gradient(network, precision, masks * images, mesh)
    if "training" in WHICH.value:
        yield "training", "", batch, training(network, batch, mesh)


def built(name: str, size: int, precision: str) -> Network:
    """Return a network of ten classes, or at 224 pixels of a thousand."""
    dtype = jnp.dtype(jnp.bfloat16 if precision == "bfloat16" else jnp.float32)
    return models.build(name, num_classes=10 if size < 224 else 1000, image_size=size, dtype=dtype)


def tile(network: Network, precision: str, transform: str, program: str, masks: int, images: int, mesh: Mesh) -> Any:
    """Return the lowered tile of one device's masks and images."""
    model = searched(network, precision, transform)
    if program == "filter":
        model = dataclasses.replace(model, apply=lambda _, images: images.mean((1, 2)), params={})
    model = graft_model(model) if program == "grafts" else model
    params, perturbations, batch = tile_shapes(model, masks * mesh.size, images)
    # A replicate for each class's images, or for each graft.
    replicates = {"rates": network.num_classes, "grafts": images}.get(program, 1)
    batch = batch._replace(weights=jax.ShapeDtypeStruct((images, replicates), jnp.float32))
    if replicates > 1:
        perturbations = perturbations._replace(targets=jax.ShapeDtypeStruct((masks * mesh.size,), jnp.int32))
    return make_tile(model, (STATISTICS[program],), mesh).lower(params, perturbations, batch)


def gradient(network: Network, precision: str, images: int, mesh: Mesh) -> Any:
    """Return the lowered gradient by patches of 8 frequencies; `images` counts one device's."""
    model = searched(network, precision, "fft")
    batch = jax.ShapeDtypeStruct((images * mesh.size, *model.image_shape), jnp.float32)
    members = patches.members(*model.image_shape[:2], 8)
    return graft.gradient_program(model, mesh).lower(model.params, batch, jax.ShapeDtypeStruct((), np.int32), members)


def searched(network: Network, precision: str, transform: str) -> Model:
    """Return the model with weights of 0, BatchNorm folded as in a search."""
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(lambda: network.init(0)))
    apply, params = fold(network, variables)
    shape = (network.image_size, network.image_size, 3)
    return Model(apply, params, shape, apply_bfloat16=apply).at(precision, transform)


def training(network: Network, images: int, mesh: Mesh) -> Any:
    """Return the lowered pmapped step of a run that augments by flips and crops; `images` counts one device's."""
    train = common.base().train
    augment = make_augment("flip,crop", pad=train.pad, min_scale=train.min_scale)
    optimizer = optimizers.make(train)
    return ahead_of_time.lower_training_step(network, optimizer, augment, images, list(mesh.devices))


def estimates(found: dict, images: int) -> dict:
    """Return the columns of a row from the result of `ahead_of_time.describe`."""
    return {
        "microseconds": round(found["cycles"] / GHZ / 1000, 2),
        "cycles": round(found["cycles"]),
        **{part: round(found["parts"].get(part, 0)) for part in ("products", "transform", "other")},
        "traffic_mb": round(found["traffic_bytes"] / images / 1e6, 1),
        "temporary_kib": round(found["temporary_bytes"] / images / 1024),
        "device_gib": round((found["temporary_bytes"] + found["argument_bytes"]) / 2**30, 2),
        "compile_seconds": found["compile_seconds"],
        "collectives": found["collectives"],
    }


def table(rows: list[dict]) -> str:
    columns = ["program", "model", "image_size", "precision", "by", "images"]
    if any(row["cycles"] for row in rows):
        columns += ["microseconds", "cycles", "products", "transform", "other", "filter_share"]
    columns += ["traffic_mb", "temporary_kib", "device_gib", "compile_seconds"]
    return markdown.table(columns, ([row[column] for column in columns] for row in rows))


if __name__ == "__main__":
    app.run(main)
