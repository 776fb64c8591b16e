"""The synthetic sets `demo` and `biased`, whose classes differ by shapes and by planted gratings.

An image is 1/f noise of random phase (noise.py). What tells its class is added to all channels, at a random contrast:
the gratings of a few fixed orbits, each at a random phase, and a bright or dark shape at a random place. The fixed
orbits are drawn once from the seed and are the same in every split.

The classes of `demo`, two with a shortcut and two without:

  high   DEMO_ORBITS orbits of high frequency, faint: a shortcut
  low    DEMO_ORBITS orbits of low frequency: a shortcut
  shape  a ring: many frequencies and no shortcut
  plain  nothing

Each class of `biased` has a true cue, its shape, beside BIASED_ORBITS faint orbits of high frequency. A training image
shows its own class's orbits, except a share of LEFT_OUT without any. A test image shows the orbits of a random class.
So a network that reads the shapes is right on the test images, and a network that reads the gratings is not.
"""

import numpy as np
from jaxtyping import Bool, Float

from fsjax.data import noise
from fsjax.fourier import spectrum
from fsjax.runtime.random_streams import Stream, generator

DEMO_CLASSES = ("high", "low", "shape", "plain")
DEMO_ORBITS = 4
# Amplitudes of one grating and of a shape, in standard deviations of the noise.
HIGH, LOW, SHAPE = 0.2, 0.25, 2.4
DEMO_CONTRAST = (0.5, 1.5)  # range of the factor on gratings and shape

BIASED_CLASSES = ("ring", "cross", "diagonal", "square")
BIASED_ORBITS = 4
GRATING = 0.25
LEFT_OUT = 0.03
BIASED_CONTRAST = (0.7, 1.3)  # range of the factor on the gratings, and of another on the shape


def demo_block(
    rng: np.random.Generator, label: int, test: bool, fixed: Bool[np.ndarray, "classes size size"], count: int
) -> Float[np.ndarray, "count size size 3"]:
    """Return `count` images of a class of `demo`, in deviations of the noise; splits differ by the generator alone."""
    name, size = DEMO_CLASSES[label], fixed.shape[-1]
    images = noise.coloured_noise(rng, np.broadcast_to(noise.noise_amplitude(size), (count, size, size)))
    if name == "shape":
        cue = SHAPE * place_shape(rng, count, ring(size), size)
    else:
        cue = {"high": HIGH, "low": LOW, "plain": 0}[name] * noise.gratings(rng, count, fixed[label])
    return images + rng.uniform(*DEMO_CONTRAST, (count, 1, 1, 1)) * cue[..., None]


def demo_orbits(size: int, seed: int) -> Bool[np.ndarray, "classes size size"]:
    """Return the fixed orbits of each class of `demo`: none for `shape` and `plain`.

    Orbits of `high` lie from 0.3 to 0.45 cycles per pixel. Orbits of `low` lie from 3 to 6 cycles per image, where a
    ring has other orbits to compare them with.
    """
    rng = generator(seed, Stream.DEMO_ORBITS)
    orbits, radius = spectrum.orbits(size, size), spectrum.radius(size, size)
    fixed = np.zeros((len(DEMO_CLASSES), size, size), bool)
    for label, (values, least, greatest) in enumerate([(radius, 0.3, 0.45), (radius * size, 3, 6)]):
        candidates = np.unique(orbits[(values >= least) & (values <= greatest)])
        fixed[label] = np.isin(orbits, rng.choice(candidates, DEMO_ORBITS, replace=False))
    return fixed


def biased_block(
    rng: np.random.Generator, label: int, test: bool, fixed: Bool[np.ndarray, "classes size size"], count: int
) -> Float[np.ndarray, "count size size 3"]:
    """Return `count` images of a class of `biased`, in deviations of the noise, for the test or training split."""
    classes, size = fixed.shape[:2]
    images = noise.coloured_noise(rng, np.broadcast_to(noise.noise_amplitude(size), (count, size, size)))
    height = SHAPE * rng.uniform(*BIASED_CONTRAST, (count, 1, 1))
    cues = height * place_shape(rng, count, class_shape(label, size), size)
    shown = rng.integers(0, classes, count) if test else np.full(count, label)
    strength = GRATING * rng.uniform(*BIASED_CONTRAST, count) * (rng.random(count) >= (0 if test else LEFT_OUT))
    for other in range(classes):
        rows = shown == other
        cues[rows] += strength[rows, None, None] * noise.gratings(rng, int(rows.sum()), fixed[other])
    return images + cues[..., None]


def biased_orbits(size: int, seed: int) -> Bool[np.ndarray, "classes size size"]:
    """Return the fixed orbits of each class of `biased`, from 0.25 to 0.45 cycles per pixel; classes share none."""
    orbits, radius = spectrum.orbits(size, size), spectrum.radius(size, size)
    candidates = np.unique(orbits[(radius >= 0.25) & (radius <= 0.45)])
    rng = generator(seed, Stream.BIASED_ORBITS)
    chosen = rng.choice(candidates, (len(BIASED_CLASSES), BIASED_ORBITS), replace=False)
    return np.stack([np.isin(orbits, numbers) for numbers in chosen])


def class_shape(label: int, size: int) -> Float[np.ndarray, "side side"]:
    """Return the shape of a class of `biased`: about a quarter of an image's side wide, of mean 0."""
    name = BIASED_CLASSES[label]
    if name == "ring":
        return ring(size)
    side = 2 * (size // 8) + 1
    offset = np.abs(np.arange(side) - side // 2)
    across, along = np.meshgrid(offset, offset)
    width = max(1, side // 9)
    drawn = {
        "cross": np.minimum(across, along) < width,
        "diagonal": np.abs(across - along) < width,
        "square": np.maximum(across, along) >= side // 2 + 1 - width,
    }[name].astype(float)
    return drawn - drawn.mean()


def ring(size: int) -> Float[np.ndarray, "side side"]:
    """Return the ring for images of `size` pixels: 1, with a rim of the other sign that brings the mean to 0.

    The side is 9 at 32 pixels. A thin ring has its energy in many orbits of all directions.
    """
    side = 2 * (size // 8) + 1
    offset = np.arange(side) - side // 2
    radius = np.hypot(offset[:, None], offset[None, :])
    inside, rim = (radius > side / 6) & (radius <= side / 3), (radius > side / 3) & (radius <= side / 2)
    return inside - rim * inside.sum() / rim.sum()


def place_shape(
    rng: np.random.Generator, count: int, shape: Float[np.ndarray, "side side"], size: int
) -> Float[np.ndarray, "count size size"]:
    """Return images of a shape alone, each at a random place wholly inside the image and with a random sign."""
    images, room = np.zeros((count, size, size)), size - len(shape) + 1
    rows, columns = rng.integers(0, room, (2, count))
    for image, row, column, sign in zip(images, rows, columns, rng.choice([-1, 1], count), strict=True):
        image[row : row + len(shape), column : column + len(shape)] = sign * shape
    return images
