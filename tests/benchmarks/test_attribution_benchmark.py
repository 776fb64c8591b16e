"""Other methods of the attribution benchmark against closed forms and NumPy float64."""

import jax.numpy as jnp
import numpy as np
import scipy

from benchmarks.accuracy import attribution
from benchmarks.accuracy import attribution_rivals as rivals
from fsjax.engine.model import Model
from fsjax.evaluation.attribution import BaselineGrafts
from fsjax.fourier import spectrum
from tests.helpers.plane import real, spectra

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(11, 3, 4, 2)).astype(np.float32)
WEIGHTS = RNG.normal(size=(24, 3)).astype(np.float32) / 3
MODEL = Model(lambda weights, images: images.reshape(len(images), -1) @ weights, WEIGHTS, (3, 4, 2))
LABELS = (IMAGES.reshape(11, -1) @ WEIGHTS).argmax(1)
ORBITS = spectrum.orbits(3, 4)


def rise_by_orbit(images, direction):
    """What each orbit adds to a linear function, [n, orbits]."""
    chosen = [(number == ORBITS)[None, :, :, None] for number in range(ORBITS.max() + 1)]
    return np.stack([(real(spectra(images) * mask) * direction).sum((1, 2, 3)) for mask in chosen], axis=1)


def linear_probability(slope):
    """A model whose probability of class 1 is 1/2 + <slope, image>."""

    def apply(slope, images):
        probability = 0.5 + (images * slope).sum((1, 2, 3))
        return jnp.log(jnp.stack([1 - probability, probability], axis=1))

    return Model(apply, slope.astype(np.float32), slope.shape)


def test_ffc_scores_are_what_its_formula_says():
    moved, flat, expected = IMAGES.astype(float).reshape(11, -1), WEIGHTS.astype(float), []
    before = spectra(IMAGES)
    for _ in range(3):
        slopes = (scipy.special.softmax(moved @ flat, axis=1) - np.eye(3)[LABELS]) @ flat.T
        moved = moved - 1000 * slopes
        after = spectra(moved.reshape(IMAGES.shape))
        expected.append(2 * (after.conj() * before).real / np.abs(before) - np.abs(before))
    found = rivals.ffc(MODEL, IMAGES, LABELS, (1, 3))
    np.testing.assert_allclose(found, [expected[0], expected[2]], rtol=1e-4, atol=0.05)


def test_freqrise_and_integrated_gradients_of_a_linear_probability_follow_what_an_orbit_adds():
    slope = WEIGHTS[:, 0].reshape(3, 4, 2) / 50
    count = ORBITS.max() + 1
    every = (np.arange(2**count)[:, None] >> np.arange(count) & 1).astype(np.float32)[:, ORBITS]
    added = rise_by_orbit(IMAGES, slope.astype(float))
    found = rivals.freqrise(linear_probability(slope), IMAGES, np.ones(11, int), every)
    # Half of the masks with an orbit have any other: 1/2 + its own term + half of the others' terms.
    expected = 0.5 + added / 2 + added.sum(1, keepdims=True) / 2
    np.testing.assert_allclose(found[..., 0], expected[:, ORBITS], rtol=2e-5)
    margin = Model(lambda w, x: jnp.stack([0 * x[:, 0, 0, 0], (x * w).sum((1, 2, 3))], 1), slope, slope.shape)
    grafts = BaselineGrafts(margin, IMAGES, np.zeros_like(IMAGES))
    signs = np.where(grafts.predicted == 1, 1, -1)[:, None, None]
    np.testing.assert_allclose(attribution.integrated_gradients(grafts, 3), signs * added[:, ORBITS], atol=1e-6)


def test_masks_of_freqrise_are_smooth_in_range_and_constant_on_orbits():
    drawn = rivals.draw_masks((12, 15), 400, 4, seed=1)
    assert drawn.shape == (400, 12, 15) and spectrum.is_hermitian(drawn)
    assert drawn.min() == 0 and drawn.max() == 1 and ((drawn > 0.2) & (drawn < 0.8)).mean() > 0.2
    np.testing.assert_allclose(drawn.mean(0), 0.5, atol=0.1)


def test_sets_are_the_best_orbits_of_the_plane_or_of_single_channels_and_keep_what_numpy_says():
    order = RNG.normal(size=(11, 3, 4, 2))
    for scores in (order[..., :1], order):
        chosen = rivals.first(scores, 5.5 / 12)
        means = np.stack([scores[:, number == ORBITS].mean(1) for number in range(ORBITS.max() + 1)], axis=1)
        for image in range(11):
            ranked, taken = np.argsort(-means[image], axis=None), np.zeros(chosen.shape[1:], bool)
            for orbit, channel in zip(*np.unravel_index(ranked, means[image].shape), strict=True):
                members = orbit == ORBITS
                if taken.sum() + members.sum() > int(5.5 / 12 * scores[0].size):
                    break
                taken[..., channel] |= members
            np.testing.assert_array_equal(chosen[image], taken)
        logits = real(spectra(IMAGES) * chosen).reshape(11, -1) @ WEIGHTS.astype(float)
        probability, kept = rivals.outcomes(MODEL, IMAGES, LABELS, chosen)
        np.testing.assert_allclose(probability, scipy.special.softmax(logits, axis=1)[range(11), LABELS], atol=1e-5)
        np.testing.assert_array_equal(kept, logits.argmax(1) == LABELS)


def test_the_smallest_share_is_the_first_that_keeps_enough_on_a_line_over_its_logarithm():
    shares = np.array([0.01, 0.04])
    assert attribution.smallest(shares, np.array([0.9, 0.8]), 0.8) == 0.01
    np.testing.assert_allclose(attribution.smallest(shares, np.array([0.6, 1.0]), 0.8), 0.02)
    np.testing.assert_allclose(attribution.smallest(shares, np.array([0.2, 0.4]), 0.7), 0.04**0.5 * 1**0.5)


def test_what_a_part_leaves_has_the_measures_of_every_order(monkeypatch):
    monkeypatch.setattr(attribution, "LEAST", 2 / 12)
    monkeypatch.setattr(attribution, "orders", lambda *_: {attribution.OURS: (0, energies), "other": (0, -energies)})
    energies = rivals.energy(IMAGES[:3])
    np.testing.assert_allclose(energies[..., 0], (np.abs(spectra(IMAGES[:3])) ** 2).sum(-1))
    cue = ORBITS[0, 0] == ORBITS
    part = attribution.subjects.Part(MODEL, IMAGES[:3], ["a", "a", "b"], np.broadcast_to(cue, (3, 3, 4)))
    found = attribution.measure(part)
    assert found["shares"] == [0.32] and list(found["orders"]) == [attribution.OURS, "other"]
    for sign, row in zip((1, -1), found["orders"].values(), strict=True):
        assert np.shape(row["insertion"]) == np.shape(row["deletion_kept"]) == (3, 1)
        by_orbit = sign * np.stack([energies[:, number == ORBITS].mean(1) for number in range(ORBITS.max() + 1)], 1)
        np.testing.assert_allclose(row["AP"], 1 / (1 + (by_orbit > by_orbit[:, ORBITS[cue][:1]]).sum((1, 2))))
    assert attribution.table([found]).startswith("3 images, 2 units")
