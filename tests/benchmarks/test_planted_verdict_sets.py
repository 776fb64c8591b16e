"""The verdict benchmark's sets: paired images differ by a cue alone, and the cue is what its kind says."""

import numpy as np
import pytest

from benchmarks.planted import verdict_sets
from benchmarks.planted.verdict_cues import FORMS, orbit_mask
from fsjax.fourier import spectrum
from tests.helpers import plane

GRATINGS = ("high", "low", "few", "redundant", "competition", "ignored")
KINDS = (*verdict_sets.FEW_ORBITS, *verdict_sets.OTHER)
SEEDS = {"fixed": 3, "triad": 8}


@pytest.fixture(scope="module", params=verdict_sets.PHASES)
def cue_set(request):
    """A set of all kinds."""
    return verdict_sets.make_cue_set(SEEDS[request.param], request.param, KINDS)


def spectra(images):
    """The centred plane in float64, averaged over channels."""
    return plane.spectra(images).mean(-1)


def differences(cue_set, kind, without=False, count=60):
    """(spectra of plain, spectra of what `given` adds to images of other classes or `without` takes from its own)."""
    label = cue_set.kinds.index(kind)
    others = np.delete(np.arange(len(KINDS)), label)[np.arange(count) % (len(KINDS) - 1)]
    labels = np.full(count, label) if without else others
    plain = cue_set.draw(labels, 7)
    changed = cue_set.draw(labels, 7, without=True) if without else cue_set.draw(labels, 7, given=label)
    return spectra(plain), spectra(changed) - spectra(plain)


@pytest.mark.parametrize("kind", [*GRATINGS, "phase", "absence"])
@pytest.mark.parametrize("without", [False, True])
def test_what_giving_and_taking_a_cue_changes_lies_in_its_mask_alone(cue_set, kind, without):
    plain, difference = differences(cue_set, kind, without)
    cue = cue_set.cues[cue_set.kinds.index(kind)]
    mask = cue_set.masks()[cue_set.kinds.index(kind)]
    changed = abs(difference).max(0)
    if kind == "ignored" and without:  # it is in part of the images
        assert 0 < (abs(difference[:, mask]).max(1) > 1).mean() < 1
    assert changed[~mask].max() < 1e-5 * abs(plain).max()
    # Of a triad only the phase of a + b depends on the others.
    seen = orbit_mask(cue.orbits[2::3], cue_set.size) if kind == "phase" and cue.phases is None else mask
    assert changed[seen].min() > 1
    assert np.array_equal(mask, orbit_mask(cue.orbits, cue_set.size)) and mask.sum() == 2 * len(cue.orbits)


@pytest.mark.parametrize("kind", GRATINGS)
def test_a_given_cue_is_a_grating_of_its_amplitude_at_each_planted_orbit(cue_set, kind):
    _, difference = differences(cue_set, kind)
    cue = cue_set.cues[cue_set.kinds.index(kind)]
    found = abs(difference[:, cue.orbits[:, 0], cue.orbits[:, 1]]) / (cue_set.size**2 / 2)
    np.testing.assert_allclose(found, np.tile(cue.amplitudes, (len(found), 1)), rtol=1e-4)
    angles = np.angle(difference[:, cue.orbits[:, 0], cue.orbits[:, 1]])
    assert abs(np.exp(1j * angles).mean(0)).max() < 0.4  # at random phases


def test_the_absent_orbits_are_in_every_class_but_one(cue_set):
    _, difference = differences(cue_set, "absence", without=True)
    cue = cue_set.cues[cue_set.kinds.index("absence")]
    expected, (row, column) = cue.amplitudes * cue_set.size**2 / 2, cue.orbits.T
    np.testing.assert_allclose(abs(difference[:, row, column]), np.tile(expected, (60, 1)), rtol=1e-4)
    plain, taken = differences(cue_set, "absence")
    left = abs(plain + taken)[:, row, column]
    assert (left.mean(0) < 0.6 * expected).all()


def test_images_of_the_class_are_given_nothing_that_they_have(cue_set):
    for kind in ("high", "texture", "shape", "slope", "phase", "absence"):
        label = cue_set.kinds.index(kind)
        labels = np.full(5, label)
        assert np.array_equal(cue_set.draw(labels, 7, given=label), cue_set.draw(labels, 7))
    labels = np.full(5, cue_set.kinds.index("default"))
    assert np.array_equal(cue_set.draw(labels, 7, without=True), cue_set.draw(labels, 7))
    with pytest.raises(ValueError, match="default"):
        cue_set.draw(labels, 7, given=cue_set.kinds.index("default"))


def test_phases_are_locked_in_one_class_and_amplitudes_tell_nothing(cue_set):
    label, other = cue_set.kinds.index("phase"), cue_set.kinds.index("default")
    cue, drawn = cue_set.cues[label], [spectra(cue_set.draw(np.full(1500, c), 7)) for c in (label, other)]
    own, rest = (values[:, cue.orbits[:, 0], cue.orbits[:, 1]] for values in drawn)

    def lock(values):
        angles = np.angle(values)
        triads = angles[:, 0::3] + angles[:, 1::3] - angles[:, 2::3] if cue.phases is None else angles - cue.phases
        return np.exp(1j * triads).mean(0)

    assert lock(own).real.min() > 0.7 and abs(lock(rest)).max() < 0.1
    quantiles = [np.quantile(abs(values), [0.1, 0.5, 0.9], axis=0) for values in (own, rest)]
    np.testing.assert_allclose(*quantiles, rtol=0.06)


