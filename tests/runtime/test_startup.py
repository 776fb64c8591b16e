"""Start of a process: which devices it uses, which processes it joins, and where it caches compiled programs."""

import os
import signal
import subprocess
import sys

import pytest

from tests.helpers.processes import ROOT, python

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
USE_CORES = """
import sys
import jax
from fsjax.runtime import startup
startup.use_cores(int(sys.argv[1]))
print(jax.device_count())
"""


@pytest.mark.parametrize(
    ("batch", "flags", "devices"),
    [(16 * CORES, "", CORES), (33, "", 1), (64, "--xla_force_host_platform_device_count=3", 3)],
)
def test_each_core_is_a_device_unless_jax_was_told_otherwise(batch, flags, devices):
    assert int(python(USE_CORES, batch, XLA_FLAGS=flags).stdout) == devices


def test_libtpu_without_a_tpu_makes_no_process_one_of_several(tmp_path):
    (tmp_path / "libtpu.py").write_text("def get_library_path():\n    return '/libtpu.so'\n")
    program = "from fsjax.runtime import interrupt, startup; print(startup.initialize(), interrupt.one_of_several())"
    done = python(program, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]), JAX_PLATFORMS=None)
    assert done.stdout == "False False\n", done.stderr


CACHE = """
import logging, os, sys
logging.basicConfig(format="%(message)s", stream=sys.stderr)
import jax
from fsjax.runtime import startup
jax.default_backend = lambda: sys.argv[1]
startup.use_compilation_cache()
print(jax.config.jax_compilation_cache_dir)
"""


def test_programs_are_cached_where_xdg_or_jax_says_and_a_folder_that_cannot_be_written_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("no folder")
    settings = {
        "xdg": {"XDG_CACHE_HOME": str(tmp_path / "xdg")},
        "home": {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "relative"},
        "jax": {"XDG_CACHE_HOME": str(tmp_path / "unused"), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax")},
        "off": {"XDG_CACHE_HOME": str(tmp_path / "unused"), "JAX_ENABLE_COMPILATION_CACHE": "false"},
        "cpu": {"XDG_CACHE_HOME": str(tmp_path / "unused")},
        "unwritable": {"XDG_CACHE_HOME": str(tmp_path / "file")},
    }
    common = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    pipes, running = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}, {}
    for name, changes in settings.items():
        command = [sys.executable, "-c", CACHE, "cpu" if name == "cpu" else "gpu"]
        running[name] = subprocess.Popen(command, env={**common, **changes}, **pipes)
    printed = {name: process.communicate(timeout=120) for name, process in running.items()}
    folders = {"xdg": "xdg/fsjax/jax", "home": "home/.cache/fsjax/jax", "jax": "jax"}
    expected = {name: str(tmp_path / folders[name]) if name in folders else "None" for name in settings}
    assert {name: out.strip() for name, (out, _) in printed.items()} == expected
    assert not (tmp_path / "unused").exists()
    warning = printed.pop("unwritable")[1]
    assert warning.startswith("compiled programs are not cached for the next start: ") and warning.count("\n") == 1
    assert str(tmp_path / "file") in warning
    assert not any(errors for _, errors in printed.values())


# Signals


PROGRAM = """
import os, signal, sys
from fsjax.runtime import interrupt
number = int(sys.argv[1])
interrupt.install()
interrupt.check()
os.kill(os.getpid(), number)
print(interrupt.requested(), interrupt.exit_status(), interrupt.exit_status(otherwise=1))
try:
    interrupt.check()
except interrupt.Terminated:
    print("stops here", flush=True)
os.kill(os.getpid(), number)
print("goes on")
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_stops_at_a_safe_point_and_the_second_at_once(number, status):
    done = python(PROGRAM, int(number), PYTHONPATH=str(ROOT))
    assert (done.stdout, done.stderr) == (f"True {status} {status}\nstops here\n", "")
    assert done.returncode == -number, "as by default, which a shell shows as 128 + the signal"


def test_a_process_without_a_signal_stops_as_the_others_do_or_says_that_it_lost_them():
    program = "from fsjax.runtime import interrupt; print(interrupt.exit_status(), interrupt.exit_status(otherwise=1))"
    assert python(program, PYTHONPATH=str(ROOT)).stdout == "143 1\n"
