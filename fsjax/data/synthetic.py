"""Syn_1 to Syn_4: four classes that differ in planted frequencies, so that every search can be scored.

The sets follow the description in Wang et al. (ICCV 2023, section 3), whose generator is not published. Syn_b
carries its bias in radial band B_b of four. An image is 1/f noise of random phase, of standard deviation NOISE around
MEAN, independent in each channel, plus gratings common to the channels:

  C0  all bands, nothing planted
  C1  all bands, a random half of B_b's orbits raised by RAISED, another half in each image
  C2  all bands, eight fixed orbits, two in each band, each a grating of random phase
  C3  B_b and B4 alone, three fixed orbits in B_b

The fixed orbits are drawn once from the seed and are the same in every split.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from ml_collections import ConfigDict

from fsjax.data import biased, demo
from fsjax.data.noise import coloured_noise, gratings, noise_amplitude, to_pixels
from fsjax.data.source import Source
from fsjax.fourier import spectrum
from fsjax.runtime.errors import InputError

CLASSES = ("C0", "C1", "C2", "C3")
GRATING = 0.5  # amplitude of a planted orbit, in standard deviations of the noise
RAISED = 3.0  # factor on the amplitude of C1's raised orbits
SMALLEST = 24  # pixels; below, the lowest band has fewer orbits than are planted there
_BLOCK = 256


def open_synthetic(data: ConfigDict, split: str) -> Source:
    """Make the images of one split, 'train' or 'test', in memory, from data.synthetic.seed.

    Raises InputError for a data.name that is not in SETS, another split, or an image too small for four bands.
    """
    if data.name not in SETS:
        raise InputError(f"data.name: got {data.name!r}; expected {', '.join(SETS)}")
    if split not in ("train", "test"):
        raise InputError(f"data.train_split, data.test_split: got {split!r}; expected train, test")
    if data.image_size < SMALLEST:
        raise InputError(
            f"data.image_size: got {data.image_size}, of too few orbits in a band; expected {SMALLEST} or more"
        )
    per_class = data.synthetic.train_per_class if split == "train" else data.synthetic.test_per_class
    classes, make = SETS[data.name]
    images, planted = make(data.image_size, per_class, data.synthetic.seed, split == "test")
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), per_class)
    return SyntheticSource(np.concatenate(images), labels, classes, planted)


@dataclasses.dataclass
class SyntheticSource(Source):
    """A Source of images in memory."""

    images: UInt8[np.ndarray, "images size size 3"]
    labels: Int32[np.ndarray, " images"]
    classes: tuple[str, ...]
    planted: dict | None

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "size size 3"]:
        return self.images[index]


def make_syn(
    biased: int, size: int, per_class: int, seed: int, test: bool
) -> tuple[list[UInt8[np.ndarray, "per_class size size 3"]], dict[str, Bool[np.ndarray, "classes size size"]]]:
    """Return the images of each class of the set whose bias lies in band `biased`, from 0, and the planted orbits."""
    fixed = planted_orbits(biased, size, seed)
    any_half = np.zeros_like(fixed)
    any_half[1] = raisable(biased, size)
    images = [make_images(label, per_class, biased, fixed[label], (seed, test, label)) for label in range(len(CLASSES))]
    return images, {"fixed": fixed, "any": any_half}


def planted_orbits(biased: int, size: int, seed: int) -> Bool[np.ndarray, "classes size size"]:
    """Return the fixed orbits of each class: two in each band for C2, three in band `biased` (from 0) for C3."""
    rng = np.random.default_rng([seed, 7])
    orbits, bands = spectrum.orbits(size, size), spectrum.bands(size, size, 4)
    pairs = (spectrum.orbit_sizes(size, size) == 2)[orbits]
    # Without the corners beyond Nyquist, a planted orbit looks alike in every direction.
    candidates = [np.unique(orbits[(bands == band) & pairs & (spectrum.radius(size, size) < 0.5)]) for band in range(4)]
    redundant = np.concatenate([rng.choice(band, 2, replace=False) for band in candidates])
    special = rng.choice(np.setdiff1d(candidates[biased], redundant), 3, replace=False)
    fixed = np.zeros((len(CLASSES), size, size), bool)
    fixed[2], fixed[3] = np.isin(orbits, redundant), np.isin(orbits, special)
    return fixed


def make_images(
    label: int, count: int, biased: int, fixed: Bool[np.ndarray, "size size"], seed: tuple[int, ...]
) -> UInt8[np.ndarray, "count size size 3"]:
    """Make `count` images of one class."""
    rng = np.random.default_rng([int(part) for part in seed])
    size = len(fixed)
    shape = noise_amplitude(size)
    bands = spectrum.bands(size, size, 4)
    if label == 3:
        shape = shape * ((bands == biased) | (bands == 3))
    blocks = []
    for start in range(0, count, _BLOCK):
        block = min(_BLOCK, count - start)
        amplitude = np.broadcast_to(shape, (block, size, size))
        if label == 1:
            amplitude = amplitude * _raised(rng, block, raisable(biased, size))
        images = coloured_noise(rng, amplitude)
        images += GRATING * gratings(rng, block, fixed)[..., None]
        blocks.append(to_pixels(images))
    return np.concatenate(blocks)


def raisable(biased: int, size: int) -> Bool[np.ndarray, "size size"]:
    """Return the orbits of band `biased`, half of which C1 raises in each image: all but DC, 0 in the noise."""
    return (spectrum.bands(size, size, 4) == biased) & (spectrum.radius(size, size) > 0)


def _raised(rng: np.random.Generator, count: int, band: np.ndarray) -> np.ndarray:
    orbits = spectrum.orbits(*band.shape)
    members = np.unique(orbits[band])
    order = rng.random((count, len(members))).argsort(axis=1)
    factors = np.ones((count, orbits.max() + 1))
    np.put_along_axis(factors, members[order[:, : len(members) // 2]], RAISED, axis=1)
    return factors[:, orbits]


# data.name -> (classes, make(size, per_class, seed, whether of the test split) -> (images of each class, planted))
SETS: dict[str, tuple[tuple[str, ...], Callable[[int, int, int, bool], tuple[list, dict]]]] = {
    "demo": (demo.CLASSES, demo.make),
    "biased": (biased.CLASSES, biased.make),
    **{f"syn{band + 1}": (CLASSES, functools.partial(make_syn, band)) for band in range(4)},
}
