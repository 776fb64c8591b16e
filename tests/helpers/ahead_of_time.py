"""Programs compiled for accelerators that are not here.

A test file has `programs(devices)`, which yields names, lowered programs and the images that each takes on a device. It
is run as a process of its own: libtpu handles SIGTERM itself, and pytest's process tests what ours does.
"""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# What jax.experimental.topologies takes, and the package without which nothing is compiled for it.
TPUS = {name: ({"platform": "tpu", "topology_name": name}, "libtpu") for name in ("v5e:2x2", "v5e:16x16")}
TARGET = pathlib.Path(__file__).with_name("h100.txtpb")
H100S = {"platform": "cuda", "topology_name": "h100", "topology": "1x1x8"}
ACCELERATORS = {**TPUS, "8 x H100": (H100S, "jax_cuda12_plugin")}
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # a program read from it does not tell its cycles
    "XLA_FLAGS": "",
    # libtpu looks for a TPU otherwise, and prints that there is none.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_COLLECTIVE = re.compile(r"\b(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")


def compile_elsewhere(file: str) -> dict[str, dict[str, dict]]:
    """Return what XLA says of a test file's programs: accelerator -> name of the program -> row of `describe`."""
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, file], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def of_accelerator(rows: dict[str, dict[str, dict]], accelerator: str) -> dict[str, dict]:
    """Return the rows of an accelerator; skip the test where nothing is compiled for it."""
    if accelerator not in rows:
        pytest.skip(f"{ACCELERATORS[accelerator][1]} is not installed: nothing is compiled for {accelerator}")
    return rows[accelerator]


def main(programs) -> None:
    """Print the rows of a test file's programs as JSON."""
    from jax.experimental import topologies

    rows: dict[str, dict] = {}
    for name, (topology, package) in ACCELERATORS.items():
        if importlib.util.find_spec(package) is None:
            continue
        if package != "libtpu":
            topology = topology | {"target_config": TARGET.read_text()}
        devices = topologies.get_topology_desc(**topology).devices
        rows[name] = {program: describe(*lowered) for program, *lowered in programs(devices)}
    print(json.dumps(rows))


def describe(lowered, images: int) -> dict:
    """Compile a program of so many images a device.

    Returns:
      `collectives`, how many of each kind; `temporary_bytes` of a device; `cycles` of an image, as XLA estimates them
      for a TPU (0 elsewhere); `seconds` of processor time of the compilation.
    """
    began = time.process_time()
    compiled = lowered.compile()
    text, collectives = compiled.as_text(), {}
    for kind in _COLLECTIVE.findall(text):
        collectives[kind] = collectives.get(kind, 0) + 1
    return {
        "collectives": collectives,
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "cycles": sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', text))) / images,
        "seconds": round(time.process_time() - began, 1),
    }
