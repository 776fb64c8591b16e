"""The parts of synthetic images: 1/f noise, gratings and pixels.

Images are made in standard deviations of the noise, on the centred plane of `fourier.spectrum`, and become pixels last.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fsjax.fourier import spectrum

Planes = Float[np.ndarray, "count size size"]
Colours = Float[np.ndarray, "count size size 3"]
Pixels = UInt8[np.ndarray, "count size size 3"]
MEAN, NOISE = 0.498, 0.15  # of pixels in [0, 1]: the mean, and the standard deviation of the noise


def noise_amplitude(size: int) -> Float[np.ndarray, "size size"]:
    """Return each frequency's amplitude, 1/f and 0 at DC, scaled to keep the deviation 1 of white noise."""
    radius = spectrum.radius(size, size)
    amplitude = np.divide(1, radius, out=np.zeros_like(radius), where=radius > 0)
    return amplitude / np.sqrt((amplitude**2).mean())


def coloured_noise(rng: np.random.Generator, amplitude: Planes) -> Colours:
    """Return white noise of deviation 1, independent in each channel, with its spectrum multiplied by an amplitude."""
    white = rng.normal(size=(*amplitude.shape, 3))
    centred = np.fft.fftshift(np.fft.fft2(white, axes=(1, 2)), axes=(1, 2)) * amplitude[..., None]
    return np.fft.ifft2(np.fft.ifftshift(centred, axes=(1, 2)), axes=(1, 2)).real


def gratings(
    rng: np.random.Generator, count: int, orbits: Bool[np.ndarray, "size size"], amplitude: Planes | None = None
) -> Planes:
    """Return the sum of a grating for each orbit, at a random phase in each image; amplitude None = 1."""
    size = len(orbits)
    total = np.zeros((count, size, size))
    rows, columns = np.mgrid[:size, :size]
    numbers = spectrum.orbits(size, size)
    for orbit in np.unique(numbers[orbits]):
        row, column = np.argwhere(numbers == orbit)[0]
        angle = 2 * np.pi * ((row - size // 2) * rows + (column - size // 2) * columns) / size
        waves = np.cos(angle + rng.uniform(0, 2 * np.pi, (count, 1, 1)))
        total += waves if amplitude is None else amplitude[:, row, column, None, None] * waves
    return total


def to_pixels(images: Colours) -> Pixels:
    """Return the 8-bit pixels of images in deviations of the noise, clipped to [0, 255]."""
    return np.rint(np.clip(MEAN + NOISE * images, 0, 1) * 255).astype(np.uint8)
