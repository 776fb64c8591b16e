"""A greedy search of three classes of random images."""

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.engine.model import Model

COUNTS = (9, 5, 12)
SIZE = 8


def make_problem(tmp_path, *, tolerance=0.1, shares=(0.2, 1.0), apply=None, images=None, save_seconds=0.0, seed=0):
    rng = np.random.default_rng(seed)
    pixels = SIZE * SIZE * 3 if images is None else images[0][0].size
    params = {
        "hidden": rng.normal(size=(pixels, 8)).astype(np.float32) / 8,
        "out": rng.normal(size=(8, 3)).astype(np.float32),
    }
    if images is None:
        images = [rng.normal(size=(count, SIZE, SIZE, 3)).astype(np.float32) for count in COUNTS]
    options = search.options()
    options.update(method="greedy", shares=shares)
    options.greedy.tolerance = tolerance
    return search.Problem(
        model=Model(apply or network, params, images[0].shape[1:]),
        images=lambda label: images[label],
        counts=tuple(len(of_class) for of_class in images),
        classes=("a", "b", "c")[: len(images)],
        options=options,
        run=ConfigDict({"memory_mib": 0, "save_seconds": save_seconds}),
        searched_on="train",
        provenance={},
        directory=tmp_path / "search",
    )


def network(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]
