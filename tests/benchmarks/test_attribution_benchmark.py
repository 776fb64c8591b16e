"""The peer's order in the attribution benchmark against its formula in NumPy float64, and the size of its sets."""

import numpy as np
import scipy

from benchmarks.accuracy import attribution
from fsjax.engine.model import Model

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(30, 6, 6, 2)).astype(np.float32)
WEIGHTS = RNG.normal(size=(72, 3)).astype(np.float32) / 3
MODEL = Model(lambda weights, images: images.reshape(len(images), -1) @ weights, WEIGHTS, (6, 6, 2))
LABELS = (IMAGES.reshape(30, -1) @ WEIGHTS).argmax(1)


def test_the_peers_score_is_what_its_formula_says():
    moved, flat = IMAGES.astype(float).reshape(30, -1), WEIGHTS.astype(float)
    for _ in range(2):
        slopes = (scipy.special.softmax(moved @ flat, axis=1) - np.eye(3)[LABELS]) @ flat.T
        moved = moved - 1000 * slopes
    before, after = (np.fft.fft2(of.reshape(IMAGES.shape), axes=(1, 2)) for of in (IMAGES.astype(float), moved))
    expected = 2 * (after.conj() * before).real / np.abs(before) - np.abs(before)
    found = attribution.ffc(MODEL, IMAGES, LABELS, 2)
    np.testing.assert_allclose(np.fft.ifftshift(found, axes=(1, 2)), expected, rtol=1e-4, atol=0.05)


def test_channels_keep_what_their_best_frequencies_keep():
    scores = attribution.ffc(MODEL, IMAGES, LABELS, 1)
    kept, kept_without = attribution.keep_channels(MODEL, IMAGES, LABELS, scores)
    assert kept.shape == (30, len(attribution.SHARES))
    # 5 of 72 frequencies: two pairs, or pairs with some that are their own conjugates.
    share = attribution.SHARES.index(0.08)
    for image, label, of_image, was_kept, was_without in zip(
        IMAGES, LABELS, scores, kept[:, share], kept_without[:, share], strict=True
    ):
        chosen = np.fft.ifftshift(of_image > np.sort(of_image, axis=None)[-6], axes=(0, 1))
        assert 3 <= chosen.sum() <= 5
        for mask, outcome in ((chosen, was_kept), (~chosen, was_without)):
            filtered = np.fft.ifft2(np.fft.fft2(image, axes=(0, 1)) * mask, axes=(0, 1)).real
            assert ((filtered.reshape(-1) @ WEIGHTS).argmax() == label) == outcome
