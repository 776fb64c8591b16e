"""Devices and processes of a run that has started; this file alone asks JAX about them."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Num

import fsjax
from fsjax.runtime.errors import InputError

# Training splits batches over this axis, and a search splits perturbations.
AXIS = "devices"

# Assumed free memory of an accelerator that does not report it: a core of a TPU v2, the smallest that JAX runs on.
UNREPORTED_BYTES = 8 * 2**30

# Limits of a message: numbers that a process sends, and bytes that it receives from all processes.
_MESSAGE, _MESSAGE_BYTES = 2**18, 64 * 2**20


def local_devices() -> list[jax.Device]:
    """Return the devices of this process."""
    return jax.local_devices()


def mesh() -> Mesh:
    """Return this process's devices as a one-dimensional mesh over AXIS."""
    return Mesh(np.array(local_devices()), (AXIS,))


def layouts(mesh: Mesh) -> tuple[NamedSharding, NamedSharding]:
    """Return the layout of arrays whose first axis is split over the devices, and of arrays whole on each device."""
    return NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())


def process() -> tuple[int, int]:
    """Return the index of this process, and the number of processes."""
    return jax.process_index(), jax.process_count()


def is_main_process() -> bool:
    """Return whether this process prints and writes the shared files."""
    return jax.process_index() == 0


def share(count: int) -> slice:
    """Return this process's part of `count` items; parts are contiguous and differ by at most one item."""
    index, processes = process()
    return slice(count * index // processes, count * (index + 1) // processes)


def from_main(value: Any) -> Any:
    """Return the main process's JSON value in every process. Collective: every process must call this."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = np.resize(text, length)  # only the main process's content counts, but all must have its shape
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text)).astype(np.uint8).tobytes())


def decide(find: Callable[[], Any]) -> Any:
    """Call `find` in the main process only, and return its JSON value in every process. Collective.

    No process returns before the main process has the value. An InputError of `find` is raised in all processes.
    """
    if jax.process_count() == 1:
        return find()
    value, message = None, None
    if is_main_process():
        try:
            value = find()
        except InputError as error:
            message = str(error)
    value, message = from_main([value, message])
    if message is not None:
        raise InputError(message)
    return value


def merge(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Merge the values of all processes, in float64; NaN marks values that a process lacks. Collective."""
    return _by_messages(values, np.nan, np.fmax.reduce)


def total(values: Num[np.ndarray, "*shape"]) -> Num[np.ndarray, "*shape"]:
    """Return the sum over the processes, computed in float64, with the same bits in every process. Collective."""
    return _by_messages(values, 0.0, lambda gathered: gathered.sum(0)).astype(values.dtype)


def _by_messages(
    values: Num[np.ndarray, "*shape"], filler: float, combine: Callable[[np.ndarray], np.ndarray]
) -> Float[np.ndarray, "*shape"]:
    """Combine the values of all processes message by message, to limit the memory with many processes."""
    if jax.process_count() == 1:
        return combine(values[None].astype(np.float64))
    width = max(1, min(values.size, _MESSAGE, _MESSAGE_BYTES // 8 // jax.process_count()))
    row = values.astype(np.float64).ravel()
    messages = np.pad(row, (0, -len(row) % width), constant_values=filler).reshape(-1, width)
    # As integers, since JAX would round float64 to float32.
    gathered = (np.asarray(multihost_utils.process_allgather(message.view(np.uint32))) for message in messages)
    combined = [combine(values_of_all.view(np.float64)) for values_of_all in gathered]
    return np.concatenate([np.zeros(0), *combined])[: values.size].reshape(values.shape)


def free_bytes() -> int | None:
    """Return the free bytes of the fullest local device; None for CPUs, which share the machine's memory.

    Accelerators that report no memory, such as GPUs under XLA_PYTHON_CLIENT_ALLOCATOR=platform, count as
    `UNREPORTED_BYTES`.
    """
    if local_devices()[0].platform == "cpu":
        return None
    stats = _memory()
    return min(stat["bytes_limit"] - stat["bytes_in_use"] for stat in stats) if stats else UNREPORTED_BYTES


def peak_bytes() -> int | None:
    """Return the largest peak memory of a local device in bytes; None if a device does not report it, such as a CPU."""
    stats = _memory()
    return max(stat["peak_bytes_in_use"] for stat in stats) if stats else None


def _memory() -> list[dict[str, int]]:
    """Return the memory statistics of each local device; [] if a device reports none."""
    stats = [device.memory_stats() for device in local_devices()]
    return stats if all(stats) else []


def describe() -> str:
    """Describe the devices for logs and provenance, such as '8 x TPU v4' or '1 x cpu'."""
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind}"


def versions() -> dict[str, str]:
    """Return the versions of fsjax and JAX and a description of the devices, for provenance."""
    return {"fsjax": fsjax.__version__, "jax": jax.__version__, "devices": describe()}
