"""Four CPU devices for those who ask, one compilation a program, and every jaxtyping signature of fsjax checked."""

import atexit
import functools
import gc
import importlib.metadata
import os
import shutil
import tempfile

# Most of the time goes into compiling programs that run once. LLVM need not optimise these; XLA's emitters of before
# MLIR take half as long for them; and one LLVM module a program compiles faster than up to 32 small ones.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=1",
        # XLA ends a process that sets a flag it does not know, and these two may go.
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        if importlib.metadata.version("jaxlib").startswith(("0.8.", "0.9.", "0.10."))
        else "",
    ]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# PyTorch's threads spin while they wait: beside JAX's on a busy machine, small models then take eight times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Restarts, the processes that tests start and pytest-xdist's workers compile the same programs again and again.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="fsjax-tests-")
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("fsjax", "beartype.beartype")

# XLA reads the flags once, and the last of a name counts. Processes that tests start have one device, unless they are
# given more.
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XLA_FLAGS", f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4")
    jax.devices()

# Tracing makes many small objects, none of them garbage: collecting every 700 took 3 to 12 % of the time of two files.
gc.set_threshold(200_000, 50, 50)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """Files of tests need not outlive the machine, and a kill of a process loses nothing that it has written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_device():
    """Search and evaluate on one device where a test asks for no others: they would take turns on a core."""
    from fsjax.runtime import parallel

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "local_devices", lambda: jax.local_devices()[:1])
        yield


@pytest.fixture
def launch(monkeypatch, capfd):
    """Runs launch.py in this process: arguments -> exit status, what it printed."""
    from tests.helpers.processes import launched

    return functools.partial(launched, monkeypatch, capfd)


@pytest.fixture
def undrawn(monkeypatch):
    """The reports of a test have figures that are made and not drawn."""
    from tests.helpers.undrawn import leave_undrawn

    leave_undrawn(monkeypatch)
