"""The Fourier plane against NumPy in float64 and against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsjax.fourier import patches, spectrum, transforms
from tests.helpers import plane

# One program a plane: called as they stand, each of their operations would be one.
amplitude, filter_images, recombine = map(jax.jit, (spectrum.amplitude, spectrum.filter_images, spectrum.recombine))
wave_amplitudes = jax.jit(spectrum.wave_amplitudes, static_argnums=2)
filter_by = jax.jit(spectrum.filter_spectra, static_argnames="transform")
PLANES = [(8, 8), (7, 7), (8, 5), (5, 8), (12, 20)]


def images(height, width, count=3, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, height, width, channels)).astype(np.float32)


@pytest.mark.parametrize(
    ("height", "width", "count"), [(32, 32, 514), (224, 224, 25090), (7, 7, 25), (9, 15, 68), (8, 5, 21), (12, 20, 122)]
)
def test_number_of_orbits_is_the_closed_form(height, width, count):
    assert spectrum.orbits(height, width).max() + 1 == count
    assert spectrum.orbit_sizes(height, width).sum() == height * width


def test_a_cosine_sits_at_its_frequency_in_bands_of_equal_width_up_to_nyquist():
    rows, columns = np.mgrid[:32, :24]
    image = np.cos(2 * np.pi * (3 * rows / 32 - 5 * columns / 24)).astype(np.float32)[None, :, :, None]
    found = np.asarray(amplitude(image))[0, :, :, 0]
    assert {tuple(position) for position in np.argwhere(found > 1)} == {(16 + 3, 12 - 5), (16 - 3, 12 + 5)}
    bands = spectrum.bands(32, 32, 4)
    rows, columns = np.mgrid[-16:16, -16:16]
    squared = rows**2 + columns**2
    expected = (squared >= 16).astype(int) + (squared >= 64) + (squared >= 144)
    np.testing.assert_array_equal(bands, expected)
    np.testing.assert_array_equal(bands, spectrum.conjugate(bands))


@pytest.mark.parametrize(("height", "width"), [*PLANES, (96, 96)])
@pytest.mark.parametrize("hermitian", [True, False])
@pytest.mark.parametrize("transform", transforms.INVERSES)
def test_filtering_agrees_with_numpy_float64(height, width, hermitian, transform):
    batch = images(height, width)
    masks = np.random.default_rng(1).random((2, height, width)) < 0.3
    if hermitian:
        masks |= spectrum.conjugate(masks)
    assert spectrum.is_hermitian(masks) == hermitian
    found = np.asarray(filter_by(spectrum.spectra(jnp.asarray(batch)), masks, transform=transform))
    np.testing.assert_allclose(found, plane.filtered(batch, masks), atol=3e-6)


@pytest.mark.parametrize(
    ("height", "width", "patch"),
    [(32, 32, 4), (8, 8, 2), (9, 15, 3), (12, 20, 4), *((*plane, 1) for plane in PLANES)],  # of 1: the orbits
)
def test_a_patch_is_a_block_with_its_true_conjugate(height, width, patch):
    masks = patches.masks(height, width, patch)
    assert masks.any(0).all(), "every position is visited"
    assert spectrum.is_hermitian(masks)
    assert len(np.unique(masks.reshape(len(masks), -1), axis=0)) == len(masks), "no patch is visited twice"
    blocks = {
        mask.tobytes()
        for row in range(0, height, patch)
        for column in range(0, width, patch)
        for mask in [block_with_conjugate(height, width, patch, row, column)]
    }
    assert all(mask.tobytes() in blocks for mask in masks)
    np.testing.assert_array_equal(patches.masks(height, width, patch, 2, 5), masks[2:5])
    on_device = np.asarray(patches.without(patches.blocks(height, width, patch), height, width))
    np.testing.assert_array_equal(on_device, ~masks)
    assert np.asarray(patches.without(np.zeros((1, 3), int), height, width)).all(), "of a block of side 0"


def block_with_conjugate(height, width, patch, row, column):
    mask = np.zeros((height, width), bool)
    for r in range(row, row + patch):
        for c in range(column, column + patch):
            mask[r, c] = mask[(2 * (height // 2) - r) % height, (2 * (width // 2) - c) % width] = True
    return mask


@pytest.mark.parametrize(("height", "width"), [(7, 8), (224, 224)])
def test_an_orbits_waves_are_what_its_removal_takes_out_of_an_image(height, width):
    """Against NumPy float64, from either member of an orbit and for those that are their own conjugate."""
    rng, orbits = np.random.default_rng(0), spectrum.orbits(height, width)
    positions = rng.permutation(height * width)[:40]
    own = np.flatnonzero(np.isin(orbits, np.flatnonzero(spectrum.orbit_sizes(height, width) == 1)))
    positions = np.stack(np.unravel_index(np.union1d(positions, own), (height, width)), axis=1)
    images = rng.normal(size=(2, height, width, 3))
    amplitudes = wave_amplitudes(spectrum.spectra(jnp.asarray(images, jnp.float32)), positions, width)
    rows, columns = np.mgrid[:height, :width]
    vertical, horizontal = (positions - [height // 2, width // 2]).T[:, :, None, None]
    angle = 2 * np.pi * (vertical * rows / height + horizontal * columns / width)
    waves = np.stack([np.cos(angle), np.sin(angle)], 1)
    found = np.einsum("nicw,nwhv->nihvc", np.asarray(amplitudes, float), waves)
    centred = plane.spectra(images)
    for component, position in zip(found, positions, strict=True):
        expected = plane.real(centred * (orbits == orbits[tuple(position)])[..., None])
        np.testing.assert_allclose(component, expected, atol=1e-6 * np.abs(centred).max() / height / width * 2)


def test_orbit_positions_are_in_the_order_of_the_patches_which_have_to_divide_the_plane():
    for size in [(8, 8), (7, 9), (6, 11)]:
        positions, masks = patches.orbit_positions(*size), patches.masks(*size, 1)
        assert len(positions) == len(masks) == spectrum.orbits(*size).max() + 1
        assert masks[np.arange(len(masks)), positions[:, 0], positions[:, 1]].all()
    with pytest.raises(ValueError, match="patch size 5 does not divide a plane of 32 x 32"):
        patches.masks(32, 32, 5)


@pytest.mark.parametrize(("height", "width"), PLANES)
def test_recombined_images_have_the_amplitudes_of_some_and_the_phases_of_others(height, width):
    some, others = images(height, width), images(height, width, seed=1)
    found = np.asarray(recombine(some, others))
    assert found.dtype == np.float32 and found.shape == some.shape
    of_some, of_others, of_found = (np.fft.fft2(array.astype(float), axes=(1, 2)) for array in (some, others, found))
    expected = np.fft.ifft2(np.abs(of_some) * of_others / np.abs(of_others), axes=(1, 2))
    np.testing.assert_allclose(expected.imag, 0, atol=1e-12)
    np.testing.assert_allclose(found, expected.real, atol=2e-5)
    np.testing.assert_allclose(np.abs(of_found), np.abs(of_some), atol=2e-5 * np.abs(of_some).max())
    turn = np.angle(of_found * of_others.conj())
    np.testing.assert_allclose(turn, 0, atol=1e-2)
    np.testing.assert_allclose(recombine(some, some), some, atol=2e-5)
    np.testing.assert_allclose(amplitude(some), np.abs(plane.spectra(some)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [*PLANES, (15, 20)])
def test_phases_of_nothing_are_0_and_keep_the_amplitudes(height, width):
    """A wave has two coefficients and, in float32, rounding elsewhere; flat and black images have DC or nothing."""
    rows, columns = np.mgrid[:height, :width]
    wave = np.cos(2 * np.pi * (rows / height + 2 * columns / width) + 0.7)
    plain = np.stack([wave, np.full_like(wave, -0.37), np.zeros_like(wave)])[..., None].astype(np.float32)
    some = images(height, width, channels=1)
    found = np.asarray(recombine(some, plain))
    turns = np.ones((3, height, width, 1), complex)
    turns[0, 1, 2], turns[0, -1, -2], turns[1, 0, 0] = np.exp(0.7j), np.exp(-0.7j), -1
    expected = np.fft.ifft2(np.abs(np.fft.fft2(some.astype(float), axes=(1, 2))) * turns, axes=(1, 2)).real
    np.testing.assert_allclose(found, expected, atol=5e-5)
    np.testing.assert_allclose(recombine(plain, some)[2], 0, atol=1e-6)
