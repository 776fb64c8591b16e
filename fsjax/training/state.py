"""The state of a training: the arrays that a step updates, and what the loop carries from step to step.

Copies of images may go through BatchNorms apart from the classifier's (AdvProp; AFA): the auxiliary state.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
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
    for_copies = _batchnorms(variables) if auxiliary else None
    # Under jit, since JAX otherwise compiles a program for every shape of an array.
    return TrainState(
        **variables,
        optimizer=jax.device_get(jax.jit(optimizer.init)(variables["params"])),
        auxiliary=create(for_copies, optimizer) if for_copies else None,
    )


def _batchnorms(variables: dict[str, Any]) -> dict[str, Any] | None:
    """Return the variables of a network's BatchNorms alone, None where it has none."""
    statistics = variables["batch_stats"]
    return {"params": _below(statistics, variables["params"]), "batch_stats": statistics} if statistics else None


def _below(statistics: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return the params of the modules that have statistics: their arrays stand side by side under one name."""
    if not all(isinstance(value, dict) for value in statistics.values()):
        return params
    return {name: _below(below, params[name]) for name, below in statistics.items()}


def overlay(params: PyTree, others: PyTree) -> PyTree:
    """Return params with some replaced by `others`, nested dicts with a part of the names."""
    if not isinstance(others, dict):
        return others
    return {**params, **{name: overlay(params[name], other) for name, other in others.items()}}


def resumed_arrays(state: TrainState) -> dict[str, PyTree]:
    """Return the arrays of a checkpoint beside the network's variables, from which training resumes."""
    arrays = {"optimizer": state.optimizer}
    return arrays if state.auxiliary is None else {**arrays, "auxiliary": state.auxiliary}


def replicate(tree: PyTree) -> PyTree:
    """Stack every array once per local device, laid out as pmap returns it: from host arrays pmap compiles twice."""
    mesh = Mesh(np.array(jax.local_devices()), (parallel.AXIS,))
    layout = NamedSharding(mesh, P(parallel.AXIS))
    return jax.tree.map(lambda x: jax.device_put(np.broadcast_to(x, (mesh.size, *np.shape(x))), layout), tree)


def unreplicate(tree: PyTree) -> PyTree:
    """Return replica 0 as host NumPy arrays."""
    return jax.tree.map(lambda value: np.asarray(value.addressable_data(0))[0], tree)
