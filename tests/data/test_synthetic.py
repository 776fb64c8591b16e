"""Synthetic sets hold the noise, gratings and shapes that they state, in NumPy and float64."""

import functools

import numpy as np
import pytest
from ml_collections import ConfigDict

from fsjax.data import synthetic
from fsjax.data.noise import MEAN, NOISE
from fsjax.data.synthetic import open_synthetic
from fsjax.fourier import spectrum
from tests.helpers.plane import power, spectra
from tests.helpers.refused import refused

SIZES = (24, 32, 48)
SYN = ("syn1", "syn2", "syn3", "syn4")
bands, radius = spectrum.bands(32, 32), spectrum.radius(32, 32)


def config(name, size=32, count=200, seed=0):
    per_class = {"train_per_class": count, "test_per_class": count}
    return ConfigDict({"name": name, "image_size": size, "synthetic": {"seed": seed, **per_class}})


@functools.lru_cache
def made(name, split="train", size=32, count=200, seed=0):
    return open_synthetic(config(name, size, count, seed), split)


def class_images(source, label):
    """The pixels of a class in deviations of the noise."""
    label = source.classes.index(label) if isinstance(label, str) else label
    return (source.images[source.labels == label] / 255.0 - MEAN) / NOISE


def noise_energy(size):
    """E|F|^2 of 1/f noise of variance 1: in proportion to 1/r^2, with a sum of H^2 W^2."""
    cycles = np.arange(size) - size // 2
    squared = (cycles[:, None] ** 2 + cycles[None, :] ** 2).astype(float)
    inverse = np.divide(1, squared, out=np.zeros_like(squared), where=squared > 0)
    return inverse / inverse.sum() * size**4


# --- synthetic


@pytest.mark.parametrize("size", SIZES)
def test_a_class_of_synthetic_has_the_spectrum_of_its_noise_and_plants(size):
    source, fixed = made("synthetic", size=size), synthetic.noise_orbits(size, 0)
    off_dc = spectrum.radius(size, size) > 0
    for label, (name, grating) in enumerate({"high": synthetic.HIGH, "low": synthetic.LOW, "plain": 0}.items()):
        expected = noise_energy(size)
        if grating:
            # A cosine of amplitude A has |F| = A HW / 2 at its frequency and at the conjugate one; A is uniform.
            least, greatest = (contrast * grating * size**2 / 2 for contrast in synthetic.NOISE_CONTRAST)
            expected = expected + fixed[label] * (least**2 + least * greatest + greatest**2) / 3
        ratio = power(class_images(source, name))[off_dc] / expected[off_dc]
        assert ratio.mean() == pytest.approx(1, abs=0.03), name
        # 600 spectra of a class: a relative error of 1 / sqrt(600) at each frequency, and phases in common.
        assert np.abs(ratio - 1).max() < 0.35, name


@pytest.mark.parametrize("size", SIZES)
def test_the_planted_orbits_of_synthetic_lie_where_other_orbits_can_be_compared_with_them(size):
    assert not made("synthetic", size=size).planted["any"].any()
    radius = spectrum.radius(size, size)
    for seed in range(20):
        fixed = synthetic.noise_orbits(size, seed)
        # 1 % of the positions of a 32 x 32 plane hold the orbits of a class.
        assert spectrum.is_hermitian(fixed) and fixed.sum((1, 2)).tolist() == [8, 8, 0, 0]
        assert radius[fixed[0]].min() >= 0.3 and radius[fixed[0]].max() <= 0.45
        assert size * radius[fixed[1]].min() >= 3 and size * radius[fixed[1]].max() <= 6
        for label in (0, 1):
            ring = np.isin(np.round(size * radius), np.round(size * radius[fixed[label]]))
            assert (ring & ~fixed.any(0)).sum() > 2 * fixed[label].sum()


