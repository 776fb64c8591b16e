"""Start of a process on a machine without an accelerator."""

import os
import subprocess
import sys

import pytest

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
PROGRAM = """
import jax
from fsjax.runtime import startup
startup.use_cores({batch})
print(jax.device_count())
"""


@pytest.mark.parametrize(
    ("batch", "flags", "devices"),
    [
        (16 * CORES, "", CORES),
        (33, "", 1),
        (1, "", 1),
        (64, "--xla_force_host_platform_device_count=3", 3),
    ],
)
def test_each_core_is_a_device_unless_jax_was_told_otherwise(batch, flags, devices):
    printed = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(batch=batch)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert int(printed) == devices


def test_libtpu_without_a_tpu_makes_no_process_one_of_several(tmp_path):
    (tmp_path / "libtpu.py").write_text("def get_library_path():\n    return '/libtpu.so'\n")
    program = "from fsjax.runtime import failure_detection, startup; print(startup.initialize()); "
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    done = subprocess.run(
        [sys.executable, "-c", program + "print(failure_detection.installed())"],
        env={**environment, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\nFalse\n", done.stderr
