"""Jitted programs over this process's devices, cached on the function that they call."""

from collections.abc import Callable, Hashable
from types import FunctionType

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from fsjax.runtime import parallel

_ATTRIBUTE = "_fsjax_programs"


def over_devices(function: Callable, mesh: Mesh, split: tuple[bool, ...], precision: str) -> Callable:
    """Return the jitted function, with its results and the arguments that `split` marks split over the mesh.

    Every device holds the other arguments whole, so nothing passes between devices. Under plain jit with shardings the
    compiler gathers batched FFTs onto every device.
    """
    in_specs = tuple(P(parallel.AXIS) if is_split else P() for is_split in split)
    # Unchecked, because a callable that was traced before does not say what differs from device to device.
    sharded = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=P(parallel.AXIS), check_vma=False)
    return jax.jit(at_precision(precision, sharded))


def at_precision(precision: str, function: Callable) -> Callable:
    """Return the function with its matrix products and convolutions in a precision."""

    def with_precision(*arguments: PyTree) -> PyTree:
        with jax.default_matmul_precision(precision):
            return function(*arguments)

    return with_precision


def cached_program(function: Callable, key: Hashable, make: Callable[[], Callable]) -> Callable:
    """Return the program of this function and key; `make` builds it on the first call.

    An attribute of the function holds its programs, which call it. A cache beside it would keep a caller's model in
    memory. Other callables get a new program each time: a bound method shares the attributes of its class's function.
    """
    if not isinstance(function, FunctionType):
        return make()
    programs = vars(function).setdefault(_ATTRIBUTE, {})
    if key not in programs:
        programs[key] = make()
    return programs[key]
