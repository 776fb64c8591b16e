"""One process of small searches by every method, as tests start it: FOLDER FOLDER [ADDRESS PROCESSES INDEX]."""

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
FIELDS = {
    "removal": {},
    "hierarchical": {"candidates": "20,20"},
    "graft": {"pairs": 6, "steps": 4},
    "greedy": {"tolerance": 2.0, "compat": True, "order": str(pathlib.Path(sys.argv[1]).parent / "order.npy")},
    "learned": {"steps": 5, "objective": "specific", "judged": 20},
}

rng = np.random.default_rng(0)
hidden, out = (jnp.asarray(rng.normal(size=shape) / 8, jnp.float32) for shape in ((192, 16), (16, 2)))
images = rng.normal(size=(100, 8, 8, 3)).astype(np.float32)
folder = pathlib.Path(sys.argv[1])
for method, fields in FIELDS.items():
    maps = fsjax.dominant_frequencies(
        lambda images: jnp.tanh(images.reshape(len(images), -1) @ hidden) @ out,
        images,
        np.repeat([0, 1], [60, 40]),
        search=method,
        shares=(0.1,),
        directory=folder / method,
        save_seconds=0,
        **fields,
    )
    if parallel.is_main_process():
        maps.save(folder / f"{method}.npz")
