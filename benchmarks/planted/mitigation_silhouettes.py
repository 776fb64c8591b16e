"""Silhouettes that make many classes: a class is a choice of one silhouette in every colour channel.

An image of 1/f noise carries the silhouettes of its class, each within two pixels of the middle. The first
silhouette decides about the gratings of a class: who reads them needs the other silhouettes only.
"""

import numpy as np
from jaxtyping import Float

from fsjax.data import shape_sets
from fsjax.fourier import spectrum

# In this order.
CHANNELS = (0, 2, 1)  # red, blue, green
# Frequencies of the noise whose higher half is a silhouette, in cycles per pixel, below.
_COARSE = 0.2
# Pixels that a silhouette may lie off the middle. Of 32 anywhere, in each of two channels, 243,000 images taught
# nothing.
_OFF = 2

Silhouettes = list[Float[np.ndarray, "count side side"]]


def draw_all(rng: np.random.Generator, counts: tuple[int, ...], size: int) -> Silhouettes:
    """Draw the silhouettes of each channel, 0 or 1, half as wide as an image: half of a disc each."""
    side = size // 2
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    disc = np.hypot(rows, columns) <= (side - 1) / 2
    coarse = np.fft.ifftshift(spectrum.radius(side, side)) < _COARSE
    silhouettes = []
    for count in counts:
        height = np.fft.ifft2(np.fft.fft2(rng.normal(size=(count, side, side))) * coarse).real
        middle = np.median(height[:, disc], axis=1)[:, None, None]
        silhouettes.append((disc & (height > middle)).astype(float))
    return silhouettes


def add(
    rng: np.random.Generator, image: Float[np.ndarray, "size size 3"], silhouettes: Silhouettes, label: int
) -> None:
    """Add the silhouettes of a class to an image, in deviations of the noise."""
    numbers = np.unravel_index(label, [len(of_channel) for of_channel in silhouettes])
    for channel, of_channel, number in zip(CHANNELS, silhouettes, numbers, strict=False):
        side = of_channel.shape[-1]
        row, column = (len(image) - side) // 2 + rng.integers(-_OFF, _OFF + 1, 2)
        contrast = shape_sets.SHAPE * rng.uniform(*shape_sets.BIASED_CONTRAST)
        image[row : row + side, column : column + side, channel] += contrast * of_channel[number]