def test_other_cues_are_what_their_kind_says(cue_set):
    size, count = cue_set.size, 60
    _, difference = differences(cue_set, "brightness")
    brightness = cue_set.cues[cue_set.kinds.index("brightness")].brightness
    np.testing.assert_allclose(difference[:, size // 2, size // 2], brightness * size**2, rtol=1e-4)
    assert np.delete(abs(difference).reshape(count, -1), size // 2 * (size + 1), axis=1).max() < 1e-2

    cue = cue_set.cues[cue_set.kinds.index("texture")]
    _, difference = differences(cue_set, "texture", without=True)
    radius = spectrum.radius(size, size)
    inside = (radius >= cue.ring[0]) & (radius < cue.ring[1])
    assert abs(difference[:, ~inside]).max() < 1e-2 and inside.sum() > 60
    power = (abs(difference) ** 2).sum((1, 2)).mean() / size**4  # Parseval
    assert power == pytest.approx(cue.texture**2, rel=0.05)

    label = cue_set.kinds.index("shape")
    cue, labels = cue_set.cues[label], np.full(count, label)
    shape = (cue_set.draw(labels, 7) - cue_set.draw(labels, 7, without=True))[..., 0]
    shape -= shape.min((1, 2), keepdims=True)
    assert len(FORMS[cue.form]) < size / 3
    np.testing.assert_allclose(np.sort(shape, axis=None)[-count * int(FORMS[cue.form].sum()) :], cue.height, rtol=1e-4)
    np.testing.assert_allclose(shape.sum((1, 2)), cue.height * FORMS[cue.form].sum(), rtol=1e-3)
    assert len({tuple(np.argwhere(image > 1)[0]) for image in shape}) > count / 3  # at many places


def test_noise_falls_with_its_exponent_and_has_no_dc():
    made = verdict_sets.make_cue_set(11, kinds=("slope", "default", "high"))
    distance = spectrum.radius(made.size, made.size).ravel()
    planted = made.distractors.ravel() | made.masks().any(0).ravel() | (distance == 0)
    for label, exponent in ((0, made.cues[0].exponent), (1, made.exponent)):
        images = made.draw(np.full(300, label), 7)
        amplitudes = abs(plane.spectra(images))
        amplitude = amplitudes.mean((0, 3)).ravel()
        fitted = np.polyfit(np.log(distance[~planted]), np.log(amplitude[~planted]), 1)[0]
        assert fitted == pytest.approx(-exponent, abs=0.02)
        assert amplitude[distance == 0][0] < 1e-2
        total = (amplitudes**2).mean((0, 3)).ravel()[~made.distractors.ravel()].sum() / made.size**4
        assert total == pytest.approx(1, rel=0.05)
    assert made.cues[0].exponent < made.exponent - 0.3


def test_sets_are_drawn_as_documented():
    for seed in range(40):
        made = verdict_sets.make_cue_set(seed)
        masks = made.masks()
        radius = spectrum.radius(made.size, made.size)
        assert 3 <= made.num_classes <= 5 and len(set(made.kinds)) == made.num_classes
        assert set(made.kinds) & set(verdict_sets.FEW_ORBITS) and set(made.kinds) & set(verdict_sets.OTHER)
        # No orbit twice, no DC, and no orbit of a single member.
        assert (masks.sum(0) + made.distractors).max() <= 1
        counts = masks.sum((1, 2)) // 2
        for kind, cue, mask, count in zip(made.kinds, made.cues, masks, counts, strict=True):
            assert count == len(cue.orbits) <= 6
            if kind in ("high", "low"):
                low, high = {"high": (0.25, 0.5), "low": (0, 0.12)}[kind]
                assert low <= radius[mask].min() and radius[mask].max() < high
        if "competition" in made.kinds:
            others = [cue for cue in made.cues if cue.kind in ("high", "low", "few", "redundant")]
            strongest = max(cue.amplitudes.max() for cue in others)
            assert strongest > 1.2 * made.cues[made.kinds.index("competition")].amplitudes.max()


def test_a_seed_makes_a_set_and_its_images_and_triads_are_two_orbits_and_their_sum():
    labels = np.arange(6) % 3
    first, same, other = (verdict_sets.make_cue_set(seed) for seed in (5, 5, 6))
    assert repr(first) == repr(same) and repr(first) != repr(other)
    images = first.draw(labels, 7)
    assert np.array_equal(images, same.draw(labels, 7)) and not np.array_equal(images, first.draw(labels, 8))
    assert images.dtype == np.float32 and images.shape == (6, first.size, first.size, first.channels)
    for seed in range(5):
        made = verdict_sets.make_cue_set(seed, "triad", ("phase", "low", "default"))
        first, second, third = made.cues[0].orbits.reshape(-1, 3, 2).swapaxes(0, 1) - made.size // 2
        assert np.array_equal(first + second, third)
