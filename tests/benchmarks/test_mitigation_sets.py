"""Sets of the mitigation benchmark: what carries the class in which split, in NumPy."""

import numpy as np
import pytest

from benchmarks.planted import mitigation_sets
from benchmarks.planted.mitigation_sets import CLASSES, KINDS, BiasedSet


def amplitudes(images, places):
    """|F x| at places of the centred plane, mean over channels, in standard deviations of the noise."""
    spectra = np.fft.fftshift(np.fft.fft2(images.astype(float), axes=(1, 2)), axes=(1, 2))
    return np.abs(spectra[:, places[:, 0], places[:, 1]]).mean(-1)


def told(data, images):
    """The class whose planted orbits are strongest in each image."""
    sums = [amplitudes(images, np.concatenate([group for group, _ in of_class])).mean(1) for of_class in data.orbits]
    return np.argmax(sums, axis=0)


@pytest.mark.parametrize("kind", ["high", "low", "tiers"])
def test_the_planted_orbits_are_of_the_own_class_of_none_or_of_another(kind):
    data = BiasedSet(kind, 32, 5)
    limits = {"own": (0.85, 1.0), "conflicting": (0.0, 0.05), "any": (0.1, 0.45), "absent": (0.1, 0.45)}
    for shown, (low, high) in limits.items():
        images, labels = data.draw(25, shown, 0)
        assert np.bincount(labels).tolist() == [25] * CLASSES
        assert low <= (told(data, images) == labels).mean() <= high, shown


def test_triads_tell_the_class_by_their_phases_alone():
    data = BiasedSet("phase", 32, 5)
    images, labels = data.draw(25, "own", 0)
    spectra = np.fft.fftshift(np.fft.fft2(images.mean(-1), axes=(1, 2)), axes=(1, 2))
    first, second, both = (spectra[:, data.triads[:, place, 0], data.triads[:, place, 1]] for place in range(3))
    angles = np.angle((both * np.conj(first * second)).sum(1))
    found = np.rint(angles / (2 * np.pi / CLASSES)) % CLASSES
    assert (found == labels).mean() > 0.85
    strengths = amplitudes(images, data.triads.reshape(-1, 2)).mean(1)
    assert np.ptp([strengths[labels == label].mean() for label in range(CLASSES)]) < 0.2 * strengths.mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_depends_on_its_seed_alone_and_splits_differ(kind):
    data, again, other = BiasedSet(kind, 32, 1), BiasedSet(kind, 32, 1), BiasedSet(kind, 32, 2)
    images = data.draw(2, "own", 0)[0]
    np.testing.assert_array_equal(images, again.draw(2, "own", 0)[0])
    for differs in (data.draw(2, "own", 1)[0], other.draw(2, "own", 0)[0]):
        assert not np.array_equal(images, differs)
    planted = {"high": 32, "low": 32, "tiers": 48, "phase": 12, "some": 16}
    assert data.planted.sum() == planted.get(kind, 0)
    assert len(set(data.draw(1, "absent", 0)[1])) == mitigation_sets.CLASSES
