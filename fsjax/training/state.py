"""The state of a training: the arrays that a step updates, and the values that the loop carries along.

Copies of images may go through BatchNorms apart from the classifier's (AdvProp): the auxiliary state.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh
from jaxtyping import PyTree

from fsjax.runtime import parallel


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The arrays that a training step updates."""

    params: PyTree
    batch_stats: PyTree
    optimizer: PyTree
    auxiliary: "TrainState | None" = None  # of the BatchNorms for copies, which the trained classifier lacks

    @property
    def variables(self) -> dict[str, PyTree]:
        """The network's variables after the last step."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@dataclasses.dataclass(frozen=True)
class LoopState:
    """A training after `step` steps."""

    step: int
    replicas: TrainState  # with a leading axis of local devices
    plateau: Any  # state of the plateau schedule, on the host; its `scale` multiplies the updates


def create(variables: dict, optimizer: optax.GradientTransformation, *, auxiliary: bool = False) -> TrainState:
    """Return the state before the first step, on the host; auxiliary: with BatchNorms for copies, if it has any."""
    variables = jax.device_get(variables)
    for_copies = None
    if auxiliary and (stats := variables["batch_stats"]):
        modules = {path[:-1] for path in flatten_dict(stats)}
        params = {path: value for path, value in flatten_dict(variables["params"]).items() if path[:-1] in modules}
        for_copies = {"params": unflatten_dict(params), "batch_stats": stats}
    # Under jit, since JAX otherwise compiles a program for every shape of an array.
    return TrainState(
        **variables,
        optimizer=jax.device_get(jax.jit(optimizer.init)(variables["params"])),
        auxiliary=create(for_copies, optimizer) if for_copies else None,
    )


def overlay(params: dict, others: dict) -> dict:
    """Return params with some replaced by `others`, nested dicts with a part of the names."""
    return unflatten_dict(flatten_dict(params, keep_empty_nodes=True) | flatten_dict(others))


def resumed_arrays(state: TrainState) -> dict[str, PyTree]:
    """Return the arrays of a checkpoint beside the network's variables, from which training resumes."""
    arrays = {"optimizer": state.optimizer}
    return arrays if state.auxiliary is None else {**arrays, "auxiliary": state.auxiliary}


def replicate(tree: PyTree) -> PyTree:
    """Stack every array once per local device, laid out as pmap returns it: from host arrays pmap compiles twice."""
    mesh = Mesh(np.array(jax.local_devices()), (parallel.AXIS,))
    layout, _ = parallel.layouts(mesh)
    return jax.tree.map(lambda x: jax.device_put(np.broadcast_to(x, (mesh.size, *np.shape(x))), layout), tree)


def unreplicate(tree: PyTree) -> PyTree:
    """Return replica 0 as host NumPy arrays."""
    return jax.tree.map(lambda value: np.asarray(value.addressable_data(0))[0], tree)
