"""Devices and processes: the only file that names them."""

import importlib.util
import json
import os
import socket
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Float, Num

from fsjax.runtime import failure_detection
from fsjax.runtime.errors import InputError

# The one axis that batches (training) and perturbations (searching) are split over.
AXIS = "devices"

# Numbers in a message between processes: few enough for those of a thousand processes to lie in memory together.
_MESSAGE = 2**16


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    index: int | None = None,
    *,
    startup_seconds: int = 300,
    heartbeat_seconds: int = 100,
) -> bool:
    """Joins the other processes of the run, where there are any; before JAX's first use.

    Without arguments the processes are those of a Slurm step, of mpirun, or of a TPU slice, on Cloud TPU VMs and on
    GKE, as jax.distributed.initialize finds them. Ends the process with a line and status 1 where one of the others
    does not come, or is lost later.

    Args:
      coordinator: HOST:PORT of process 0, as all of them reach it; or None, with the next two.
      processes: how many there are.
      index: which one this is, from 0.
      startup_seconds: how long the others are waited for.
      heartbeat_seconds: how long a process may be silent before it counts as lost.

    Returns:
      Whether there are several.

    Raises:
      InputError: some of coordinator, processes and index without the others, or values that cannot be.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process": index}
    told = _told(given)
    for field, seconds in (("startup_seconds", startup_seconds), ("heartbeat_seconds", heartbeat_seconds)):
        if seconds < 1:
            raise InputError(f"run.{field}: got {seconds}; expected 1 or more")
    if not told and not (found := _environment()):
        return False
    # SIGTERM is ours: training agrees on the step to stop in, and other stages keep what they have.
    jax.config.update("jax_enable_preemption_service", False)
    if jax.config.jax_platforms in ("cpu", None):  # type: ignore[attr-defined]  # of JAX's flags its types tell few
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    failure_detection.install()
    if told:
        failure_detection.set_process_name(f"process {index} of {processes}")
        if index == 0 and coordinator is not None:
            _check_free(coordinator)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            index,
            cluster_detection_method="deactivate" if told else None,
            initialization_timeout=startup_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds,
        )
    except ValueError as error:
        if told:
            raise
        if found == "TPU" and "coordinator_address" in str(error):
            return False  # libtpu is installed, and this is no TPU VM
        raise InputError(
            f"{found} started several processes, which JAX does not find ({error}); give --coordinator=HOST:PORT, "
            "--processes=N and --process=I"
        ) from error
    own, count = process()
    failure_detection.set_process_name(f"process {own} of {count}")
    return count > 1


def _told(given: dict[str, Any]) -> bool:
    """Whether the three flags are there; raises InputError where they cannot be used."""
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return False
    if missing:
        raise InputError(f"{', '.join(missing)}: missing; expected --coordinator, --processes and --process together")
    coordinator, processes, index = given.values()
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--coordinator: got {coordinator!r}; expected HOST:PORT of process 0, such as 10.0.0.1:8476")
    if processes < 1:
        raise InputError(f"--processes: got {processes}; expected 1 or more")
    if not 0 <= index < processes:
        raise InputError(f"--process: got {index}; expected 0 to {processes - 1}, with --processes={processes}")
    return True


def _check_free(coordinator: str) -> None:
    """Raises InputError where this machine cannot listen at the port; JAX's runtime may crash on it."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", int(coordinator.rpartition(":")[2])), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        raise InputError(
            f"--coordinator: process 0 cannot listen at {coordinator} ({error.strerror}); expected a free port"
        ) from error


def _environment() -> str:
    """What has started several processes that belong together; '' for nothing that is known."""

    def several(variable: str) -> bool:
        return os.environ.get(variable, "").isdecimal() and int(os.environ[variable]) > 1

    if several("SLURM_NTASKS") and "SLURM_STEP_NODELIST" in os.environ:  # the latter is there under srun alone
        return "Slurm"
    if several("OMPI_COMM_WORLD_SIZE"):
        return "Open MPI"
    # JAX asks the TPU VM's metadata, or GKE's variables, how many there are: one, too, is an answer.
    return "TPU" if importlib.util.find_spec("libtpu") else ""


