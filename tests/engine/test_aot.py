"""Programs compiled for TPUs and H100s that are not here: what passes between devices, cycles of an image, memory.

They are compiled in a process of its own: libtpu handles SIGTERM itself, and pytest's process tests what ours does.
"""

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from ml_collections import ConfigDict

from benchmarks.common import ahead_of_time
from benchmarks.common.ahead_of_time import ACCELERATORS
from fsjax import search
from fsjax.data.augment import make_augment
from fsjax.engine import tile, tile_size
from fsjax.engine.model import Model, graft_model
from fsjax.fourier import spectrum
from fsjax.models.network import Network
from fsjax.models.resnet import BasicBlock, ResNet
from fsjax.runtime import parallel
from fsjax.search import stepwise
from fsjax.search.mask_optimisation import MaskOptimisation
from tests.helpers import search_problem

ROOT = pathlib.Path(__file__).parents[2]
SIZE, IMAGES, MASKS, TASKS = 4, 64, 4, 2  # on one device
# Estimated cycles of an image on a TPU, a quarter above what they are.
CYCLES = {"learned": 1300, "training": 12_000, "masks": 370, "removal by products": 370, "graft": 380}
# MiB for a tile of a network whose features lie in a TPU's vector memory up to some hundred images, and then do not.
WIDE, MEMORY_MIB, MOST_IMAGES = 65536, 48, 512


def steps(devices):
    """Yield name, lowered program and images on a device: the learned search's loop, and a training step."""

    def apply(params, images):
        hidden, out = params
        return jnp.tanh(images.reshape(len(images), -1) @ hidden) @ out

    options = search.options("learned", shares=(0.2,))
    options.learned.batch = IMAGES
    weights = [np.zeros(shape, np.float32) for shape in ((SIZE * SIZE * 3, 8), (8, 3))]
    model, images = Model(apply, weights, (SIZE, SIZE, 3)), [np.zeros((IMAGES, SIZE, SIZE, 3), np.float32)] * 3
    run = ConfigDict({"memory_mib": 0, "save_seconds": 0.0})
    problem = search_problem.made(model, images, options=options, run=run)
    scores = np.zeros(len(spectrum.orbit_sizes(SIZE, SIZE)))
    layout = {"batch_images": IMAGES, "tasks_per_device": TASKS}
    optimisation = MaskOptimisation(problem, [3], lambda label, share: scores, layout)
    mesh = Mesh(np.array(devices), (parallel.AXIS,))
    take = stepwise.make_steps(optimisation, mesh, "highest", loops=True)

    def of_all_tasks(tree):
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((TASKS * mesh.size, *leaf.shape), leaf.dtype), tree)

    state = of_all_tasks((np.array(0, np.int32), optimisation.initial_state(0)))
    inputs, (batch,) = map(of_all_tasks, (optimisation.inputs(0), optimisation.batches(0)))
    beside = [task % optimisation.count for task in range(TASKS * mesh.size)]
    lowered = take.lower(problem.model.params, optimisation.shared(beside), inputs, [batch], 10, state)
    yield "learned", lowered, TASKS * IMAGES

    one_block = functools.partial(ResNet, BasicBlock, (1,), (16,), imagenet_stem=False)
    network, optimizer = Network(one_block, 10, 8, jnp.bfloat16), optax.sgd(0.1, 0.9)
    yield "training", ahead_of_time.lower_training_step(network, optimizer, make_augment("flip"), 16, devices), 16


def tiles(devices):
    """Yield a tile of each kind of perturbation, of a classifier with two convolutions, and one of a chosen size."""

    def apply(params, images):
        features = images
        for kernel in params:
            numbers = ("NHWC", "HWIO", "NHWC")
            made = jax.lax.conv_general_dilated(features, kernel, (1, 1), "SAME", dimension_numbers=numbers)
            features = jax.nn.relu(made)
        return features.mean((1, 2))

    kernels = [np.zeros((3, 3, inputs, 8), np.float32) for inputs in (3, 8)]
    model = Model(apply, kernels, (SIZE, SIZE, 3))
    mesh = Mesh(np.array(devices), (parallel.AXIS,))
    products = dataclasses.replace(model, transform="dft")
    for name, form in {"masks": model, "removal by products": products, "graft": graft_model(model)}.items():
        params, perturbations, batch = tile.tile_shapes(form, MASKS * len(devices), IMAGES)
        if form is products:
            perturbations = tile.Perturbations(jax.ShapeDtypeStruct((MASKS * len(devices), 3), np.int32))
        lowered = tile.make_tile(form, ("loss", "correct"), mesh).lower(params, perturbations, batch)
        yield name, lowered, MASKS * IMAGES
    if len(devices) <= 8:  # a size is one device's, whatever the number of devices
        yield of_chosen_size(devices)


def of_chosen_size(devices):
    """The tile of the size that tile_size chooses for a device, where it knows the device's memory."""

    def apply(params, images):
        return jax.nn.relu(images.reshape(len(images), -1) @ params[0]) @ params[1]

    model = Model(apply, [np.zeros((3 * SIZE**2, WIDE), np.float32), np.zeros((WIDE, 8), np.float32)], (SIZE, SIZE, 3))
    parallel.local_devices, tile_size.MOST_IMAGES = lambda: devices, MOST_IMAGES
    images = tile_size.fit(model, resident_images=1, memory_mib=MEMORY_MIB)
    mesh = Mesh(np.array(devices[:1]), (parallel.AXIS,))
    return "chosen size", tile.make_tile(model, ("loss",), mesh).lower(*tile.tile_shapes(model, 1, images)), images


@functools.cache
def compiled(kind):
    """Return what XLA says of the programs: accelerator -> name of the program -> row of `ahead_of_time.describe`."""
    environment = {**os.environ, **ahead_of_time.ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    own = {"env": environment, "cwd": ROOT, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, __file__, kind], **own, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("kind", ["steps", pytest.param("tiles", marks=pytest.mark.slow)])
def test_devices_agree_by_all_reduces_in_training_alone_and_an_image_takes_no_more_cycles(kind, accelerator):
    if accelerator not in compiled(kind):
        pytest.skip(f"{ACCELERATORS[accelerator][0]} is not installed: nothing is compiled for {accelerator}")
    for name, row in compiled(kind)[accelerator].items():
        assert set(row["collectives"]) == ({"all-reduce"} if name == "training" else set()), name
        if name != "chosen size" and ACCELERATORS[accelerator][0] == ahead_of_time.TPU:
            assert CYCLES[name] / 2 < row["cycles"] < CYCLES[name], name


@pytest.mark.slow
def test_a_tile_of_the_size_chosen_fits_where_small_tiles_say_nothing_of_it():
    row = compiled("tiles")["v5e:2x2"]["chosen size"]
    assert 16 < row["images"] < MOST_IMAGES
    assert row["temporary_bytes"] + row["argument_bytes"] <= MEMORY_MIB * 2**20


if __name__ == "__main__":
    programs, found = {"steps": steps, "tiles": tiles}[sys.argv[1]], {}
    for name in filter(ahead_of_time.is_installed, ACCELERATORS):
        made = programs(ahead_of_time.devices(name))
        found[name] = {program: ahead_of_time.describe(*lowered) for program, *lowered in made}
    print(json.dumps(found))
