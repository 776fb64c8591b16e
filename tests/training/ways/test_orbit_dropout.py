"""Orbit dropout against NumPy in float64: whole orbits go, DC stays, at the rates asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, binomtest, chisquare

from fsjax.data.augment import image_keys
from fsjax.fourier import spectrum
from fsjax.training.ways import orbit_dropout
from tests.helpers.plane import spectra


def keys(indices):
    return image_keys(0, jnp.zeros(len(indices), int), jnp.asarray(indices))


@pytest.mark.parametrize("size", [8, 7])
def test_each_orbit_but_dc_is_removed_or_left(size):
    images = np.random.default_rng(0).normal(size=(400, size, size, 3)).astype(np.float32)
    apply = jax.jit(orbit_dropout.make_orbit_dropout(size, 0.6, 0.3))
    made = np.asarray(apply(keys(range(400)), np.zeros(400, int), images))
    before, after = spectra(images), spectra(made)
    gone = np.abs(after).max(-1) < 1e-4
    np.testing.assert_allclose(after, np.where(gone[..., None], 0, before), atol=2e-4)
    changed = np.array([not np.array_equal(a, b) for a, b in zip(images, made, strict=True)])
    assert binomtest(int(changed.sum()), 400, 0.6).pvalue > 1e-3
    assert not gone[~changed].any() and not gone[:, size // 2, size // 2].any()
    orbits = spectrum.orbits(size, size)
    others = np.delete(np.arange(orbits.max() + 1), orbits[size // 2, size // 2])
    each = np.stack([gone[changed][:, orbits == orbit] for orbit in others if (orbits == orbit).sum() == 2])
    assert (each[..., 0] == each[..., 1]).all(), "with its conjugate"
    per_orbit = spectrum.per_orbit(gone[changed])[:, others]
    assert binomtest(int(per_orbit.sum()), per_orbit.size, 0.3).pvalue > 1e-3
    # Independent orbits: the number that an image loses is binomial.
    edges = binom.ppf([0, 0.25, 0.5, 0.75, 1], len(others), 0.3)
    counts = np.histogram(per_orbit.sum(1), np.append(-1, edges[1:]) + 0.5)[0]
    expected = np.diff(binom.cdf(np.append(-1, edges[1:]), len(others), 0.3)) * len(per_orbit)
    assert chisquare(counts, expected).pvalue > 1e-3


def test_an_image_loses_the_same_orbits_in_any_batch():
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 3)).astype(np.float32)
    apply = jax.jit(orbit_dropout.make_orbit_dropout(6, 1.0, 0.5))
    whole = np.asarray(apply(keys(range(8)), np.zeros(8, int), images))
    np.testing.assert_allclose(apply(keys([5, 2]), np.zeros(2, int), images[[5, 2]]), whole[[5, 2]], atol=1e-6)
    means = np.asarray(jax.jit(orbit_dropout.make_orbit_dropout(6, 1.0, 1.0))(keys(range(8)), np.zeros(8, int), images))
    np.testing.assert_allclose(means, np.broadcast_to(images.mean((1, 2), keepdims=True), images.shape), atol=1e-6)
