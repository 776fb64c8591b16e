"""One process of searches by every method, as tests start it: DIRECTORY OUTPUT [ADDRESS PROCESSES INDEX]."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

if len(sys.argv) > 3:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))

import fsjax
from fsjax.runtime import parallel, progress

progress.LINE_SECONDS = 0
directory, output, rng = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), np.random.default_rng(0)
FIELDS = {
    "removal": {},
    "hierarchical": {"candidates": "20,20"},
    "graft": {"paths": 6, "steps": 4},
    "greedy": {"tolerance": 2.0, "compat": True, "order": str(directory.parent / "order.npy")},
    "learned": {"steps": 5, "judged": 20},
}

hidden, out = (jnp.asarray(rng.normal(size=shape) / 8, jnp.float32) for shape in ((192, 16), (16, 2)))
images, labels = rng.normal(size=(100, 8, 8, 3)).astype(np.float32), np.repeat([0, 1], [60, 40])


def model(images):
    return jnp.tanh(images.reshape(len(images), -1) @ hidden) @ out


for method, fields in FIELDS.items():
    own = {"search": method, "shares": (0.1,), "directory": directory / method, "save_seconds": 0} | fields
    maps = fsjax.dominant_frequencies(model, images, labels, **own)
    if parallel.is_main_process():
        maps.save(output / f"{method}.npz")
