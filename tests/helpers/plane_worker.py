"""ADCS and a heat map of one small problem; as a process: DIRECTORY OUTPUT ADDRESS PROCESSES INDEX."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

if __name__ == "__main__":
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))

from fsjax.engine.model import Model
from fsjax.evaluation import adcs, heat_map
from fsjax.runtime import parallel


def results(directory):
    """Arrays by name; the heat map's partial results lie in the directory."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (45, 8, 6, 3)).astype(np.uint8)
    labels = rng.permutation(np.repeat([0, 1, 2], [20, 15, 10])).astype(np.int32)
    params = jnp.asarray(rng.normal(size=(144, 3)), jnp.float32)
    mean, std = np.full(3, 0.5), np.full(3, 0.3)
    found = heat_map.measure(
        Model(lambda params, images: images.reshape(len(images), -1) @ params, params, (8, 6, 3)),
        lambda part: ((images[part] / 255 - mean) / std).astype(np.float32),
        labels,
        3,
        std,
        norm=2.0,
        save_seconds=0.0,
        directory=pathlib.Path(directory),
    )
    return {
        "amplitudes": adcs.class_amplitudes(images.__getitem__, labels, 3, (8, 6), (mean, std)),
        "published": adcs.class_amplitudes(images.__getitem__, labels, 3, (8, 6), (mean, std), compat=True),
        "error": found.error,
        "class_error": found.class_error,
        "clean_error": found.clean_error,
    }


if __name__ == "__main__":
    arrays = results(sys.argv[1])
    if parallel.is_main_process():
        np.savez(sys.argv[2], **arrays)
