"""Compile the search tiles of real models for accelerators that are not here, and say what XLA estimates of them.

  pip install libtpu            # or 'jax[cuda12]', for --accelerator='8 x H100'
  python benchmarks/cost/aot.py                                       # all of MODELS, in all precisions
  python benchmarks/cost/aot.py --models=resnet18_cifar:32 --precisions=bfloat16
  python benchmarks/cost/aot.py --models=resnet18_imagenet:224 --transforms=fft,dft

Prints one JSON object a program, and a table of them in the end. Of an image under one mask: cycles on a TPU, as
XLA estimates them (on a GPU it estimates none), and where they go: the network's products and convolutions, the
transform, and everything else; the temporaries; and processor seconds of the compilation. Microseconds are cycles at
1.5 GHz, the clock of a v5e. Nothing runs, and weights are zeros.
"""

import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import ahead_of_time

os.environ.update(ahead_of_time.ENVIRONMENT)

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax.sharding import Mesh

from fsjax import models
from fsjax.engine.model import PRECISIONS, Model
from fsjax.engine.tile import make_tile, tile_shapes
from fsjax.fourier.transforms import INVERSES
from fsjax.models.folding import fold
from fsjax.runtime import parallel

# Name and pixels -> masks and images of a tile on one device.
MODELS = {"resnet18_cifar:32": (4, 64), "resnet50_imagenet:224": (2, 16), "vit_base_patch16:224": (2, 16)}
GHZ = 1.5

CHOSEN = flags.DEFINE_list("models", list(MODELS), "Names of fsjax.models with their pixels, name:pixels.")
AT = flags.DEFINE_list("precisions", list(PRECISIONS), "Precisions of the forward passes.")
TRANSFORMS = flags.DEFINE_list("transforms", ["fft"], f"How images are filtered: {', '.join(INVERSES)}.")
ACCELERATOR = flags.DEFINE_enum("accelerator", "v5e:2x2", list(ahead_of_time.ACCELERATORS), "What to compile for.")


def main(_: list[str]) -> None:
    rows = []
    for chosen in CHOSEN.value:
        name, size = chosen.split(":")
        for precision in AT.value:
            for transform in TRANSFORMS.value:
                rows.append(row(name, int(size), precision, transform, *MODELS.get(chosen, (2, 16))))
                print(json.dumps(rows[-1]), flush=True)
    print(table(rows))


def row(name: str, size: int, precision: str, transform: str, masks: int, images: int) -> dict:
    """Return what XLA says of the tile of masks of a model of ten classes, BatchNorm folded as in a search."""
    dtype = jnp.dtype(jnp.bfloat16 if precision == "bfloat16" else jnp.float32)
    network = models.build(name, num_classes=10, image_size=size, dtype=dtype)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(lambda: network.init(0)))
    apply, params = fold(network, variables)
    model = Model(apply, params, (size, size, 3), apply, transform=transform).at(precision)
    mesh = Mesh(np.array(ahead_of_time.devices(ACCELERATOR.value)), (parallel.AXIS,))
    shapes = tile_shapes(model, masks * mesh.size, images)
    found = ahead_of_time.describe(make_tile(model, ("loss",), mesh).lower(*shapes), masks * images)
    return {
        "model": name,
        "image_size": size,
        "precision": precision,
        "by": transform,
        "accelerator": ACCELERATOR.value,
        "masks": masks,
        "images": images,
        "microseconds": round(found["cycles"] / GHZ / 1000, 2),
        "cycles": round(found["cycles"]),
        **{part: round(found["parts"].get(part, 0)) for part in ("products", "transform", "other")},
        "temporary_kib": round(found["temporary_bytes"] / masks / images / 1024),
        "compile_seconds": found["compile_seconds"],
        "collectives": found["collectives"],
    }


def table(rows: list[dict]) -> str:
    columns = ("model", "image_size", "precision", "by", "microseconds", "cycles", "products", "transform", "other")
    columns += ("temporary_kib", "compile_seconds")
    lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    app.run(main)
