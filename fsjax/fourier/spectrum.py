"""The Fourier plane: centring, orbits, bands and filtering. Only this file and `transforms` know the layout of an FFT.

Everything public uses the centred plane of an H x W image: position (r, c) holds vertical frequency r - H//2 and
horizontal frequency c - W//2, in cycles per image, so DC is at (H//2, W//2).
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int, Shaped

from fsjax.fourier import transforms

Mask: TypeAlias = Bool[np.ndarray, "height width"]
Masks: TypeAlias = Bool[np.ndarray, "masks height width"]
Plane: TypeAlias = Float[np.ndarray, "height width"]
Images: TypeAlias = Float[Array, "n height width channels"]
HalfSpectra: TypeAlias = Complex[Array, "n height half channels"]
# (row, column) on the centred plane.
Positions: TypeAlias = Int[Array, "n 2"] | Int[np.ndarray, "n 2"]
# (row, column) in a half spectrum.
HalfPositions: TypeAlias = Int[Array, "2 kept"] | Int[np.ndarray, "2 kept"]

_GROUP = 64  # images whose energies are computed at once
# Relative rounding error of a float32 transform, by the largest coefficient of an image.
_ROUNDING = 1e-6


def orbits(height: int, width: int) -> Int[np.ndarray, "height width"]:
    """Return the orbit's number of each position of the plane.

    An orbit is a frequency with its conjugate, {(u, v), (-u, -v)} modulo (H, W). Orbits are numbered from 0 in raster
    order of their first member. An even x even plane has (HW + 4)/2 orbits, an odd x odd plane (HW + 1)/2.
    """
    positions = np.arange(height * width).reshape(height, width)
    representative = np.minimum(positions, conjugate(positions))
    return np.unique(representative, return_inverse=True)[1].reshape(height, width).astype(np.int32)


def orbit_sizes(height: int, width: int) -> Int[np.ndarray, " orbits"]:
    """Return the number of positions of each orbit: 1 where a frequency is its own conjugate, else 2."""
    return np.bincount(orbits(height, width).ravel())


def first_members(height: int, width: int) -> Int[np.ndarray, " orbits"]:
    """Return where each orbit's first member is in the centred plane as a single row."""
    return np.unique(orbits(height, width), return_index=True)[1]


def per_orbit(plane: Shaped[np.ndarray, "*batch height width"]) -> Shaped[np.ndarray, "*batch orbits"]:
    """Return the plane at each orbit's first member, in orbit order; `values[orbits(H, W)]` is the inverse."""
    rows, columns = np.unravel_index(first_members(*plane.shape[-2:]), plane.shape[-2:])
    return plane[..., rows, columns]


def conjugate(plane: Shaped[np.ndarray, "*batch height width"]) -> Shaped[np.ndarray, "*batch height width"]:
    """Return the plane at the conjugate of every position: out(u, v) = plane(-u, -v)."""
    rows, columns = conjugate_indices(*plane.shape[-2:])
    return plane[..., rows[:, None], columns[None, :]]


def is_hermitian(mask: Shaped[np.ndarray, "*batch height width"]) -> bool:
    """Return whether a mask is constant on orbits."""
    return bool(np.array_equal(mask, conjugate(mask)))


