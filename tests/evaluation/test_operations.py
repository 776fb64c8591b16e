"""Operations against NumPy, and the classes that they tell against a loop over images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.planted import photograph_cues
from fsjax.data.operations import OPERATIONS
from fsjax.engine.model import Model
from fsjax.evaluation import operations
from fsjax.evaluation.operations import Became
from fsjax.evaluation.statistics import wilson
from tests.helpers.linear_classifier import MEAN_STD

NAMES = list(OPERATIONS)
ORACLES = {
    "nearest": lambda pixels: photograph_cues._enlarged(photograph_cues._halved(pixels), 16, False),
    "bilinear": lambda pixels: photograph_cues._enlarged(photograph_cues._halved(pixels), 16, True),
    "chroma": photograph_cues._coarse_colour,
}


def done(name, pixels, key=None):
    """The image after an operation, by itself."""
    key = jax.random.key(0) if key is None else key
    return np.asarray(OPERATIONS[name](key, jnp.asarray(pixels, jnp.float32)))


@pytest.mark.parametrize("name", ORACLES)
def test_operations_are_those_of_the_planted_cues(name):
    pixels = np.random.default_rng(0).random((1, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(done(name, pixels[0]), ORACLES[name](pixels)[0], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_operations_do_to_a_grey_image_of_odd_sides_what_they_do_to_three_equal_channels(name):
    grey = np.random.default_rng(0).uniform(0.3, 0.7, (13, 9, 1)).astype(np.float32)
    after = done(name, grey)
    assert after.shape == grey.shape and (np.abs(after - grey).max() > 1e-3) == (name != "chroma")
    if name not in ("gains", "noise"):  # which draw for each channel
        np.testing.assert_allclose(done(name, grey.repeat(3, -1)), after.repeat(3, -1), atol=1e-4)


def scores(pixels):
    """Three classes: none, by a checkerboard, and by rows that differ."""
    signs = 1 - 2 * (np.indices(pixels.shape[1:3]).sum(0) % 2)[..., None]
    rows = abs(pixels[:, 1:] - pixels[:, :-1]).mean((1, 2, 3))
    return jnp.stack([rows * 0 + 0.14, 25 * abs((pixels * signs).mean((1, 2, 3))), rows], -1)


def test_shares_are_those_of_a_loop_over_images_beyond_what_neutral_operations_turn():
    levels, labels = np.random.default_rng(0).integers(40, 150, (90, 8, 8, 3)).astype(np.uint8), np.arange(90) % 3
    names, std = ("a", "b", "c"), tuple(map(np.float32, MEAN_STD))
    model = Model(lambda params, images: scores(images * std[1] + std[0]), {}, (8, 8, 3), names, std)
    found = operations.measure(model, levels, labels, 5)
    keys, before, share = jax.random.split(jax.random.key(5), 90), np.asarray(scores(levels / 255)).argmax(-1), {}
    could = (labels != np.arange(3)[:, None]) & (before != np.arange(3)[:, None])
    for name in NAMES:
        pixels = [done(name, image / 255, key) for key, image in zip(keys, levels, strict=True)]
        after = np.asarray(scores(np.clip(pixels, 0, 1))).argmax(-1)
        share[name] = [np.mean(after[could[label]] == label) for label in range(3)]
    np.testing.assert_allclose(found.share, np.stack(list(share.values()), -1))
    counts = could.sum(1)
    lower = wilson(np.rint(np.array(share["checkerboard"]) * counts), counts)[:, 0]
    beyond = lower - np.maximum(share["blur"], share["noise"])
    np.testing.assert_allclose(found.beyond[:, NAMES.index("checkerboard")], beyond)
    assert share["checkerboard"][1] > 0.3 and share["blur"][0] > 0.9
    assert [NAMES[column] for column in np.argwhere(found.used)[:, 1]] == ["checkerboard"], (
        "blur makes any image the first"
    )


def test_the_operation_furthest_beyond_the_neutral_ones_tells_a_class_where_it_is_beyond_the_margin():
    beyond = np.full((3, len(NAMES)), -1.0)
    beyond[0, :3], beyond[1, :2], beyond[2, 0] = (0.3, 0.5, 0.1), (0.19, np.nan), np.nan
    assert np.argwhere(Became(beyond, beyond).used).tolist() == [[0, 1]] and operations.MARGIN == 0.2
