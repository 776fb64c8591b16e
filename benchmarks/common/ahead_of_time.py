"""Compile programs for absent accelerators, and read XLA's estimates. Nothing runs."""

import collections
import importlib.util
import math
import pathlib
import re
import time
from typing import Any

TPU, CUDA = "libtpu", "jax_cuda12_plugin"  # the packages that compile
# Name -> the package, and what jax.experimental.topologies takes.
ACCELERATORS: dict[str, tuple[str, dict[str, str]]] = {
    "v5e:2x2": (TPU, {"platform": "tpu", "topology_name": "v5e:2x2"}),
    "v5e:16x16": (TPU, {"platform": "tpu", "topology_name": "v5e:16x16"}),
    "8 x H100": (CUDA, {"platform": "cuda", "topology_name": "h100", "topology": "1x1x8"}),
}
# To be set before JAX is imported.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # a program read from it does not tell its cycles
    # Without a GPU nothing is tuned, and in some shapes an untuned product of Triton's does not compile.
    "XLA_FLAGS": "--xla_gpu_enable_triton_gemm=false",
    # libtpu looks for a TPU otherwise, and prints that there is none; and a second process could not load it.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_COLLECTIVE = re.compile(r"\b(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_INSTRUCTION = re.compile(r"^ +(?:ROOT )?(%[\w.-]+) = (.*?) ([\w-]+)\((.*)$")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
# Instructions that move nothing.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
# Parts of a program by the names of its operations in JAX; a TPU computes transforms by products.
_PARTS = (("transform", "fft"), ("products", "conv_general_dilated"), ("products", "dot_general"))


def is_installed(accelerator: str) -> bool:
    """Return whether programs can be compiled for it."""
    return importlib.util.find_spec(ACCELERATORS[accelerator][0]) is not None


def devices(accelerator: str) -> list:
    """Return stand-ins of an accelerator's devices, for a mesh or pmap."""
    from jax.experimental import topologies

    package, topology = ACCELERATORS[accelerator]
    if package == CUDA:
        topology = topology | {"target_config": pathlib.Path(__file__).with_name("h100.txtpb").read_text()}
    return list(topologies.get_topology_desc(**topology).devices)


def lower_training_step(network: Any, optimizer: Any, augment: Any, images: int, devices: list) -> Any:
    """Lower the pmapped step of a training.

    Args:
      network: a `fsjax.models.network.Network`.
      optimizer: an optax.GradientTransformation.
      augment: what `fsjax.data.augment.make_augment` returns.
      images: images of one device.
      devices: what `devices` returns.
    """
    import jax  # after ENVIRONMENT is set
    import numpy as np

    from fsjax.training import state, step

    size = network.image_size
    update = step.PmappedUpdate(step.Update(network, optimizer, augment, (np.zeros(3), np.ones(3)), 0), devices)
    variables = jax.eval_shape(lambda: network.init(0))
    replica = state.TrainState(**variables, optimizer=jax.eval_shape(optimizer.init, variables["params"]))
    numbers = {name: jax.ShapeDtypeStruct((images,), np.int32) for name in ("label", "index", "epoch")}
    batch = {"image": jax.ShapeDtypeStruct((images, size, size, 3), np.uint8), **numbers}

    def on_all(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((len(devices), *leaf.shape), leaf.dtype), tree)

    return update.lower(on_all(replica), on_all(batch), 1.0, jax.ShapeDtypeStruct((len(devices),), bool))


def describe(lowered: Any, images: int) -> dict:
    """Compile a lowered program that takes `images` images on a device.

    Returns:
      `images`; `collectives`, the number of each kind; `temporary_bytes`, `argument_bytes` and
      `traffic_bytes` of a device; `cycles` of an image, XLA's estimate for a TPU (0 elsewhere), and its `parts`;
      `compile_seconds`, processor time.
    """
    began = time.process_time()
    compiled = lowered.compile()
    seconds, text = time.process_time() - began, compiled.as_text()
    memory = compiled.memory_analysis()
    parts: collections.Counter[str] = collections.Counter()
    for line in text.splitlines():
        if estimated := _CYCLES.search(line):
            parts[next((part for part, name in _PARTS if name in line), "other")] += int(estimated[1])
    return {
        "images": images,
        "collectives": dict(collections.Counter(_COLLECTIVE.findall(text))),
        "temporary_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "traffic_bytes": traffic_bytes(text),
        "cycles": sum(parts.values()) / images,
        "parts": {part: cycles / images for part, cycles in parts.items()},
        "compile_seconds": round(seconds, 1),
    }


def traffic_bytes(text: str) -> int:
    """Return the bytes that a compiled program's instructions read and write, if no cache holds them in between."""
    sizes: dict[str, int] = {}
    total = 0
    for line in text[text.index("\nENTRY ") :].splitlines():
        if found := _INSTRUCTION.match(line):
            name, shape, operation, rest = found.groups()
            sizes[name] = sum(_array_bytes(*array.groups()) for array in _ARRAY.finditer(shape))
            if operation not in _FREE:
                operands = re.findall(r"%[\w.-]+", rest.split("), ")[0])
                total += sizes[name] + sum(sizes.get(operand, 0) for operand in operands)
    return total


def _array_bytes(kind: str, bits: str | None, dimensions: str) -> int:
    """Return the bytes of an array such as bf16[8,3]; bits of c64 count both parts, and a pred takes a byte."""
    return math.prod(map(int, filter(None, dimensions.split(",")))) * int(bits or 8) // 8