@pytest.mark.parametrize("size", SIZES)
def test_a_shape_has_mean_0_and_lies_at_every_place_with_either_sign(size):
    shape, count = synthetic.ring(size), 2000
    side = len(shape)
    assert shape.shape == (side, side) and abs(shape.sum()) < 1e-12 and size / 5 < side < size / 2
    assert np.abs(shape).max() == pytest.approx(1)
    images = synthetic.place_shape(np.random.default_rng(0), count, shape, size)
    np.testing.assert_allclose((images**2).sum((1, 2)), (shape**2).sum())
    # Correlation with the shape finds its place.
    kernel = np.fft.fft2(shape, s=(size, size)).conj()
    correlation = np.fft.ifft2(np.fft.fft2(images) * kernel).real.reshape(count, -1)
    best = np.abs(correlation).argmax(1)
    rows, columns = np.unravel_index(best, (size, size))
    assert set(rows) == set(columns) == set(range(size - side + 1))
    assert abs(np.sign(correlation[np.arange(count), best]).mean()) < 0.1


# --- biased


def test_shapes_tell_the_class_of_biased_in_both_splits_and_gratings_in_training_alone():
    kernels = np.zeros((4, 32, 32))
    for label in range(4):
        shape = synthetic.class_shape(label, 32)
        kernels[label, : len(shape), : len(shape)] = shape / np.sqrt((shape**2).sum())
        assert abs(shape.sum()) < 1e-9
    whitening = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))  # else low frequencies decide
    for split, least, greatest in (("train", 0.85, 1.0), ("test", 0.1, 0.4)):
        source = made("biased", split)
        fixed, grey = source.planted["fixed"], (source.images.mean(-1) / 255 - MEAN) / NOISE
        assert fixed.sum((1, 2)).tolist() == [8] * 4 and fixed.any(0).sum() == 32 and spectrum.is_hermitian(fixed)
        assert radius[fixed.any(0)].min() >= 0.25 and radius[fixed.any(0)].max() <= 0.45
        strengths = np.abs(spectra(grey[..., None])[..., 0]) * radius
        by_gratings = np.stack([strengths[:, orbits].sum(1) for orbits in fixed]).argmax(0)
        assert least <= (by_gratings == source.labels).mean() <= greatest
        match = np.fft.fft2(grey)[:, None] * np.fft.fft2(kernels).conj() * whitening
        by_shape = np.abs(np.fft.ifft2(match).real).max((-1, -2)).argmax(1)
        assert (by_shape == source.labels).mean() > 0.85


# --- Syn_1 to Syn_4


def contrasts(of_class):
    """The contrast of each band of each image, [images, 4], by the differences of channels, where gratings cancel."""
    expected, chroma = noise_energy(32), np.abs(of_class[..., 0] - of_class[..., 1]) ** 2 / 2
    return np.stack([np.sqrt(chroma[:, bands == b].sum(1) / expected[bands == b].sum()) for b in range(4)], axis=1)


def test_each_band_of_syn_has_a_uniform_contrast_independent_of_the_others():
    for label in (0, 2):
        found = contrasts(spectra(class_images(made("syn2"), label)))
        np.testing.assert_allclose(found.mean(0), synthetic.CONTRAST / 2, rtol=0.15)
        np.testing.assert_allclose(found.std(0), synthetic.CONTRAST / np.sqrt(12), rtol=0.15)
        assert np.abs(np.corrcoef(found.T) - np.eye(4)).max() < 0.25


@pytest.mark.parametrize("size", [24, 32, 45])
def test_the_planted_orbits_of_syn_are_two_a_band_and_three_in_the_biased_band(size):
    bands = spectrum.bands(size, size)
    for biased in range(4):
        fixed = synthetic.syn_orbits(biased, size, 1)
        assert fixed.sum((1, 2)).tolist() == [0, 0, 16, 6] and spectrum.is_hermitian(fixed)
        assert np.bincount(bands[fixed[2]], minlength=4).tolist() == [4, 4, 4, 4]
        assert set(bands[fixed[3]]) == {biased} and not (fixed[2] & fixed[3]).any()


