"""One process of searches, as tests start it: removal|all DIRECTORY OUTPUT [ADDRESS PROCESSES INDEX]."""

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

if len(sys.argv) > 4:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))

import fsjax
from fsjax.models import Network
from fsjax.models.network import fold
from fsjax.models.resnet import BasicBlock, ResNet
from fsjax.runtime import parallel, progress

progress.LINE_SECONDS = 0
directory, output, rng = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), np.random.default_rng(0)
FIELDS = {
    "removal": {},
    "hierarchical": {"candidates": "20,20"},
    "graft": {"paths": 6, "steps": 4},
    "greedy": {"tolerance": 2.0, "compat": True, "order": str(directory.parent / "order.npy")},
    "learned": {"steps": 5, "judged": 20},
}


def search(logits_fn, images, labels, folder, file, **fields):
    maps = fsjax.dominant_frequencies(logits_fn, images, labels, directory=folder, save_seconds=0, **fields)
    if parallel.is_main_process():
        maps.save(file)


if sys.argv[1] == "removal":
    builder = functools.partial(ResNet, BasicBlock, (1, 1), (8, 16), imagenet_stem=False)
    network = Network(builder, 3, 24, np.dtype("float32"))
    apply, params = fold(network, network.init(0))
    images, labels = rng.normal(size=(75, 24, 24, 3)).astype(np.float32), np.repeat([0, 1, 2], [30, 25, 20])
    fields = {"search": "removal", "memory_mib": 2}
    search(lambda images: apply(params, images), images, labels, directory, output, **fields)
else:
    hidden, out = (jnp.asarray(rng.normal(size=shape) / 8, jnp.float32) for shape in ((192, 16), (16, 2)))
    images, labels = rng.normal(size=(100, 8, 8, 3)).astype(np.float32), np.repeat([0, 1], [60, 40])
    for method, fields in FIELDS.items():
        search(
            lambda images: jnp.tanh(images.reshape(len(images), -1) @ hidden) @ out,
            images,
            labels,
            directory / method,
            output / f"{method}.npz",
            search=method,
            shares=(0.1,),
            **fields,
        )
