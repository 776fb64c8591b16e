"""A removal search of three classes of random images."""

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.engine.model import Model

COUNTS = (5, 3, 4)


def make_problem(
    tmp_path, *, size=8, patch=1, seed=0, apply=None, images=None, save_seconds=0.0, resamples=3, **options
):
    rng = np.random.default_rng(seed)
    params = {
        "hidden": rng.normal(size=(size * size * 3, 8)).astype(np.float32) / 8,
        "out": rng.normal(size=(8, 3)).astype(np.float32),
    }
    if images is None:
        images = [rng.normal(size=(count, size, size, 3)).astype(np.float32) for count in COUNTS]
    shared = {"method": "removal", "patch": patch, "shares": (0.05, 0.2), "precision": "highest", "transform": "fft"}
    return search.Problem(
        model=Model(apply or network, params, (size, size, 3)),
        images=lambda label: images[label],
        counts=tuple(len(of_class) for of_class in images),
        classes=("a", "b", "c")[: len(images)],
        options=ConfigDict(shared | {"agreement_masks": 30, "resamples": resamples} | options),
        run=ConfigDict({"memory_mib": 0, "save_seconds": save_seconds}),
        searched_on="train",
        provenance={},
        directory=tmp_path / "search",
    )


def network(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]
