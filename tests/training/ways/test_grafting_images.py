"""Grafting in training: against NumPy, what it leaves, what it says of the label, and what it reads."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2_contingency

from configs import common
from fsjax.data.augment import image_keys
from fsjax.fourier import spectrum
from fsjax.runtime import parallel
from fsjax.training import ways
from fsjax.training.ways import graft
from tests.helpers.linear_classifier import save_maps
from tests.helpers.plane import filtered, real, spectra
from tests.helpers.refused import refused


def keys(count, epoch=0):
    return image_keys(0, jnp.full(count, epoch), jnp.arange(count))


@functools.lru_cache
def way(packed, plane):
    mask = np.frombuffer(packed, bool).reshape(plane)
    return jax.jit(jax.vmap(graft.make_graft(mask), axis_name=parallel.AXIS))


def grafted(mask, images, devices=1, epoch=0):
    """Images after the way, on several devices of equally many rows."""
    rows = [np.reshape(value, (devices, -1, *np.shape(value)[1:])) for value in (np.zeros(len(images), int), images)]
    of_images = keys(len(images), epoch).reshape(devices, -1)
    return np.asarray(way(mask.tobytes(), mask.shape)(of_images, *rows)).reshape(images.shape)


def grafted_by_numpy(recipient, donor, mask):
    """F^-1[(1 - M) F r + M F d] in float64."""
    return real(np.where((mask | spectrum.conjugate(mask))[..., None], spectra(donor), spectra(recipient)))


@pytest.mark.parametrize("plane", [(8, 8), (9, 7)])
def test_each_image_gets_the_masks_frequencies_of_one_image_of_the_batch(plane):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(12, *plane, 3)).astype(np.float32)
    mask = rng.random(plane) < 0.2  # not constant on orbits
    made, donors = grafted(mask, images), []
    for image, out in zip(images, made, strict=True):
        apart = [np.abs(grafted_by_numpy(image, donor, mask) - out).max() for donor in images]
        assert min(apart) < 1e-5
        donors.append(int(np.argmin(apart)))
    assert len(set(donors)) > 4
    own = [index for index, donor in enumerate(donors) if index == donor]
    np.testing.assert_array_equal(made[own], images[own])  # bit for bit


def test_devices_do_not_matter_and_epochs_do():
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 3)).astype(np.float32)
    mask = spectrum.radius(6, 6) < 0.3
    whole = grafted(mask, images)
    np.testing.assert_allclose(grafted(mask, images, devices=4), whole, atol=1e-6)
    assert np.abs(grafted(mask, images, epoch=1) - whole).max() > 0.1
    np.testing.assert_array_equal(grafted(np.zeros((6, 6), bool), images), images)


def test_the_frequencies_tell_nothing_of_the_label_also_of_classes_of_unlike_size():
    """A class is written into one orbit; after the way it is independent of the label, and the rest as it was."""
    labels = np.repeat([0, 1, 2], [12, 6, 2])
    images = np.random.default_rng(0).normal(size=(20, 8, 8, 3)).astype(np.float32)
    mask = spectrum.orbits(8, 8) == 3
    (v, h), (rows, columns) = np.argwhere(mask)[0] - 4, np.mgrid[:8, :8]
    wave = np.cos(2 * np.pi * (v * rows + h * columns) / 8)
    images = filtered(images, ~mask)
    planted = images + (1 + labels)[:, None, None, None] * wave[..., None]
    table = np.zeros((3, 3))
    for epoch in range(60):
        made = grafted(mask, planted.astype(np.float32), epoch=epoch)
        carried = np.rint(np.abs(np.fft.fft2(made, axes=(1, 2))).max((1, 2, 3)) / 32).astype(int) - 1
        np.add.at(table, (labels, carried), 1)
        np.testing.assert_allclose(filtered(made, ~mask), images, atol=1e-5)
    assert chi2_contingency(table).pvalue > 0.01
    np.testing.assert_allclose(table.sum(0) / table.sum(), [0.6, 0.3, 0.1], atol=0.05)


def options(**own):
    config = common.base().train
    config.ways = "graft"
    config.graft.update(own)
    return config


def test_a_mask_a_workdirs_maps_and_the_probes_are_read(tmp_path):
    mask = np.random.default_rng(0).random((16, 16)) < 0.3
    mask |= spectrum.conjugate(mask)
    np.save(tmp_path / "mask.npy", mask)
    read = functools.partial(graft.read_mask, size=16, directory=tmp_path)
    np.testing.assert_array_equal(read(options(maps=str(tmp_path / "mask.npy"))), mask)
    np.save(tmp_path / "none.npy", np.zeros((16, 16), bool))  # as probes leave it that find nothing
    assert not read(options(maps=str(tmp_path / "none.npy"))).any()
    maps = save_maps(tmp_path / "dfm" / "two.npz")
    np.testing.assert_array_equal(read(options(maps=str(tmp_path), share=0.2)), maps.masks[1].any(0))
    np.testing.assert_array_equal(read(options(maps="low:0.2")), spectrum.radius(16, 16) <= 0.2)
    ways.check(options(maps="probe"), 16)  # before there are any
    message = r"train\.graft\.maps: got 'probe', and the workdir has no probes; run the st"
    refused(message, ways.files, options(maps="probe"), tmp_path)
    graft.probed_file(tmp_path).parent.mkdir()
    np.save(graft.probed_file(tmp_path), mask)
    np.testing.assert_array_equal(read(options(maps="probe")), mask)
    assert ways.files(options(maps="probe"), tmp_path) == {"train.graft.maps": graft.probed_file(tmp_path)}


def test_ways_are_named_once_and_in_order(tmp_path):
    save_maps(tmp_path / "dfm" / "two.npz")
    config = options()
    config.dfmx.maps = str(tmp_path)
    assert ways.chosen(config) == ("graft", "dfmx")
    config.ways = "dfmx,graft"
    assert ways.chosen(config) == ("dfmx", "graft")
    config.ways = ""
    assert ways.chosen(config) == ("dfmx",)  # as before there were names
    for names, message in (("graft,graft", "expected each way once"), ("grafting", "graft")):
        config.ways = names
        refused(rf"train\.ways: .*{message}", ways.check, config, 16)
    config.ways, config.graft.maps = "graft", ""
    refused(r"train\.graft\.maps: got ''; expected .*probe", ways.check, config, 16)
    config.graft.maps, config.graft.start = "low:0.2", str(tmp_path / "none")
    refused(r"train\.graft\.start: got '.*none'; expected the workdir of a finished train", ways.check, config, 16)
