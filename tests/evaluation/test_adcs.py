"""ADCS against the definition in NumPy float64: image by image, class by class, sign by sign."""

import numpy as np
import pytest

from configs import adcs as adcs_config
from fsjax import data
from fsjax.data.normalisation import measure_mean_std
from fsjax.evaluation import adcs
from fsjax.experiment import runner
from fsjax.fourier import spectrum
from tests.helpers.small_run import small_config

MEAN_STD = np.array([0.48, 0.47, 0.43]), np.array([0.26, 0.25, 0.3])


def make_images(plane, classes=3, images=23, seed=0):
    """Images of classes that differ in their contrast; labels in no order, of classes that differ in size."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, images - classes) ** 2 % classes])
    labels = rng.permutation(labels).astype(np.int32)
    contrast = 20 + 30 * labels[:, None, None, None]
    return np.clip(128 + contrast * rng.normal(size=(images, *plane, 3)), 0, 255).astype(np.uint8), labels


def oracle(images, labels, classes, compat, mean_std=MEAN_STD):
    """E of each class, and the per-channel sums that the published code subtracts, straight from the definition."""
    sums = np.zeros((classes, *images.shape[1:]))
    for image, label in zip(images, labels, strict=True):
        transformed = np.fft.fft2((image / 255 - mean_std[0]) / mean_std[1], axes=(0, 1))
        transformed = np.fft.fftshift(transformed, axes=(0, 1))
        if compat:
            transformed[transformed == 0] = 12e-12
        sums[label] += abs(transformed)
    if compat:
        return sums @ [0.2989, 0.5870, 0.1140], sums
    return sums.mean(-1) / np.bincount(labels, minlength=classes)[:, None, None], sums


def signs(energy, compat, sums=None):
    """The accumulated signs of every pair of classes; `compat` turns to one channel after the subtraction."""
    found = np.zeros(energy.shape, int)
    for own in range(len(energy)):
        for other in range(len(energy)):
            difference = energy[own] - energy[other]
            if sums is not None:
                difference = (sums[own] - sums[other]) @ [0.2989, 0.587, 0.114]
            found[own] += np.where(difference > 0, 1, -1) if compat else np.sign(difference).astype(int)
    return found


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("plane", [(8, 8), (7, 10), (9, 5)])
def test_amplitudes_and_adcs_are_those_of_the_definition(plane, compat, monkeypatch):
    images, labels = make_images(plane)
    monkeypatch.setattr(adcs, "_PIXELS", 1)
    read = []

    def reader(indices):
        read.append(indices)
        return images[indices]

    found = adcs.class_amplitudes(reader, labels, 3, plane, MEAN_STD, compat=compat)
    energy, sums = oracle(images, labels, 3, compat)
    np.testing.assert_allclose(found, energy, rtol=2e-5)
    assert found.dtype == np.float64 and spectrum.is_hermitian(found), "equal at both members of an orbit"
    expected = signs(energy, compat, sums if compat else None)
    assert np.array_equal(adcs.adcs(found, compat=compat), expected) and len(np.unique(expected)) > 2
    assert np.array_equal(np.concatenate(read), np.arange(23)) and max(map(len, read)) == 2, "two devices, one each"


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("plane", [(5, 8), (3, 3)])
def test_ranks_are_the_accumulated_signs_also_where_classes_tie(plane, compat):
    energy = np.random.default_rng(0).integers(0, 4, (6, *plane)).astype(float)
    found = adcs.adcs(energy, compat=compat)
    assert np.array_equal(found, signs(energy, compat)) and found.dtype == np.int16
    lowest, highest = (-6, 4) if compat else (-5, 5)
    assert lowest <= found.min() and found.max() <= highest
    alone = adcs.adcs(energy[:1], compat=compat)
    assert (alone == (-1 if compat else 0)).all(), "one class has nothing to differ from"
    distinct = np.arange(6.0)[:, None, None]
    assert adcs.adcs(distinct, compat=compat)[[0, -1], 0, 0].tolist() == [lowest, highest]


def test_a_class_without_images_has_no_amplitude_and_a_zero_transform_is_replaced_in_the_published_way_only():
    images, labels = make_images((6, 6))
    found = adcs.class_amplitudes(images.__getitem__, labels, 4, (6, 6), MEAN_STD)
    assert np.isnan(found[3]).all() and np.isfinite(found[:3]).all()
    black, labels = np.zeros((3, 6, 6, 3), np.uint8), np.zeros(3, np.int32)
    zero_mean = np.zeros(3), np.ones(3)
    found = [adcs.class_amplitudes(black.__getitem__, labels, 1, (6, 6), zero_mean, compat=c) for c in (False, True)]
    assert not found[0].any()
    np.testing.assert_allclose(found[1], oracle(black, labels, 1, True, zero_mean)[0], rtol=1e-6)


@pytest.mark.parametrize("compat", [False, True])
def test_the_stage_needs_the_data_alone(tmp_path, compat):
    """By the config's own name on training images, and in the published way on test images."""
    config, split = small_config(), "test" if compat else "train"
    if compat:
        config.adcs.split, config.adcs.compat = "test", True
        config.data.mean, config.data.std = (0.4, 0.5, 0.6), (0.2, 0.2, 0.3)
    config.stages = adcs_config.get_config().stages
    runner.run(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists() and (tmp_path / "report" / "figures" / "adcs.png").stat().st_size
    with np.load(tmp_path / "adcs.npz") as file:
        found = dict(file)
    images = data.load(config.data, split, 0)
    mean_std = (np.array(config.data.mean), np.array(config.data.std)) if compat else measure_mean_std(images)
    energy, sums = oracle(images.images(np.arange(len(images))), images.labels, 4, compat, mean_std)
    np.testing.assert_allclose(found["amplitudes"], energy, rtol=2e-4)
    assert np.mean(found["adcs"] == signs(energy, compat, sums if compat else None)) > 0.99
    assert found["amplitudes"].dtype == np.float32 and found["adcs"].dtype == np.int16
    assert found["classes"].tolist() == ["C0", "C1", "C2", "C3"] and found["images"].sum() == len(images)
    assert str(found["split"]) == split and found["compat"] == compat
