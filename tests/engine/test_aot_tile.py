"""Search tiles compiled for TPUs and H100s: no device waits for another, no image takes more, and a size fits."""

import dataclasses

import numpy as np
import pytest

from tests.helpers import ahead_of_time
from tests.helpers.ahead_of_time import ACCELERATORS, TPUS

pytestmark = pytest.mark.slow

SIZE, IMAGES, MASKS = 4, 64, 4  # on one device
# Estimated cycles of an image on a TPU, a quarter above what they are.
CYCLES = {"masks": 370, "removal by products": 370, "graft": 380}
# MiB for a tile of a network whose features lie in a TPU's vector memory up to some hundred images, and then do not.
WIDE, MEMORY_MIB, MOST_IMAGES = 65536, 48, 512


def programs(devices):
    """Yield a tile of each kind of perturbation, of a classifier with two convolutions."""
    import jax
    from jax.sharding import Mesh

    from fsjax.engine import tile
    from fsjax.engine.model import Model, graft_model
    from fsjax.runtime import parallel

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
    import jax
    from jax.sharding import Mesh

    from fsjax.engine import tile, tile_size
    from fsjax.engine.model import Model
    from fsjax.runtime import parallel

    def apply(params, images):
        return jax.nn.relu(images.reshape(len(images), -1) @ params[0]) @ params[1]

    model = Model(apply, [np.zeros((3 * SIZE**2, WIDE), np.float32), np.zeros((WIDE, 8), np.float32)], (SIZE, SIZE, 3))
    parallel.local_devices, tile_size.MOST_IMAGES = lambda: devices, MOST_IMAGES
    images = tile_size.fit(model, resident_images=1, memory_mib=MEMORY_MIB)
    mesh = Mesh(np.array(devices[:1]), (parallel.AXIS,))
    return "chosen size", tile.make_tile(model, ("loss",), mesh).lower(*tile.tile_shapes(model, 1, images)), images


@pytest.fixture(scope="module")
def rows():
    return ahead_of_time.compile_elsewhere(__file__)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_nothing_passes_between_the_devices_of_a_tile(rows, accelerator):
    for name, row in ahead_of_time.of_accelerator(rows, accelerator).items():
        assert row["collectives"] == {}, name


@pytest.mark.parametrize("accelerator", TPUS)
def test_an_image_of_a_tile_takes_no_more_cycles_than_it_did(rows, accelerator):
    of_accelerator = ahead_of_time.of_accelerator(rows, accelerator)
    for name, most in CYCLES.items():
        assert most / 2 < of_accelerator[name]["cycles"] < most, name


def test_a_tile_of_the_size_chosen_fits_where_small_tiles_say_nothing_of_it(rows):
    row = ahead_of_time.of_accelerator(rows, "v5e:2x2")["chosen size"]
    assert 16 < row["images"] < MOST_IMAGES
    assert row["temporary_bytes"] + row["argument_bytes"] <= MEMORY_MIB * 2**20


if __name__ == "__main__":
    ahead_of_time.main(programs)
