"""Attributions of single images against closed forms and NumPy float64, and in bad hands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

import fsjax
from fsjax.fourier import masks, spectrum
from fsjax.runtime import parallel, progress
from tests.helpers.plane import real, spectra
from tests.helpers.refused import refused

PLANE, COUNT = (6, 7), 9
SHARES = (0.05, 0.2, 0.5)
RNG = np.random.default_rng(0)
HIDDEN, OUT = RNG.normal(size=(84, 8)).astype(np.float32) / 3, RNG.normal(size=(8, 3)).astype(np.float32)
IMAGES, BASELINES = (RNG.normal(size=(COUNT, *PLANE, 2)).astype(np.float32) for _ in range(2))
ORBITS = spectrum.orbits(*PLANE)


def network(images):
    return jnp.tanh(images.reshape(len(images), -1) @ HIDDEN) @ OUT


def logits_of(images):
    """The same network in NumPy float64."""
    return np.tanh(images.reshape(len(images), -1) @ HIDDEN.astype(float)) @ OUT.astype(float)


def log_odds(images, labels):
    logits = logits_of(images)
    others = np.where(np.arange(3) == labels[:, None], -np.inf, logits)
    return logits[np.arange(len(images)), labels] - scipy.special.logsumexp(others, axis=1)


def grafts(images, baselines, chosen):
    """Baselines with the frequencies of images that a mask of each chooses, in NumPy float64."""
    return baselines + real(spectra(images.astype(float) - baselines) * chosen[..., None])


@pytest.fixture(scope="module")
def found():
    return fsjax.attribute(network, IMAGES, baseline=BASELINES, shares=SHARES, steps=40, refinements=7, seed=3)


def test_scores_of_all_orbits_add_up_to_the_log_odds_of_the_image_less_those_of_its_baseline(found):
    predicted = logits_of(IMAGES).argmax(1)
    np.testing.assert_array_equal(found.predicted, predicted)
    np.testing.assert_array_equal(found.baseline_predicted, logits_of(BASELINES).argmax(1))
    assert spectrum.is_hermitian(found.scores) and (found.predicted != found.baseline_predicted).any()
    total = spectrum.per_orbit(found.scores).sum(1)
    np.testing.assert_allclose(total, log_odds(IMAGES, predicted) - log_odds(BASELINES, predicted), atol=0.02)


def test_of_a_linear_model_a_score_is_what_the_orbit_adds():
    direction = RNG.normal(size=(*PLANE, 2)).astype(np.float32)

    def linear(images):
        margin = (images * direction).sum((1, 2, 3))
        return jnp.stack([0 * margin, margin], axis=1)

    found = fsjax.attribute(linear, IMAGES, baseline=BASELINES[0], shares=SHARES, steps=1, refinements=0)
    baselines = np.broadcast_to(BASELINES[0].astype(float), IMAGES.shape)
    for orbit in range(ORBITS.max() + 1):
        chosen = np.broadcast_to(orbit == ORBITS, (COUNT, *PLANE))
        rise = ((grafts(IMAGES, baselines, chosen) - baselines) * direction).sum((1, 2, 3))
        expected = np.where(found.predicted == 1, rise, -rise)
        np.testing.assert_allclose(found.scores[:, orbit == ORBITS].T, [expected] * chosen[0].sum(), atol=2e-5)
    for scores, places in zip(found.scores, found.places, strict=True):
        ranked = spectrum.per_orbit(scores)[np.argsort(spectrum.per_orbit(places))]
        assert (np.diff(ranked) <= 0).all()


def test_curves_are_of_images_whose_first_orbits_are_put_in_or_taken_out(found):
    energies = [spectrum.energy(difference[None]) for difference in IMAGES - BASELINES]
    for index, share in enumerate(SHARES):
        by_energy = np.stack([masks.within_share(energy, share) for energy in energies])
        for name, chosen in (("attribution", found.masks(share)), ("energy", by_energy)):
            kept = logits_of(grafts(IMAGES, BASELINES, chosen)).argmax(1) == found.predicted
            np.testing.assert_array_equal(found.kept[name][:, index], kept)
            without = logits_of(grafts(IMAGES, BASELINES, ~chosen)).argmax(1) == found.predicted
            np.testing.assert_array_equal(found.kept_without[name][:, index], without)
    assert set(found.kept) == set(found.kept_without) == {"attribution", "energy", "random"}
    difference, interval = found.advantage("random")
    np.testing.assert_allclose(difference, found.kept["attribution"].mean(0) - found.kept["random"].mean(0))
    assert ((interval[:, 0] <= difference) & (difference <= interval[:, 1])).all()


def test_the_smallest_set_keeps_the_prediction_and_one_orbit_fewer_does_not(found):
    last = np.where(found.smallest, found.places, -1).max((1, 2))
    np.testing.assert_array_equal(found.smallest, found.places <= last[:, None, None])
    np.testing.assert_allclose(found.smallest_shares, found.smallest.sum((1, 2)) / 42)
    assert (logits_of(grafts(IMAGES, BASELINES, found.smallest)).argmax(1) == found.predicted).all()
    fewer = logits_of(grafts(IMAGES, BASELINES, found.places < last[:, None, None])).argmax(1) == found.predicted
    np.testing.assert_array_equal(fewer, last < 0)
    assert (last > 0).sum() >= 3


def test_refinement_keeps_more_predictions_and_one_device_gives_the_same_bits(found, monkeypatch):
    alone = fsjax.attribute(network, IMAGES, baseline=BASELINES, shares=SHARES, steps=40, refinements=0)
    assert found.kept["attribution"].sum() > alone.kept["attribution"].sum()
    np.testing.assert_array_equal(found.scores, alone.scores)
    monkeypatch.setattr(parallel, "local_devices", lambda: jax.local_devices()[:1])
    other = fsjax.attribute(network, IMAGES, baseline=BASELINES, shares=SHARES, steps=40, refinements=7, seed=3)
    np.testing.assert_array_equal(other.scores, found.scores)
    np.testing.assert_array_equal(other.places, found.places)
    np.testing.assert_array_equal(other.kept["random"], found.kept["random"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"baseline": IMAGES[:2]}, r"baseline: got shape \(2, 6, 7, 2\); expected \(6, 7, 2\) or \(9, 6, 7, 2\)"),
        ({"shares": [0.01]}, r"shares: got \(0.01,\); expected numbers from 0.0476, which is one orbit, to 1"),
        ({"shares": [1.5]}, r"shares: got \(1.5,\); expected"),
        ({"shares": []}, r"shares: got \(\); expected"),
        ({"steps": 0}, "steps: got 0; expected 1 or more"),
        ({"refinements": -1}, "refinements: got -1; expected 0 or more"),
        ({"seed": 10**30}, r"seed: got 1.*0; expected 0 or more and up to 4294967295"),
        ({"images": IMAGES[0]}, r"images: got shape \(6, 7, 2\); expected \[images, height, width, channels\]"),
        ({"model": lambda images: network(images)[:, :1]}, r"got shape \(9, 1\) for 9 images; expected \[9, K\], K >="),
        ({"model": lambda images: jnp.sqrt(network(images) * 0)}, "model: got a non-finite gradient on image 0"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(fields, message):
    arguments = {"model": network, "images": IMAGES} | fields
    refused(message, fsjax.attribute, arguments.pop("model"), arguments.pop("images"), **arguments)


def test_a_loop_over_images_compiles_in_its_first_call_and_shares_by_default_hold_an_orbit():
    state, compiled = {}, []

    def model(images):
        return state["sign"] * network(images * state["scales"])

    for first, scale, sign in ((0, 1, 1), (2, 1, 1), (2, -1, 1), (2, 1, -1)):
        state |= {"sign": sign, "scales": jnp.full((*PLANE, 2), scale, jnp.float32)}
        images, before = IMAGES[first : first + 2], progress.compiled()[0]
        found = fsjax.attribute(model, images, shares=SHARES, steps=2, refinements=1)
        compiled.append(progress.compiled()[0] - before)
        np.testing.assert_array_equal(found.predicted, (sign * logits_of(scale * images)).argmax(1))
    assert compiled[0] > compiled[1] == compiled[2] == 0 < compiled[3], "weights are arguments, and a sign is not"
    found = fsjax.attribute(network, IMAGES[:2], steps=1, refinements=1)
    assert found.shares == (0.08, 0.16, 0.32)
    np.testing.assert_array_equal(found.baseline_predicted, logits_of(0.0 * IMAGES[:2]).argmax(1))
