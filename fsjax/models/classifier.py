"""A trained classifier, ready to be searched and evaluated."""

import dataclasses
import hashlib
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from fsjax.engine.model import Model
from fsjax.models import stored_weights, weights
from fsjax.models.folding import fold
from fsjax.runtime.storage import Path


def load(config: ConfigDict, directory: Path) -> Model:
    """Load the classifier of a workdir; errors as of `weights.load`."""
    if stored_weights.is_stored(config):
        return _stored(config, directory)
    trained = weights.load(config, directory)
    apply, params = fold(trained.network, trained.variables)
    apply_bfloat16 = None
    if config.search.precision == "bfloat16":
        low = dataclasses.replace(trained.network, dtype=jnp.dtype(jnp.bfloat16))
        apply_bfloat16, _ = fold(low, trained.variables)
    if trained.outputs is not None:
        apply = _reordered(apply, trained.outputs)
        apply_bfloat16 = apply_bfloat16 and _reordered(apply_bfloat16, trained.outputs)
    size = config.data.image_size
    return Model(apply, params, (size, size, 3), trained.classes, trained.mean_std, apply_bfloat16)


def _stored(config: ConfigDict, directory: Path) -> Model:
    """Load the classifier of a workdir whose weights are a model file."""
    classes, _ = weights.recorded_classes(config, directory)
    stored = stored_weights.read(config, directory)
    # The program belongs to what partial results are tied to, as the parameters do.
    program = np.frombuffer(hashlib.sha256(stored.program).digest(), np.uint8)
    params = {"arrays": stored.arrays, "program": program}

    def apply(params: dict, images: Float[Array, "images height width 3"]) -> Float[Array, "images classes"]:
        return stored.apply(params["arrays"], images)

    order = weights.stored_outputs(config, stored, classes)
    reordered = apply if order == tuple(range(stored.outputs)) else _reordered(apply, order)
    return Model(reordered, params, stored.image_shape, classes, stored_weights.mean_std(config, stored))


def _reordered(apply: Callable, outputs: tuple[int, ...]) -> Callable:
    order = np.array(outputs)
    return lambda params, images: apply(params, images)[:, order]