def frequencies(height: int, width: int) -> tuple[Plane, Plane]:
    """Return the vertical and horizontal frequency of each position, in cycles per pixel, in [-0.5, 0.5)."""
    vertical = (np.arange(height) - height // 2) / height
    horizontal = (np.arange(width) - width // 2) / width
    rows, columns = np.meshgrid(vertical, horizontal, indexing="ij")
    return rows, columns


def radius(height: int, width: int) -> Plane:
    """Return the distance of each position from DC, in cycles per pixel: 0 to sqrt(0.5); constant on orbits."""
    return np.hypot(*frequencies(height, width))


def bands(height: int, width: int, count: int = 4) -> Int[np.ndarray, "height width"]:
    """Return the radial band of each position, 0 (lowest) to count-1.

    Bands have equal width between 0 and the Nyquist frequency, 0.5 cycles per pixel. The corners of the plane, beyond
    Nyquist, belong to the last band.
    """
    # The small term puts a radius on a boundary into the upper band.
    return np.minimum((radius(height, width) * 2 * count + 1e-9).astype(np.int32), count - 1)


def spectra(images: Float[Array, "*batch height width channels"]) -> Complex[Array, "*batch height half channels"]:
    """Return the half spectrum of each channel of real images (unnormalised DFT), as `filter_spectra` takes it."""
    return jnp.fft.rfft2(images, axes=(-3, -2))


def filter_spectra(
    spectrum: HalfSpectra,
    masks: Shaped[Array, "masks height width"] | Shaped[Array, "masks n height width"],
    transform: str = "fft",
) -> Float[Array, "masks n height width channels"]:
    """Return every image under every mask, the same on every channel: Re F^-1(M * F x).

    A mask need not be constant on orbits. The real part weights an orbit by (M(u,v) + M(-u,-v))/2, so the half spectrum
    with these weights gives the same filter at half the cost.

    masks: M on the centred plane, one for all images or one per image. transform: a key of `transforms.INVERSES`.
    """
    height, width = masks.shape[-2:]
    rows, columns = conjugate_indices(height, width)
    masks = masks.astype(jnp.float32)
    symmetric = (masks + masks[..., rows[:, None], columns[None, :]]) / 2
    weights = _half(symmetric)[..., None]
    return transforms.INVERSES[transform](
        spectrum[None] * (weights if masks.ndim == 4 else weights[:, None]), height, width
    )


def filter_orbits(
    spectrum: HalfSpectra, weights: Float[Array, " orbits"], width: int, transform: str = "fft"
) -> Images:
    """Return every image with each orbit of its spectrum multiplied by a weight, differentiable in the weights.

    Weights are in the order of `orbits`; width is W, which a half spectrum does not determine.
    """
    height = spectrum.shape[1]
    half = _half(orbits(height, width))
    return transforms.INVERSES[transform](spectrum * weights[half][None, :, :, None], height, width)


@jax.jit
def filter_images(
    images: Images, masks: Shaped[Array, "masks height width"]
) -> Float[Array, "masks n height width channels"]:
    """Return every image filtered by every mask."""
    return filter_spectra(spectra(images), masks)


@jax.jit
def graft(recipients: Images, donors: Images, mask: Bool[Array, "height width"]) -> Images:
    """Return the recipients with the donors' frequencies inside the mask."""
    return recipients + filter_spectra(spectra(donors) - spectra(recipients), mask[None])[0]


def half_positions(mask: Mask, least: int) -> Int[np.ndarray, "2 kept"]:
    """Return where a mask's frequencies lie in a half spectrum, for `coefficients`.

    Their number is `least` times a power of 4, or all of the half, so that masks of about a size share a program. The
    rest lies beyond the plane.
    """
    half = _half(mask)
    found, count = np.array(np.nonzero(half), np.int32), least
    while count < found.shape[1]:
        count *= 4
    return np.pad(found, ((0, 0), (0, min(count, half.size) - found.shape[1])), constant_values=max(half.shape))


def coefficients(images: Images, positions: HalfPositions) -> Complex[Array, "n kept channels"]:
    """Return the DFT of images at `half_positions`, 0 beyond the plane, for `from_coefficients`."""
    return spectra(images).at[:, positions[0], positions[1]].get(mode="fill", fill_value=0)


def from_coefficients(
    values: Complex[Array, "n kept channels"], positions: HalfPositions, height: int, width: int
) -> Images:
    """Invert `coefficients`: return images with these coefficients at the positions of a mask, and 0 elsewhere.

    The mask is constant on orbits.
    """
    spectrum = jnp.zeros((len(values), height, width // 2 + 1, values.shape[-1]), values.dtype)
    spectrum = spectrum.at[:, positions[0], positions[1]].set(values, mode="drop")
    return jnp.fft.irfft2(spectrum, s=(height, width), axes=(1, 2))


@jax.jit
def recombine(amplitudes: Images, phases: Images) -> Images:
    """Return images with the amplitudes |F| of some images and the phases of others.

    The phase is 0 where |F| is only rounding error.
    """
    size = amplitudes.shape[1:3]
    phase_spectra = spectra(phases)
    length = jnp.abs(phase_spectra)
    # Rounding errors are not Hermitian, so their phases would lose a part of the amplitudes.
    has_phase = length > _ROUNDING * length.max((1, 2), keepdims=True)
    turns = jnp.where(has_phase, phase_spectra / jnp.where(has_phase, length, 1), 1)
    return jnp.fft.irfft2(jnp.abs(spectra(amplitudes)) * turns, s=size, axes=(1, 2))


def amplitude(images: Images) -> Images:
    """Return |F x| of each channel on the centred plane."""
    return jnp.fft.fftshift(jnp.abs(jnp.fft.fft2(images, axes=(1, 2))), axes=(1, 2))


def orbit_amplitudes(images: Images) -> Float[Array, "n orbits channels"]:
    """Return |F x| of each orbit, in the order of `orbits`, from the half spectrum."""
    height, width, channels = images.shape[1:]
    half = _half(orbits(height, width))
    members = np.unique(half, return_index=True)[1]
    return jnp.abs(spectra(images)).reshape(-1, half.size, channels)[:, members]


def waves(
    positions: Positions,
    coefficients: Complex[Array, "n images channels"] | Complex[np.ndarray, "n images channels"],
    height: int,
    width: int,
) -> Float[Array, "n images height width channels"]:
    """Return the waves Re(c exp(ik.x)); k is the frequency at a position, x counts from pixel 0.

    So c = A exp(i phase) makes A cos(k.x + phase). positions: (row, column) on the centred plane.
    """

    def turns(places: Int[Array, " n"] | Int[np.ndarray, " n"], size: int) -> Complex[Array, "n size"]:
        circle = np.exp(2j * np.pi * np.arange(size) / size).astype(np.complex64)
        return jnp.asarray(circle)[(places - size // 2)[:, None] * np.arange(size) % size]

    rows, columns = turns(positions[:, 0], height), turns(positions[:, 1], width)
    plane = (rows[:, :, None] * columns[:, None])[:, None, ..., None]
    return (jnp.asarray(coefficients)[:, :, None, None] * plane).real


def wave_amplitudes(
    spectrum: Complex[Array, "images height half channels"], positions: Positions, width: int
) -> Float[Array, "n images channels 2"]:
    """Return the amplitudes of the cosine and the sine of each position's orbit in each image.

    An image minus these waves equals the image filtered by a mask without that orbit. positions: (row, column) on the
    centred plane, of either member of an orbit. width: W, which a half spectrum does not determine.
    """
    height = spectrum.shape[1]
    row, column = positions[:, 0] - height // 2, positions[:, 1] - width // 2
    conjugated = column < 0  # a half spectrum holds the other member
    coefficients = spectrum[:, jnp.where(conjugated, -row, row) % height, jnp.where(conjugated, -column, column)]
    coefficients = jnp.moveaxis(jnp.where(conjugated[:, None], coefficients.conj(), coefficients), 1, 0)
    self_conjugate = (2 * row % height == 0) & (2 * column % width == 0)
    coefficients = coefficients * (jnp.where(self_conjugate, 1, 2) / (height * width))[:, None, None]
    return jnp.stack([coefficients.real, -coefficients.imag], axis=-1)


def energy(images: Float[np.ndarray, "images height width channels"]) -> Plane:
    """Return the mean |F x|^2 over images and channels, on the centred plane."""
    total = np.zeros(images.shape[1:3])
    for start in range(0, len(images), _GROUP):
        group = images[start : start + _GROUP]
        total += np.asarray(_energies(np.pad(group, [(0, _GROUP - len(group)), *[(0, 0)] * 3])), float)
    return total / len(images) / images.shape[3]


@jax.jit
def _energies(images: Images) -> Float[Array, "height width"]:
    return jnp.square(amplitude(images)).sum((0, 3))


def _half(plane: Any) -> Any:
    """Return the positions of a centred plane that a half spectrum has, in its order."""
    library = jnp if isinstance(plane, jax.Array) else np
    return library.fft.ifftshift(plane, axes=(-2, -1))[..., : plane.shape[-1] // 2 + 1]


def conjugate_indices(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the conjugate's row for each row of the centred plane, and the conjugate's column for each column."""
    return (2 * (height // 2) - np.arange(height)) % height, (2 * (width // 2) - np.arange(width)) % width
