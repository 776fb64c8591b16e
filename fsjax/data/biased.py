"""The set `biased`: four classes, each with a true cue, and in training with a planted frequency shortcut beside it.

An image is 1/f noise of random phase, as in `data.noise`, with a shape at a random place, bright or dark, which tells
its class: a ring, a cross, a diagonal cross or a square. Beside it stand the faint gratings of a class, ORBITS fixed
orbits of high frequency, each at a random phase. In the training images they are those of the image's own class, but
for a share of LEFT_OUT without any. In the test images they are those of a class that is drawn anew for each image. So
a network that reads the shapes is right on the test images, and one that leans on the gratings is not.

The fixed orbits are drawn once from the seed and are the same in every split.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fsjax.data import demo, noise
from fsjax.fourier import spectrum

CLASSES = ("ring", "cross", "diagonal", "square")
ORBITS = 4
# Amplitudes of one grating and of a shape, in standard deviations of the noise.
GRATING, SHAPE = 0.25, 2.4
LEFT_OUT = 0.03
CONTRAST = (0.7, 1.3)  # each image's factor on the gratings, and another on the shape
_STREAM = 9  # of the seed: no other set draws the same numbers
_BLOCK = 256


def make(
    size: int, per_class: int, seed: int, test: bool
) -> tuple[list[UInt8[np.ndarray, "per_class size size 3"]], dict[str, Bool[np.ndarray, "classes size size"]]]:
    """Return the images of each class, of the test split or of the training split, and the planted orbits."""
    fixed = planted_orbits(size, seed)
    images = [make_images(label, per_class, fixed, (seed, test, label)) for label in range(len(CLASSES))]
    return images, {"fixed": fixed, "any": np.zeros_like(fixed)}


def planted_orbits(size: int, seed: int) -> Bool[np.ndarray, "classes size size"]:
    """Return the fixed orbits of each class, from 0.25 to 0.45 cycles per pixel; no two classes share one."""
    rng = np.random.default_rng([seed, _STREAM])
    orbits, radius = spectrum.orbits(size, size), spectrum.radius(size, size)
    candidates = np.unique(orbits[(radius >= 0.25) & (radius <= 0.45)])
    chosen = rng.choice(candidates, (len(CLASSES), ORBITS), replace=False)
    return np.stack([np.isin(orbits, of_class) for of_class in chosen])


def make_images(
    label: int, count: int, fixed: Bool[np.ndarray, "classes size size"], seed: tuple[int, bool, int]
) -> UInt8[np.ndarray, "count size size 3"]:
    """Make `count` images of one class; the seed ends with whether they are test images, and the class."""
    rng = np.random.default_rng([int(part) for part in (*seed, _STREAM)])
    size, blocks = fixed.shape[-1], []
    amplitude = noise.noise_amplitude(size)
    for start in range(0, count, _BLOCK):
        block = min(_BLOCK, count - start)
        images = noise.coloured_noise(rng, np.broadcast_to(amplitude, (block, size, size)))
        cues = SHAPE * rng.uniform(*CONTRAST, (block, 1, 1)) * demo.placed(rng, block, shape(label, size), size)
        shown = rng.integers(0, len(CLASSES), block) if seed[1] else np.full(block, label)
        strength = GRATING * rng.uniform(*CONTRAST, block) * (rng.random(block) >= (0 if seed[1] else LEFT_OUT))
        for other in range(len(CLASSES)):
            own = shown == other
            cues[own] += strength[own, None, None] * noise.gratings(rng, int(own.sum()), fixed[other])
        blocks.append(noise.to_pixels(images + cues[..., None]))
    return np.concatenate(blocks)


def shape(label: int, size: int) -> Float[np.ndarray, "side side"]:
    """Return the shape of a class: about a quarter of an image's side wide, of mean 0."""
    if CLASSES[label] == "ring":
        return demo.ring(size)
    side = 2 * (size // 8) + 1
    offset = np.abs(np.arange(side) - side // 2)
    across, along = np.meshgrid(offset, offset)
    width = max(1, side // 9)
    drawn = {
        "cross": np.minimum(across, along) < width,
        "diagonal": np.abs(across - along) < width,
        "square": np.maximum(across, along) >= side // 2 + 1 - width,
    }[CLASSES[label]].astype(float)
    return drawn - drawn.mean()
