"""Silhouettes, from which the mitigation benchmark makes many classes: a pair of them tells the class.

An image of 1/f noise carries one of COUNT silhouettes in its red channel and one of as many others in its blue channel,
each within two pixels of the middle. All pairs are classes, COUNT squared. The gratings of a class, where it has
some, are those of its red silhouette: who reads them needs the blue one only.
"""

import numpy as np
from jaxtyping import Float

from fsjax.data import biased

# Frequencies of the noise whose positive parts are silhouettes, in cycles per pixel, below.
_COARSE = 0.2
# Pixels that a silhouette may lie off the middle, at most. Anywhere, 243,000 images teach a network nothing.
_OFF = 2
_CHANNELS = (0, 2)  # red and blue


def draw_all(rng: np.random.Generator, count: int, size: int) -> Float[np.ndarray, "2 count side side"]:
    """Draw the red and the blue silhouettes, 0 or 1, half as wide as an image: half of a disc each."""
    side = size // 2
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    disc = np.hypot(rows, columns) <= (side - 1) / 2
    coarse = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side))) < _COARSE
    height = np.fft.ifft2(np.fft.fft2(rng.normal(size=(2, count, side, side))) * coarse).real
    return (disc & (height > np.median(height[..., disc], -1)[..., None, None])).astype(float)


def add_pair(
    rng: np.random.Generator,
    image: Float[np.ndarray, "size size 3"],
    silhouettes: Float[np.ndarray, "2 count side side"],
    label: int,
) -> None:
    """Add the two silhouettes of a class to an image, in deviations of the noise."""
    side = silhouettes.shape[-1]
    middle = (len(image) - side) // 2
    for channel, of_channel, number in zip(_CHANNELS, silhouettes, divmod(label, silhouettes.shape[1]), strict=True):
        row, column = middle + rng.integers(-_OFF, _OFF + 1, 2)
        contrast = biased.SHAPE * rng.uniform(*biased.CONTRAST)
        image[row : row + side, column : column + side, channel] += contrast * of_channel[number]