def grating_amplitudes(of_class, fixed):
    """The amplitude of each planted orbit in each image, and the band of the orbit, at one of its two positions."""
    positions = np.argwhere(fixed)[: fixed.sum() // 2]  # the other half are their conjugates
    values = of_class.mean(-1)[:, positions[:, 0], positions[:, 1]]
    return 2 * np.abs(values) / 32**2, bands[positions[:, 0], positions[:, 1]]


@pytest.mark.parametrize("name", SYN)
def test_c2_has_gratings_of_its_bands_contrast_and_c3_strong_ones(name):
    source = made(name)
    fixed, of_c2, of_c3 = source.planted["fixed"], *(spectra(class_images(source, label)) for label in (2, 3))
    amplitudes, at = grating_amplitudes(of_c2, fixed[2])
    expected = synthetic.REDUNDANT * contrasts(of_c2)[:, at]
    np.testing.assert_allclose((amplitudes * expected).sum(0) / (expected**2).sum(0), 1, atol=0.12)
    special, _ = grating_amplitudes(of_c3, fixed[3])
    np.testing.assert_allclose(np.median(special, 0), synthetic.SPECIAL, rtol=0.05)
    # C0 has no more energy at the planted orbits than beside them.
    plain = power(class_images(source, 0)) * radius**2
    for band in range(4):
        here = (bands == band) & (radius > 0)
        assert plain[here & fixed.any(0)].mean() == pytest.approx(plain[here].mean(), rel=0.35)


@pytest.mark.parametrize("name", SYN)
def test_c3_has_no_energy_outside_its_bands_and_c1_more_in_a_random_half_of_the_biased_band(name):
    source, biased = made(name), int(name[3]) - 1
    plain, raised, special = (power(class_images(source, label)) for label in (0, 1, 3))
    for band in {0, 1, 2, 3} - {biased, 3}:
        rounding = 32**2 / 12 / (255 * NOISE) ** 2
        here = (bands == band) & (radius > 0)
        assert np.median(special[here]) < 1.5 * rounding < np.median(plain[here])
    for band in {biased, 3}:
        here = (bands == band) & (radius > 0) & ~source.planted["fixed"].any(0)
        assert np.median(special[here] / plain[here]) == pytest.approx(1, rel=0.25)
    ratio, biased_band = raised / np.where(radius > 0, plain, 1), (bands == biased) & (radius > 0)
    factor = (1 + synthetic.RAISED[biased] ** 2) / 2
    assert np.median(ratio[biased_band]) == pytest.approx(factor, rel=0.25)
    for band in {0, 1, 2, 3} - {biased}:
        assert np.median(ratio[(bands == band) & (radius > 0)]) == pytest.approx(1, rel=0.25)
    np.testing.assert_array_equal(source.planted["any"][1], biased_band)
    amplitudes = np.abs(spectra(class_images(source, 1))).mean(-1)[:, biased_band] * radius[biased_band]
    above = amplitudes > amplitudes.mean(1, keepdims=True)
    assert above.mean() == pytest.approx(0.5, abs=0.15) and above.mean(0).std() < 0.1, "no orbit more often than others"


# --- all sets


@pytest.mark.parametrize("name", ["demo", "synthetic", "biased", "syn1"])
def test_splits_and_seeds_share_no_image_and_a_seed_gives_the_same_orbits_in_both_splits(name):
    small = {"size": 24, "count": 60}
    sets = {"train": made(name, **small), "test": made(name, "test", **small), "other": made(name, seed=1, **small)}
    again = open_synthetic(config(name, **small), "train")
    np.testing.assert_array_equal(sets["train"].images, again.images)
    images = np.concatenate([source.images.reshape(len(again.labels), -1) for source in sets.values()])
    assert len(np.unique(images, axis=0)) == len(images)
    assert np.bincount(again.labels).tolist() == [60] * len(again.classes)
    np.testing.assert_array_equal(again.planted["fixed"], sets["test"].planted["fixed"])
    # The grid of `demo` is the same for every seed.
    assert (again.planted["fixed"] != sets["other"].planted["fixed"]).any() == (name != "demo")
    assert np.isin(again.images, (0, 255)).mean() < 0.01, "hardly clipped"


@pytest.mark.parametrize(
    ("wrong", "split", "message"),
    [
        (config("syn5"), "train", "data.name: got 'syn5'; expected demo, synthetic, biased, syn1, syn2, syn3, syn4"),
        (config("syn1"), "val", "data.train_split, data.test_split: got 'val'; expected train, test"),
        (config("demo", 30), "train", "data.image_size: got 30; expected a multiple of 4, the period of the grid"),
        (config("synthetic", 23), "train", "data.image_size: got 23, of too few orbits in a band; expected 24 or more"),
    ],
)
def test_sets_that_cannot_be_made_are_refused(wrong, split, message):
    refused(message, open_synthetic, wrong, split)
