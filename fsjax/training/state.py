"""The state of a training: what a step updates on the devices, and what the loop carries from step to step."""

import dataclasses
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from fsjax.runtime import parallel
from fsjax.training.auxiliary import batchnorms


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The arrays that a training step updates."""

    params: PyTree
    batch_stats: PyTree
    optimizer: PyTree
    average: PyTree = None  # state of the moving average of params and batch_stats, if there is one
    auxiliary: "TrainState | None" = None  # of the BatchNorms for copies, if there are any: the network is without them

    @property
    def variables(self) -> dict[str, PyTree]:
        """The network's variables after the last step."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@dataclasses.dataclass(frozen=True)
class LoopState:
    """A training after `step` steps."""

    step: int
    replicas: TrainState  # its arrays stand once on each local device
    plateau: Any  # state of the plateau schedule, whose `scale` multiplies the updates; on the host


def create(
    variables: dict,
    optimizer: optax.GradientTransformation,
    average: optax.GradientTransformation | None = None,
    *,
    auxiliary: bool = False,
) -> TrainState:
    """Return the state before the first step, on the host; `auxiliary`: with BatchNorms for copies, if it has any."""
    variables = jax.device_get(variables)
    own = batchnorms(variables) if auxiliary else None
    # Under jit: else JAX compiles a program for every shape of an array.
    return TrainState(
        **variables,
        optimizer=jax.device_get(jax.jit(optimizer.init)(variables["params"])),
        average=jax.device_get(jax.jit(average.init)(variables)) if average else None,
        auxiliary=create(own, optimizer) if own else None,
    )


def evaluated_variables(state: TrainState, ema_decay: float) -> dict[str, PyTree]:
    """Return the variables that are evaluated and saved: those of the last step, or their moving average."""
    if not ema_decay:
        return state.variables
    return jax.tree.map(np.asarray, optax.tree.bias_correction(state.average.ema, ema_decay, state.average.count))


def resumed_arrays(state: TrainState) -> dict[str, PyTree]:
    """Return what a checkpoint holds beside the evaluated variables, so that training can resume.

    With a moving average the last step's variables are among it.
    """
    arrays = {"optimizer": state.optimizer}
    if state.average is not None:
        arrays |= {**state.variables, "average": state.average}
    if state.auxiliary is not None:
        arrays |= {"auxiliary": state.auxiliary}
    return arrays


def replicate(tree: PyTree) -> PyTree:
    """Stack every array once per local device, laid out as pmap returns it: from host arrays pmap compiles twice."""
    mesh = Mesh(np.array(jax.local_devices()), (parallel.AXIS,))
    layout = NamedSharding(mesh, P(parallel.AXIS))
    return jax.tree.map(lambda x: jax.device_put(np.broadcast_to(x, (mesh.size, *np.shape(x))), layout), tree)


def unreplicate(tree: PyTree) -> PyTree:
    """Return replica 0 as host NumPy arrays."""
    return jax.tree.map(lambda value: np.asarray(value.addressable_data(0))[0], tree)
