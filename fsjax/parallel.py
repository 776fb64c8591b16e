"""Devices and processes: the only file that names them."""

import json
import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Float

# The one axis that batches (training) and perturbations (searching) are split over.
AXIS = "devices"


# A CPU's cores are given fewer images of a training batch than this only where the batch itself is smaller.
_LEAST_ROWS = 16


def use_cores(batch_size: int) -> None:
    """Makes each core of a CPU a device, where JAX has not been told how many there are; before JAX's first use.

    A device a core computes faster than one device with a thread a core, whose threads wait for each other in every
    convolution. Training splits its batch over all devices, so there are as many as divide it.
    """
    told = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if told or jax.config.jax_num_cpu_devices >= 0 or batch_size < 1:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fitting = [count for count in range(1, cores + 1) if batch_size % count == 0 and batch_size >= count * _LEAST_ROWS]
    jax.config.update("jax_num_cpu_devices", max(fitting, default=1))


def local_devices() -> list[jax.Device]:
    """The devices this process computes on."""
    return jax.local_devices()


def mesh() -> Mesh:
    """This process's devices as a one-dimensional mesh over AXIS."""
    return Mesh(np.array(local_devices()), (AXIS,))


def process() -> tuple[int, int]:
    """Index of this process, and how many there are."""
    return jax.process_index(), jax.process_count()


def is_main_process() -> bool:
    """Whether this is the process that prints and writes the shared files."""
    return jax.process_index() == 0


def share(count: int) -> slice:
    """This process's part of so many units of work: parts are contiguous and differ by one unit at most."""
    index, processes = process()
    return slice(count * index // processes, count * (index + 1) // processes)


def from_main(value: Any) -> Any:
    """The main process's JSON value, in every process; all have to call it."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = np.resize(text, length)  # only the main process's content counts, but all have to bring its shape
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text)).astype(np.uint8).tobytes())


def merge(rows: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """What the processes know together: each brings float64 rows with NaN where it knows nothing; all have to call it.

    Row by row, so that many processes and many rows need little memory at once.
    """
    if jax.process_count() == 1:
        return rows
    merged = np.empty_like(rows)
    for index, row in enumerate(rows):
        gathered = _gathered(row)
        known = ~np.isnan(gathered)
        merged[index] = np.where(known.any(0), gathered[known.argmax(0), np.arange(gathered.shape[1])], np.nan)
    return merged


def total(rows: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """The sum of what the processes bring, in float64 and the same bits in all of them; all have to call it."""
    if jax.process_count() == 1:
        return rows
    return np.stack([_gathered(row).sum(0) for row in rows])


def _gathered(row: Float[np.ndarray, " columns"]) -> Float[np.ndarray, "processes columns"]:
    """A float64 row of every process; JAX would round it to float32 on the way, so its bits travel as integers."""
    return np.asarray(multihost_utils.process_allgather(row.view(np.uint32))).view(np.float64)


def free_bytes() -> int | None:
    """Memory that is free on the fullest local device; None where devices do not say, as CPUs do not."""
    stats = [device.memory_stats() for device in local_devices()]
    if not all(stats):
        return None
    return min(stat["bytes_limit"] - stat["bytes_in_use"] for stat in stats)


def host_bytes() -> int:
    """Memory of this machine, which is also that of its CPU devices together."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def describe() -> str:
    """The accelerator in words, for logs and provenance: '8 x TPU v4' or '1 x cpu'."""
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind}"
