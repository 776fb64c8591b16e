"""Programs of a test file compiled for accelerators that are not here.

A test file has `programs(devices)`, which yields names, lowered programs and the images that each takes on a device. It
is run as a process of its own: libtpu handles SIGTERM itself, and pytest's process tests what ours does.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks.common.ahead_of_time import ACCELERATORS, ENVIRONMENT, TPU, describe, devices, is_installed

ROOT = pathlib.Path(__file__).parents[2]
TPUS = [name for name, (package, _) in ACCELERATORS.items() if package == TPU]


def compile_elsewhere(file: str) -> dict[str, dict[str, dict]]:
    """Return what XLA says of a test file's programs: accelerator -> name of the program -> row of `describe`."""
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    own = {"env": environment, "cwd": ROOT, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, file], **own, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def of_accelerator(rows: dict[str, dict[str, dict]], accelerator: str) -> dict[str, dict]:
    """Return the rows of an accelerator; skip the test where nothing is compiled for it."""
    if accelerator not in rows:
        pytest.skip(f"{ACCELERATORS[accelerator][0]} is not installed: nothing is compiled for {accelerator}")
    return rows[accelerator]


def main(programs) -> None:
    """Print the rows of a test file's programs as JSON."""
    rows = {}
    for name in filter(is_installed, ACCELERATORS):
        rows[name] = {program: describe(*lowered) for program, *lowered in programs(devices(name))}
    print(json.dumps(rows))
