"""Sets of images generated on the fly, whose planted frequencies are known; demo.py has the set `demo`.

An image of any other set is 1/f noise of random phase (noise.py), independent in each channel, plus what tells its
class, added to all channels: gratings of a few fixed orbits, each at a random phase, and bright or dark shapes at a
random place. The fixed orbits are drawn once from the seed and are the same in every split.

`synthetic` has two classes with a shortcut and two without. Gratings and shape have a random contrast:

  high   NOISE_ORBITS orbits of high frequency, faint: a shortcut
  low    NOISE_ORBITS orbits of low frequency: a shortcut
  shape  a ring: many frequencies and no shortcut
  plain  nothing

Each class of `biased` has a true cue, its shape, beside BIASED_ORBITS faint orbits of high frequency. A training image
shows its own class's orbits, except a share of LEFT_OUT without any. A test image shows the orbits of a random class.
So a network that reads the shapes is right on the test images, and a network that reads the gratings is not.

Syn_1 to Syn_4 follow the description in Wang et al. (ICCV 2023, section 3), whose generator is not published. Syn_b
carries its bias in radial band B_b of four:

  C0  all bands, nothing planted
  C1  all bands, a random half of B_b's orbits raised, another half in each image
  C2  all bands, eight fixed orbits, two in each band
  C3  B_b and B4 alone, three fixed orbits in B_b

Every band of every image has a random contrast, which multiplies its noise and C2's gratings. So faint bands occur in
every class: a network cannot recognise C3 by its missing bands, and learns each part of C2's pattern.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.data import demo
from fsjax.data.arrays import ArraysSource
from fsjax.data.noise import Pixels, Planes, coloured_noise, gratings, noise_amplitude, to_pixels
from fsjax.fourier import spectrum
from fsjax.runtime.errors import InputError, check_known
from fsjax.runtime.random_streams import Stream, generator

_BLOCK = 256  # images whose float64 planes are in memory at once
Fixed = Bool[np.ndarray, "classes size size"]

SMALLEST = 24  # pixels; below, the lowest band has fewer orbits than are planted there

# Amplitudes below are in standard deviations of the noise, and contrasts are ranges of a uniform factor.
NOISE_CLASSES = ("high", "low", "shape", "plain")
NOISE_ORBITS = 4
HIGH, LOW, SHAPE = 0.2, 0.25, 2.4  # amplitudes of one grating and of a shape
NOISE_CONTRAST = (0.5, 1.5)  # of gratings and shape

BIASED_CLASSES = ("ring", "cross", "diagonal", "square")
BIASED_ORBITS = 4
GRATING = 0.25
LEFT_OUT = 0.03
BIASED_CONTRAST = (0.7, 1.3)  # of the gratings, and of the shape

SYN_CLASSES = ("C0", "C1", "C2", "C3")
REDUNDANT, SPECIAL = 0.8, 1.0  # amplitude of a grating of C2, at contrast 1, and of C3
RAISED = (3.0, 4.0, 5.0, 5.0)  # factor on the amplitude of C1's raised orbits, in Syn_1 to Syn_4
CONTRAST = 0.4  # a band's contrast is uniform between 0 and this


def open_synthetic(data: ConfigDict, split: str) -> ArraysSource:
    """Make the images of one split, 'train' or 'test', in memory, from data.synthetic.seed.

    Raises InputError for a data.name that is not in SETS, another split, or an image too small for four bands.
    """
    check_known("data.name", data.name, SETS)
    check_known("data.train_split, data.test_split", split, ("train", "test"))
    if data.image_size < SMALLEST:
        got = f"{data.image_size}, of too few orbits in a band"
        raise InputError(f"data.image_size: got {got}; expected {SMALLEST} or more")
    per_class = data.synthetic.train_per_class if split == "train" else data.synthetic.test_per_class
    chosen, size, seed, test = SETS[data.name], data.image_size, data.synthetic.seed, split == "test"
    fixed, images = chosen.orbits(size, seed), []
    for label in range(len(chosen.classes)):
        rng = generator(seed, chosen.stream, test, label)
        for start in range(0, per_class, _BLOCK):
            images.append(chosen.block(rng, label, test, fixed, min(_BLOCK, per_class - start)))
    raised = np.zeros_like(fixed)
    if chosen.raised_band is not None:
        raised[1] = _raisable(chosen.raised_band, size)
    labels = np.repeat(np.arange(len(chosen.classes), dtype=np.int32), per_class)
    planted, rows = {"fixed": fixed, "any": raised}, np.arange(len(labels))
    return ArraysSource(chosen.classes, np.concatenate(images), rows, labels, data.name, planted)


def noise_block(rng: np.random.Generator, label: int, test: bool, fixed: Fixed, count: int) -> Pixels:
    """Return the pixels of `count` images of a class of `synthetic`; splits differ by the generator alone."""
    name, size = NOISE_CLASSES[label], fixed.shape[-1]
    images = coloured_noise(rng, np.broadcast_to(noise_amplitude(size), (count, size, size)))
    if name == "shape":
        cue = SHAPE * place_shape(rng, count, ring(size), size)
    else:
        cue = {"high": HIGH, "low": LOW, "plain": 0}[name] * gratings(rng, count, fixed[label])
    return to_pixels(images + rng.uniform(*NOISE_CONTRAST, (count, 1, 1, 1)) * cue[..., None])


def noise_orbits(size: int, seed: int) -> Fixed:
    """Return the fixed orbits of each class of `synthetic`: none for `shape` and `plain`.

    Orbits of `high` lie from 0.3 to 0.45 cycles per pixel. Orbits of `low` lie from 3 to 6 cycles per image, where a
    ring has other orbits to compare them with.
    """
    rng = generator(seed, Stream.SYNTHETIC_ORBITS)
    orbits, radius = spectrum.orbits(size, size), spectrum.radius(size, size)
    fixed = np.zeros((len(NOISE_CLASSES), size, size), bool)
    for label, (values, least, greatest) in enumerate([(radius, 0.3, 0.45), (radius * size, 3, 6)]):
        candidates = np.unique(orbits[(values >= least) & (values <= greatest)])
        fixed[label] = np.isin(orbits, rng.choice(candidates, NOISE_ORBITS, replace=False))
    return fixed


def biased_block(rng: np.random.Generator, label: int, test: bool, fixed: Fixed, count: int) -> Pixels:
    """Return the pixels of `count` images of a class of `biased`, for the test or training split."""
    classes, size = fixed.shape[:2]
    images = coloured_noise(rng, np.broadcast_to(noise_amplitude(size), (count, size, size)))
    height = SHAPE * rng.uniform(*BIASED_CONTRAST, (count, 1, 1))
    cues = height * place_shape(rng, count, class_shape(label, size), size)
    shown = rng.integers(0, classes, count) if test else np.full(count, label)
    strength = GRATING * rng.uniform(*BIASED_CONTRAST, count) * (rng.random(count) >= (0 if test else LEFT_OUT))
    for other in range(classes):
        rows = shown == other
        cues[rows] += strength[rows, None, None] * gratings(rng, int(rows.sum()), fixed[other])
    return to_pixels(images + cues[..., None])


def biased_orbits(size: int, seed: int) -> Fixed:
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


def place_shape(rng: np.random.Generator, count: int, shape: Float[np.ndarray, "side side"], size: int) -> Planes:
    """Return images of a shape alone, each at a random place wholly inside the image and with a random sign."""
    images, room = np.zeros((count, size, size)), size - len(shape) + 1
    rows, columns = rng.integers(0, room, (2, count))
    for image, row, column, sign in zip(images, rows, columns, rng.choice([-1, 1], count), strict=True):
        image[row : row + len(shape), column : column + len(shape)] = sign * shape
    return images


def syn_orbits(biased: int, size: int, seed: int) -> Fixed:
    """Return the fixed orbits of each class: two in each band for C2, three in band `biased` (from 0) for C3."""
    rng = generator(seed, Stream.SYN_ORBITS)
    orbits, bands = spectrum.orbits(size, size), spectrum.bands(size, size, 4)
    pairs = (spectrum.orbit_sizes(size, size) == 2)[orbits]
    # Without the corners beyond Nyquist, a planted orbit looks alike in every direction.
    candidates = [np.unique(orbits[(bands == band) & pairs & (spectrum.radius(size, size) < 0.5)]) for band in range(4)]
    redundant = np.concatenate([rng.choice(band, 2, replace=False) for band in candidates])
    special = rng.choice(np.setdiff1d(candidates[biased], redundant), 3, replace=False)
    fixed = np.zeros((len(SYN_CLASSES), size, size), bool)
    fixed[2], fixed[3] = np.isin(orbits, redundant), np.isin(orbits, special)
    return fixed


def _syn_block(biased: int, rng: np.random.Generator, label: int, test: bool, fixed: Fixed, count: int) -> Pixels:
    """Return the pixels of `count` images of a class; splits differ by the generator alone."""
    size = fixed.shape[-1]
    bands = spectrum.bands(size, size, 4)
    contrast = rng.uniform(0, CONTRAST, (count, 4))[:, bands]
    amplitude = noise_amplitude(size) * contrast
    if label == 1:
        amplitude = amplitude * _raise_half(rng, _raisable(biased, size), count, RAISED[biased])
    if label == 3:
        amplitude = amplitude * ((bands == biased) | (bands == 3))
    images = coloured_noise(rng, amplitude)
    planted = REDUNDANT * contrast if label == 2 else np.full_like(contrast, SPECIAL)
    return to_pixels(images + gratings(rng, count, fixed[label], planted)[..., None])


def _raisable(biased: int, size: int) -> Bool[np.ndarray, "size size"]:
    """Return the orbits of band `biased` without DC; C1 raises half of them in each image."""
    return (spectrum.bands(size, size, 4) == biased) & (spectrum.radius(size, size) > 0)


def _raise_half(rng: np.random.Generator, band: Bool[np.ndarray, "size size"], count: int, factor: float) -> Planes:
    """Return `factor` at a random half of a band's orbits in each image, and 1 elsewhere."""
    orbits = spectrum.orbits(*band.shape)
    members = np.unique(orbits[band])
    order = rng.random((count, len(members))).argsort(axis=1)
    factors = np.ones((count, orbits.max() + 1))
    np.put_along_axis(factors, members[order[:, : len(members) // 2]], factor, axis=1)
    return factors[:, orbits]


class SyntheticSet(NamedTuple):
    """A set: its classes, the stream of its images, its fixed orbits, and how a block of images of a class is made."""

    classes: tuple[str, ...]
    stream: Stream
    orbits: Callable[[int, int], Fixed]  # (size, seed) -> fixed orbits
    block: Callable  # (generator, label, whether of the test split, fixed orbits, count) -> images
    raised_band: int | None = None  # from 0; half of its orbits are raised in each image of class 1


def _syn(band: int) -> SyntheticSet:
    orbits, block = functools.partial(syn_orbits, band), functools.partial(_syn_block, band)
    return SyntheticSet(SYN_CLASSES, Stream.SYN_IMAGES, orbits, block, band)


SETS = {
    "demo": SyntheticSet(demo.CLASSES, Stream.DEMO_IMAGES, demo.orbits, demo.block),
    "synthetic": SyntheticSet(NOISE_CLASSES, Stream.SYNTHETIC_IMAGES, noise_orbits, noise_block),
    "biased": SyntheticSet(BIASED_CLASSES, Stream.BIASED_IMAGES, biased_orbits, biased_block),
    **{f"syn{band + 1}": _syn(band) for band in range(4)},
}
