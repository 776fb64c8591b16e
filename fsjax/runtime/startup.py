"""Start a process before JAX's first use: join the run's other processes, or make each CPU core a device."""

import logging
import os
import pathlib
import socket
from typing import Any

import jax

from fsjax.runtime import config_fields, interrupt, parallel, workers
from fsjax.runtime.errors import InputError

logger = logging.getLogger(__name__)

# A CPU core gets at least this many images of a training batch, unless the batch itself is smaller.
_LEAST_ROWS = 16


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    index: int | None = None,
    *,
    startup_seconds: int = 300,
    heartbeat_seconds: int = 100,
) -> bool:
    """Join the other processes of the run, if there are any.

    Without a coordinator, HOST:PORT of process 0, jax.distributed.initialize detects the processes of a Slurm step, of
    mpirun, or of a TPU slice on Cloud TPU VMs or GKE. If another process does not come within `startup_seconds`, or is
    silent for `heartbeat_seconds`, this process ends with status 1.

    Returns whether there are several processes. Raises InputError for an invalid or a missing value.
    """
    explicit = _are_given(coordinator, processes, index)
    for field, seconds in (("startup_seconds", startup_seconds), ("heartbeat_seconds", heartbeat_seconds)):
        config_fields.check_number(f"run.{field}", seconds, "[1, inf)")
    if not explicit and not (launcher := _launcher()):
        return False
    # We handle SIGTERM: training agrees on the step to stop at, and other stages keep their partial results.
    jax.config.update("jax_enable_preemption_service", False)
    if jax.config.jax_platforms in ("cpu", None):  # type: ignore[attr-defined]  # JAX types few of its flags
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    interrupt.end_with_the_others()
    if index == 0 and coordinator:
        _expect_free_port(coordinator)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            index,
            cluster_detection_method="deactivate" if explicit else None,
            initialization_timeout=startup_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds,
        )
    except ValueError as error:
        if explicit:
            raise
        if launcher == "TPU" and "coordinator_address" in str(error):
            return False  # no TPU VM
        got = f"{launcher} started several processes, which JAX does not find ({error})"
        raise InputError(f"{got}; give --coordinator=HOST:PORT, --processes=N and --process=I") from error
    return parallel.process()[1] > 1


def use_cores(batch_size: int) -> None:
    """Make each CPU core a device, unless JAX was given a number of devices.

    One device per core is faster than one device with a thread per core: the threads wait for each other in every
    convolution. Training splits its batch over all devices, so the number of devices divides the batch size.
    """
    forced = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    configured = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]  # JAX types few of its flags
    if forced or configured >= 0 or batch_size < 1:
        return
    possible = range(1, workers.core_count() + 1)
    fitting = [count for count in possible if batch_size % count == 0 and batch_size >= count * _LEAST_ROWS]
    jax.config.update("jax_num_cpu_devices", max(fitting, default=1))


def use_compilation_cache() -> None:
    """Cache compiled programs in $XDG_CACHE_HOME/fsjax/jax or ~/.cache/fsjax/jax, so that a restart compiles less.

    JAX's own settings come first, such as JAX_COMPILATION_CACHE_DIR. Programs for CPUs are not cached: several machines
    may share a home folder, and XLA runs a program that was compiled for another processor (jax-ml/jax#38445).
    """
    settings: Any = jax.config  # JAX types few of its flags
    chosen = settings.jax_compilation_cache_dir is not None or not settings.jax_enable_compilation_cache
    if chosen or jax.default_backend() == "cpu":
        return
    # The XDG specification ignores relative paths.
    named = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        folder = (named if named.is_absolute() else pathlib.Path.home() / ".cache") / "fsjax" / "jax"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        if parallel.is_main_process():
            logger.warning("compiled programs are not cached for the next start: %s", error)
        return
    settings.update("jax_compilation_cache_dir", str(folder))


def _are_given(coordinator: str | None, processes: int | None, index: int | None) -> bool:
    """Return whether the three flags are given; raise InputError for invalid ones."""
    if coordinator is processes is index is None:
        return False
    host, _, port = (coordinator or "").rpartition(":")
    is_address = host and port.isdecimal() and 0 < int(port) < 65536
    if not is_address or processes is None or index is None or not 0 <= index < processes:
        got = f"{coordinator}, {processes}, {index}"
        expected = "HOST:PORT of process 0, such as 10.0.0.1:8476, a number N, and 0 to N-1"
        raise InputError(f"--coordinator, --processes, --process: got {got}; expected {expected}")
    return True


def _expect_free_port(coordinator: str) -> None:
    """Raise InputError where another program listens at the port; JAX's own server sometimes dies of SIGSEGV there."""
    try:
        socket.create_server(("", int(coordinator.rpartition(":")[2]))).close()
    except OSError as error:
        raise InputError(f"--coordinator: process 0 cannot listen at {coordinator}; expected a free port") from error


def _launcher() -> str:
    """Return the launcher that started several processes of this run; '' where there is none."""

    def several(variable: str) -> bool:
        return os.environ.get(variable, "").isdecimal() and int(os.environ[variable]) > 1

    if several("SLURM_NTASKS") and "SLURM_STEP_NODELIST" in os.environ:  # only srun sets the latter
        return "Slurm"
    if several("OMPI_COMM_WORLD_SIZE"):
        return "Open MPI"
    # JAX names the platform where it detects TPU chips; libtpu alone may only be there to compile. JAX reads the number
    # of processes, which may be one, from the TPU VM's metadata or from GKE's variables.
    return "TPU" if "tpu" in (jax.config.jax_platforms or "") else ""  # type: ignore[attr-defined]
