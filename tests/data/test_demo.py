"""The set `demo` holds what it says: two fixed plants, a shape that leaves the mean alone, and plain noise."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import dfm_resnet, dfm_vit
from fsjax.data import demo, noise
from fsjax.data.synthetic import open_synthetic
from fsjax.fourier import spectrum
from fsjax.runtime.errors import InputError

SIZES = (24, 32, 48)


def source_of(split="train", size=32, count=200, seed=0):
    synthetic = {"seed": seed, "train_per_class": count, "test_per_class": count}
    return open_synthetic(ConfigDict({"name": "demo", "image_size": size, "synthetic": synthetic}), split)


def of_class(source, name):
    """The pixels of a class in deviations of the noise, in float64."""
    images = source.images[source.labels == source.classes.index(name)]
    return (images / 255.0 - noise.MEAN) / noise.NOISE


def mean_energy(images):
    """Mean |F x|^2 over images and channels, on the centred plane."""
    return (np.abs(np.fft.fftshift(np.fft.fft2(images, axes=(1, 2)), axes=(1, 2))) ** 2).mean((0, 3))


def noise_energy(size):
    """Of 1/f noise of variance 1: E|F(u, v)|^2 is in proportion to 1/r^2, and sums to H^2 W^2."""
    cycles = np.arange(size) - size // 2
    squared = (cycles[:, None] ** 2 + cycles[None, :] ** 2).astype(float)
    inverse = np.divide(1, squared, out=np.zeros_like(squared), where=squared > 0)
    return inverse / inverse.sum() * size**4


@pytest.mark.parametrize("size", SIZES)
def test_the_spectrum_of_each_class_is_the_noise_s_and_that_of_its_plants(size):
    source, fixed = source_of(size=size), demo.planted_orbits(size, 0)
    off_dc = spectrum.radius(size, size) > 0
    for label, (name, grating) in enumerate({"high": demo.HIGH, "low": demo.LOW, "plain": 0}.items()):
        expected = noise_energy(size)
        if grating:
            # A cosine of amplitude A has |F| = A HW / 2 at its frequency and at the conjugate one; A is uniform.
            least, greatest = (contrast * grating * size**2 / 2 for contrast in demo.CONTRAST)
            expected = expected + fixed[label] * (least**2 + least * greatest + greatest**2) / 3
        ratio = mean_energy(of_class(source, name))[off_dc] / expected[off_dc]
        assert ratio.mean() == pytest.approx(1, abs=0.03), name
        # 600 spectra of a class: a relative error of 1 / sqrt(600) at each frequency, and phases in common.
        assert np.abs(ratio - 1).max() < 0.35, name


@pytest.mark.parametrize("size", SIZES)
def test_the_planted_orbits_lie_where_other_orbits_can_be_compared_with_them(size):
    assert not source_of(size=size, count=2).planted["any"].any()
    radius = spectrum.radius(size, size)
    for seed in range(20):
        fixed = demo.planted_orbits(size, seed)
        # 1 % of the positions of a 32 x 32 plane hold the orbits of a class.
        assert spectrum.is_hermitian(fixed) and fixed.sum((1, 2)).tolist() == [8, 8, 0, 0]
        assert radius[fixed[0]].min() >= 0.3 and radius[fixed[0]].max() <= 0.45
        assert size * radius[fixed[1]].min() >= 3 and size * radius[fixed[1]].max() <= 6
        for label in (0, 1):
            ring = np.isin(np.round(size * radius), np.round(size * radius[fixed[label]]))
            assert (ring & ~fixed.any(0)).sum() > 2 * fixed[label].sum()


def test_a_grating_has_another_phase_in_each_image():
    source = source_of()
    for label in (0, 1):
        spectra = np.fft.fftshift(
            np.fft.fft2(of_class(source, source.classes[label]).mean(3), axes=(1, 2)), axes=(1, 2)
        )
        planted = spectra[:, source.planted["fixed"][label]]
        assert np.abs((planted / np.abs(planted)).mean(0)).max() < 0.25  # 200 phases at random: 0.07 on average


def test_the_planted_orbits_hold_a_small_part_of_their_class_s_energy_and_most_of_what_tells_it_from_plain_noise():
    source = source_of(count=500)
    plain = mean_energy(of_class(source, "plain"))
    for name in ("high", "low"):
        energy, planted = mean_energy(of_class(source, name)), source.planted["fixed"][source.classes.index(name)]
        assert energy[planted].sum() / energy.sum() < 0.2
        assert (energy / np.maximum(plain, 1e-9))[planted].min() > 1.5


@pytest.mark.parametrize("size", SIZES)
def test_the_shape_is_mean_free_and_lies_at_every_place_with_either_sign(size):
    shape, count = demo.ring(size), 2000
    side = len(shape)
    assert shape.shape == (side, side) and abs(shape.sum()) < 1e-12 and size / 5 < side < size / 2
    assert np.abs(shape).max() == pytest.approx(1)
    images = demo.placed(np.random.default_rng(0), count, shape, size)
    assert np.abs(images.mean((1, 2))).max() < 1e-12
    energies = (images**2).sum((1, 2))
    np.testing.assert_allclose(energies, (shape**2).sum())
    # Correlation with the shape finds the one place where it is.
    places, signs = set(), []
    for image in images[:500]:
        correlation = np.fft.ifft2(np.fft.fft2(image) * np.fft.fft2(shape, s=(size, size)).conj()).real
        row, column = np.unravel_index(np.abs(correlation).argmax(), correlation.shape)
        assert row <= size - side and column <= size - side
        places.add((int(row), int(column)))
        signs.append(np.sign(correlation[row, column]))
    assert abs(np.mean(signs)) < 0.15
    rows, columns = zip(*places, strict=True)
    assert set(rows) == set(columns) == set(range(size - side + 1))


def test_no_class_is_told_by_its_brightness():
    source = source_of(count=400)
    means = {name: of_class(source, name).mean((1, 2, 3)) for name in source.classes}
    for name, values in means.items():
        assert abs(values.mean()) < 0.01, name
        assert values.std() < 0.02, name


def test_splits_and_seeds_share_no_image_and_both_splits_have_the_same_orbits():
    sources = {"train": source_of(), "again": source_of(), "test": source_of("test"), "other": source_of(seed=1)}
    images = {name: source.images for name, source in sources.items()}
    assert sources["train"].classes == ("high", "low", "shape", "plain")
    assert np.bincount(sources["train"].labels).tolist() == [200] * 4
    np.testing.assert_array_equal(images["train"], images["again"])
    assert not (images["train"] == images["test"]).all((1, 2, 3)).any()
    assert not (images["train"] == images["other"]).all((1, 2, 3)).any()
    assert len(np.unique(images["train"].reshape(800, -1), axis=0)) == 800
    np.testing.assert_array_equal(sources["train"].planted["fixed"], sources["test"].planted["fixed"])
    assert (sources["train"].planted["fixed"] != sources["other"].planted["fixed"]).any()


def test_the_images_are_hardly_clipped():
    assert np.isin(source_of().images, (0, 255)).mean() < 0.005


def test_an_image_too_small_for_it_is_refused():
    with pytest.raises(InputError, match=r"data.image_size: got 23, of too few orbits in a band; expected 24 or more"):
        source_of(size=23)


def test_the_default_run_is_of_this_set_and_the_resnet_s_of_syn1():
    assert dfm_vit.get_config().data.name == "demo" and dfm_vit.get_config("cifar10").data.name == "cifar10"
    assert dfm_resnet.get_config().data.name == "syn1"
