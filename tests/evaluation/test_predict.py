"""Logits of a whole data set."""

import numpy as np
import pytest

from fsjax.data.dataset import ArrayDataset
from fsjax.engine.model import NORMALISED
from fsjax.evaluation.predict import make_predictor


def apply(params, images):
    return images.mean((1, 2)) * params


@pytest.mark.parametrize("images", [1, 21])
def test_logits_are_of_images_normalised_as_each_predictor_says_though_they_share_a_program(images):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 5, 4, 3)).astype(np.uint8)
    dataset = ArrayDataset(pixels, np.zeros(images, int), ("a",))
    scale = np.array([1, -2, 3], np.float32)
    half = np.full(3, 0.5), np.full(3, 0.25)
    for mean, std in (half, (rng.random(3), 1 + rng.random(3)), half):
        rows, logits = zip(*make_predictor(apply, mean, std)(scale, dataset), strict=True)
        np.testing.assert_array_equal(np.concatenate(rows), np.arange(images))
        expected = ((pixels / 255 - mean) / std).mean((1, 2)) * scale
        np.testing.assert_allclose(np.concatenate(logits), expected, atol=1e-5)
    ((_, logits),) = make_predictor(apply, *NORMALISED, batch_size=1)(
        scale, ArrayDataset(pixels[:1], np.zeros(1, int), ("a",))
    )
    np.testing.assert_allclose(logits, pixels[:1].mean((1, 2)) * scale, rtol=1e-5)
