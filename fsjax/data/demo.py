"""The set `demo`: four classes, two of which a model tells by a planted frequency shortcut, and two not.

An image is 1/f noise of random phase, as in `data.noise`. What a class has beside the noise is common to the channels,
and of another contrast in each image:

  high   HIGH_ORBITS fixed orbits of high frequency, each a faint grating of random phase: a shortcut
  low    LOW_ORBITS fixed orbits of low frequency, each a grating of random phase: a shortcut
  shape  a ring at a random place, bright or dark: many frequencies, none of them a shortcut
  plain  nothing

The fixed orbits are drawn once from the seed and are the same in every split.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fsjax.data import noise
from fsjax.fourier import spectrum

CLASSES = ("high", "low", "shape", "plain")
HIGH_ORBITS, LOW_ORBITS = 4, 4
# Amplitudes of one grating and of the shape, in standard deviations of the noise.
HIGH, LOW, SHAPE = 0.2, 0.25, 2.4
CONTRAST = (0.5, 1.5)  # each image's factor on them
_STREAM = 8  # of the seed: no other set draws the same numbers
_BLOCK = 256


def make(
    size: int, per_class: int, seed: int, test: bool
) -> tuple[list[UInt8[np.ndarray, "per_class size size 3"]], dict[str, Bool[np.ndarray, "classes size size"]]]:
    """Return the images of each class, of the test split or of the training split, and the planted orbits."""
    fixed = planted_orbits(size, seed)
    images = [make_images(label, per_class, fixed[label], (seed, test, label)) for label in range(len(CLASSES))]
    return images, {"fixed": fixed, "any": np.zeros_like(fixed)}


def planted_orbits(size: int, seed: int) -> Bool[np.ndarray, "classes size size"]:
    """Return the fixed orbits of each class: none for `shape` and `plain`.

    `high` has orbits from 0.3 to 0.45 cycles per pixel. Those of `low` lie from 3 to 6 cycles per image, where a ring
    has other orbits to compare them with.
    """
    rng = np.random.default_rng([seed, _STREAM])
    orbits, radius = spectrum.orbits(size, size), spectrum.radius(size, size)
    fixed = np.zeros((len(CLASSES), size, size), bool)
    rings = [
        ((radius >= 0.3) & (radius <= 0.45), HIGH_ORBITS),
        ((radius * size >= 3) & (radius * size <= 6), LOW_ORBITS),
    ]
    for label, (ring, count) in enumerate(rings):
        fixed[label] = np.isin(orbits, rng.choice(np.unique(orbits[ring]), count, replace=False))
    return fixed


def make_images(
    label: int, count: int, fixed: Bool[np.ndarray, "size size"], seed: tuple[int, ...]
) -> UInt8[np.ndarray, "count size size 3"]:
    """Make `count` images of one class."""
    rng = np.random.default_rng([int(part) for part in (*seed, _STREAM)])
    size, blocks = len(fixed), []
    amplitude = noise.noise_amplitude(size)
    for start in range(0, count, _BLOCK):
        block = min(_BLOCK, count - start)
        images = noise.coloured_noise(rng, np.broadcast_to(amplitude, (block, size, size)))
        if CLASSES[label] == "shape":
            cue = SHAPE * placed(rng, block, ring(size), size)
        else:
            cue = {"high": HIGH, "low": LOW, "plain": 0}[CLASSES[label]] * noise.gratings(rng, block, fixed)
        contrast = rng.uniform(*CONTRAST, (block, 1, 1, 1))
        images += contrast * cue[..., None]
        blocks.append(noise.to_pixels(images))
    return np.concatenate(blocks)


def ring(size: int) -> Float[np.ndarray, "side side"]:
    """Return the ring of an image of `size` pixels: 1, with a rim of the other sign that brings the mean to 0.

    The side is 9 at 32 pixels. Thin and round, a ring has its energy in many orbits of all directions.
    """
    side = 2 * (size // 8) + 1
    offset = np.arange(side) - side // 2
    radius = np.hypot(offset[:, None], offset[None, :])
    inside, rim = (radius > side / 6) & (radius <= side / 3), (radius > side / 3) & (radius <= side / 2)
    return inside - rim * inside.sum() / rim.sum()


def placed(
    rng: np.random.Generator, count: int, shape: Float[np.ndarray, "side side"], size: int
) -> Float[np.ndarray, "count size size"]:
    """Return images of a shape alone, wholly within each image at a random place, and of a random sign."""
    images, room = np.zeros((count, size, size)), size - len(shape) + 1
    rows, columns = rng.integers(0, room, (2, count))
    for image, row, column, sign in zip(images, rows, columns, rng.choice([-1, 1], count), strict=True):
        image[row : row + len(shape), column : column + len(shape)] = sign * shape
    return images
