"""Amplitude swapping against NumPy in float64: whose amplitudes, how often, and the same on any devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from fsjax.data.augment import image_keys
from fsjax.runtime import parallel
from fsjax.training.ways import amplitude_swap
from tests.helpers.small_cnn import MEAN_STD


@functools.lru_cache
def way(probability):
    return jax.jit(jax.vmap(amplitude_swap.make_amplitude_swap(probability, MEAN_STD), axis_name=parallel.AXIS))


def swapped(pixels, probability, devices=1, epoch=0):
    """Pixels after the way, on several devices of equally many rows."""
    count = len(pixels)
    keys = image_keys(0, jnp.full(count, epoch), jnp.arange(count)).reshape(devices, -1)
    images = ((pixels - MEAN_STD[0]) / MEAN_STD[1]).astype(np.float32)
    rows = images.reshape(devices, -1, *images.shape[1:])
    made = np.asarray(way(probability)(keys, np.zeros(keys.shape, int), rows)).reshape(images.shape)
    return images, made


def by_numpy(own, donors):
    """The pixels with the phases of one image and the amplitudes of each of the others."""
    phases, amplitudes = np.angle(np.fft.fft2(own, axes=(0, 1))), np.abs(np.fft.fft2(donors, axes=(1, 2)))
    return np.fft.ifft2(amplitudes * np.exp(1j * phases), axes=(1, 2)).real


@pytest.mark.parametrize("plane", [(8, 8), (7, 9)])
def test_an_image_gets_the_amplitudes_of_one_of_the_batch_and_keeps_its_phases(plane):
    pixels = np.random.default_rng(0).random((24, *plane, 3))
    drawn, donors = 0, []
    for epoch in range(20):
        images, made = swapped(pixels, 0.75, epoch=epoch)
        for own, image, out in zip(pixels, images, made, strict=True):
            if np.array_equal(image, out):  # bit for bit
                continue
            apart = np.abs(by_numpy(own, pixels) - (out * MEAN_STD[1] + MEAN_STD[0])).max((1, 2, 3))
            assert apart.min() < 1e-5
            drawn += 1
            donors.append(int(np.argmin(apart)))
    assert binomtest(drawn, 480, 0.75).pvalue > 1e-3
    assert chisquare(np.bincount(donors, minlength=24)).pvalue > 1e-3, "all images equally often"


def test_devices_do_not_matter_and_probability_0_changes_nothing():
    pixels = np.random.default_rng(0).random((8, 6, 6, 3))
    _, whole = swapped(pixels, 0.9)
    np.testing.assert_allclose(swapped(pixels, 0.9, devices=4)[1], whole, atol=1e-5)
    np.testing.assert_array_equal(*swapped(pixels, 0.0))