# A CPU's cores are given fewer images of a training batch than this only where the batch itself is smaller.
_LEAST_ROWS = 16


def use_cores(batch_size: int) -> None:
    """Makes each core of a CPU a device, where JAX has not been told how many there are; before JAX's first use.

    A device a core computes faster than one device with a thread a core, whose threads wait for each other in every
    convolution. Training splits its batch over all devices, so there are as many as divide it.
    """
    told = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    asked = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]  # of JAX's flags its types tell few
    if told or asked >= 0 or batch_size < 1:
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


def decide(find: Callable[[], Any]) -> Any:
    """What `find`, called in the main process alone, returns there, a JSON value, in every process.

    All have to call it, and none goes on before the main process has found it; its InputError is raised in all.
    """
    if jax.process_count() == 1:
        return find()
    found, refused = None, None
    if is_main_process():
        try:
            found = find()
        except InputError as error:
            refused = str(error)
    found, refused = from_main([found, refused])
    if refused is not None:
        raise InputError(refused)
    return found


def wait_for_main() -> None:
    """Returns when the main process, and with it all, has come here; all have to call it."""
    from_main(None)


def merge(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return what the processes know together, in float64, each with NaN where it knows nothing. Collective."""
    if jax.process_count() == 1:
        return values.astype(np.float64, copy=False)
    return _by_messages(values, np.nan, _first_known)


def total(values: Num[np.ndarray, "*shape"]) -> Num[np.ndarray, "*shape"]:
    """Return the sum over the processes, computed in float64 and the same bits in all of them. Collective."""
    if jax.process_count() == 1:
        return values
    return _by_messages(values, 0.0, lambda gathered: gathered.sum(0)).astype(values.dtype)


def _first_known(gathered: Float[np.ndarray, "processes n"]) -> Float[np.ndarray, " n"]:
    return gathered[(~np.isnan(gathered)).argmax(0), np.arange(gathered.shape[1])]


def _by_messages(
    values: Num[np.ndarray, "*shape"], filler: float, combine: Callable[[np.ndarray], np.ndarray]
) -> Float[np.ndarray, "*shape"]:
    """Combine what the processes bring message by message, so that many processes need little memory at once."""
    width = max(1, min(values.size, _MESSAGE))
    row = values.astype(np.float64).ravel()
    messages = np.pad(row, (0, -len(row) % width), constant_values=filler).reshape(-1, width)
    combined = [combine(_gathered(message)) for message in messages]
    return np.concatenate([np.zeros(0), *combined])[: values.size].reshape(values.shape)


def _gathered(message: Float[np.ndarray, " n"]) -> Float[np.ndarray, "processes n"]:
    """A float64 message of every process; JAX would round it to float32 on the way, so its bits travel as integers."""
    return np.asarray(multihost_utils.process_allgather(message.view(np.uint32))).view(np.float64)


def free_bytes() -> int | None:
    """Memory that is free on the fullest local device; None where devices do not say, as CPUs do not."""
    stats = _memory()
    return min(stat["bytes_limit"] - stat["bytes_in_use"] for stat in stats) if stats else None


def peak_bytes() -> int | None:
    """The most memory that has been in use on a local device; None where devices do not say, as CPUs do not."""
    stats = _memory()
    return max(stat["peak_bytes_in_use"] for stat in stats) if stats else None


def _memory() -> list[dict[str, int]]:
    """Of each local device; nothing where one of them does not say."""
    stats = [device.memory_stats() for device in local_devices()]
    return stats if all(stats) else []


def host_bytes() -> int:
    """Memory of this machine, which is also that of its CPU devices together."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def describe() -> str:
    """The accelerator in words, for logs and provenance: '8 x TPU v4' or '1 x cpu'."""
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind}"
