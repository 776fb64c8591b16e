"""The pmapped training step compiled for TPUs and H100s: the devices agree by all-reduces, and by nothing else."""

from functools import partial

import pytest

from benchmarks.common.ahead_of_time import lower_training_step
from tests.helpers import ahead_of_time
from tests.helpers.ahead_of_time import ACCELERATORS, TPUS

SIZE, IMAGES = 8, 16  # on one device
# Estimated cycles of an image on a TPU, a quarter above what they are.
CYCLES = 12_000


def programs(devices):
    """Yield the step of a residual network with BatchNorm."""
    import jax.numpy as jnp
    import optax

    from fsjax.data.augment import make_augment
    from fsjax.models.network import Network
    from fsjax.models.resnet import BasicBlock, ResNet

    one_block = partial(ResNet, BasicBlock, (1,), (16,), imagenet_stem=False)
    network, optimizer = Network(one_block, 10, SIZE, jnp.bfloat16), optax.sgd(0.1, 0.9)
    yield "step", lower_training_step(network, optimizer, make_augment("flip"), IMAGES, devices), IMAGES


@pytest.fixture(scope="module")
def rows():
    return ahead_of_time.compile_elsewhere(__file__)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_the_devices_of_a_training_agree_by_all_reduces_alone(rows, accelerator):
    (row,) = ahead_of_time.of_accelerator(rows, accelerator).values()
    assert set(row["collectives"]) == {"all-reduce"}


@pytest.mark.parametrize("accelerator", TPUS)
def test_an_image_of_a_training_step_takes_no_more_cycles_than_it_did(rows, accelerator):
    (row,) = ahead_of_time.of_accelerator(rows, accelerator).values()
    assert CYCLES / 2 < row["cycles"] < CYCLES


if __name__ == "__main__":
    ahead_of_time.main(programs)
