"""The planted sets hold what they say they hold."""

import hashlib

import numpy as np
import pytest
from ml_collections import ConfigDict

from fsjax.data.syn import CLASSES
from fsjax.data.synthetic import open_synthetic
from fsjax.fourier import spectrum
from fsjax.runtime.errors import InputError


def config(name="syn1", size=32, **changes):
    synthetic = {"seed": 0, "train_per_class": 200, "test_per_class": 200, **changes}
    return ConfigDict({"name": name, "image_size": size, "synthetic": synthetic})


def mean_energy(source, label):
    """Mean |F x|^2 over the images and channels of a class, in float64."""
    images = np.stack([source[int(index)] for index in np.flatnonzero(source.labels == label)]) / 255.0
    return (np.abs(np.fft.fftshift(np.fft.fft2(images, axes=(1, 2)), axes=(1, 2))) ** 2).mean((0, 3))


@pytest.mark.parametrize(
    ("name", "size"), [("syn1", 32), ("syn2", 32), ("syn3", 32), ("syn4", 32), ("syn2", 45), ("syn1", 24)]
)
def test_planted_orbits_stand_out_where_they_are_planted_and_nowhere_else(name, size):
    source = open_synthetic(config(name, size), "train")
    plain, biased = mean_energy(source, 0), int(name[3]) - 1
    bands, fixed = spectrum.bands(size, size), source.planted["fixed"]
    off_dc = spectrum.radius(size, size) > 0
    grating = (0.15 * 0.5 * size * size / 2) ** 2
    for label in (2, 3):
        excess = mean_energy(source, label) - plain
        np.testing.assert_allclose(excess[fixed[label]], grating, rtol=0.35)
        assert np.abs(excess[~fixed[label] & off_dc & (bands == biased)]).max() < max(0.3 * grating, plain.max() * 0.5)
    assert fixed[2].sum() == 16 and fixed[3].sum() == 6
    assert np.bincount(bands[fixed[2]], minlength=4).tolist() == [4, 4, 4, 4]
    assert set(bands[fixed[3]]) == {biased}
    assert not fixed[:2].any() and spectrum.is_hermitian(fixed)
    assert not (fixed[2] & fixed[3]).any()
    ratio = mean_energy(source, 1) / np.where(off_dc, plain, 1)
    np.testing.assert_array_equal(source.planted["any"][1], (bands == biased) & off_dc)
    assert np.median(ratio[(bands == biased) & off_dc]) == pytest.approx((1 + 9) / 2, rel=0.15)
    assert np.median(ratio[(bands != biased) & off_dc]) == pytest.approx(1, abs=0.1)


def test_c3_has_its_own_band_and_the_highest_alone():
    source = open_synthetic(config("syn2"), "train")
    bands, off_dc = spectrum.bands(32, 32), spectrum.radius(32, 32) > 0
    ratio = mean_energy(source, 3) / mean_energy(source, 0)
    for band in range(4):
        middle = np.median(ratio[(bands == band) & off_dc])
        assert middle > 0.9 if band in (1, 3) else middle < 0.05


def test_a_different_half_of_the_band_is_raised_in_each_image():
    source = open_synthetic(config("syn3"), "train")
    images = np.stack([source[int(index)] for index in np.flatnonzero(source.labels == 1)]) / 255.0
    spectra = np.abs(np.fft.fftshift(np.fft.fft2(images, axes=(1, 2)), axes=(1, 2))).mean(-1)
    band = spectrum.bands(32, 32) == 2
    raised = spectra[:, band] > np.sqrt(3) * spectra[:, band].mean() / 2
    assert raised.mean(1).std() < 0.1, "half in every image"
    assert raised.mean(0).std() < 0.1, "no orbit more often than others"


def test_the_images_of_a_seed_stay_the_same_bit_for_bit():
    digest = hashlib.sha256()
    for name in ("syn1", "syn2", "syn3", "syn4"):
        source = open_synthetic(config(name, seed=1, train_per_class=20), "train")
        for array in (source.images, source.planted["fixed"], source.planted["any"]):
            digest.update(array.tobytes())
    assert digest.hexdigest() == "1da4116bd544982cc2ecde2c2985b5630ebc70d63ad873ff7d7ee06c13860599"


def test_splits_and_seeds_share_no_image_and_a_seed_gives_the_same_ones():
    train, test = open_synthetic(config(), "train"), open_synthetic(config(), "test")
    again, other = open_synthetic(config(), "train"), open_synthetic(config(seed=1), "train")
    assert train.classes == CLASSES and len(train) == 800
    assert np.bincount(train.labels).tolist() == [200] * 4
    first = {
        name: np.stack([source[index] for index in range(len(source))])
        for name, source in {"train": train, "test": test, "again": again, "other": other}.items()
    }
    np.testing.assert_array_equal(first["train"], first["again"])
    assert not (first["train"] == first["test"]).all((1, 2, 3)).any()
    assert not (first["train"] == first["other"]).all((1, 2, 3)).any()
    np.testing.assert_array_equal(train.planted["fixed"], test.planted["fixed"])
    assert (train.planted["fixed"] != other.planted["fixed"]).any()


def test_images_keep_the_published_level_and_are_hardly_clipped():
    source = open_synthetic(config(), "train")
    plain = np.stack([source[int(index)] for index in np.flatnonzero(source.labels == 0)])
    assert plain.mean() / 255 == pytest.approx(0.498, abs=0.005)
    assert plain.std() / 255 == pytest.approx(0.15, rel=0.05)
    assert np.isin(plain, (0, 255)).mean() < 0.005


@pytest.mark.parametrize(
    ("made", "split", "message"),
    [
        (config("syn5"), "train", "data.name: got 'syn5'; expected demo, biased, syn1, syn2, syn3, syn4"),
        (config(), "val", "data.train_split, data.test_split: got 'val'; expected train, test"),
        (config(size=23), "train", "data.image_size: got 23, of too few orbits in a band; expected 24 or more"),
    ],
)
def test_sets_that_cannot_be_made_are_refused(made, split, message):
    with pytest.raises(InputError) as caught:
        open_synthetic(made, split)
    assert message in str(caught.value)
