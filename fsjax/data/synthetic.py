"""Sets of images generated on the fly, whose planted frequencies are known: demo, biased, and Syn_1 to Syn_4.

Syn_1 to Syn_4 follow the description in Wang et al. (ICCV 2023, section 3), whose generator is not published. Syn_b
carries its bias in radial band B_b of four. An image is 1/f noise of random phase (noise.py), independent in each
channel, plus gratings common to the channels:

  C0  all bands, nothing planted
  C1  all bands, a random half of B_b's orbits raised, another half in each image
  C2  all bands, eight fixed orbits, two in each band, each a grating of random phase
  C3  B_b and B4 alone, three fixed orbits in B_b, each a grating of random phase

The fixed orbits are drawn once from the seed and are the same in every split. Every band of every image has a random
contrast, which multiplies its noise and C2's gratings. So faint bands occur in every class: a network cannot recognise
C3 by its missing bands, and learns each part of C2's pattern.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8
from ml_collections import ConfigDict

from fsjax.data import shape_sets
from fsjax.data.noise import coloured_noise, gratings, make_pixels, noise_amplitude
from fsjax.data.source import Source
from fsjax.fourier import spectrum
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream, generator

SMALLEST = 24  # pixels; below, the lowest band has fewer orbits than are planted there

SYN_CLASSES = ("C0", "C1", "C2", "C3")
# Amplitudes of a grating of C2, at contrast 1, and of C3, in standard deviations of the noise.
REDUNDANT, SPECIAL = 0.8, 1.0
RAISED = (3.0, 4.0, 5.0, 5.0)  # factor on the amplitude of C1's raised orbits, in Syn_1 to Syn_4
CONTRAST = 0.4  # a band's contrast is uniform between 0 and this


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
    chosen, size, seed, test = SETS[data.name], data.image_size, data.synthetic.seed, split == "test"
    fixed, images = chosen.orbits(size, seed), []
    for label in range(len(chosen.classes)):
        block = functools.partial(chosen.block, generator(seed, chosen.stream, test, label), label, test, fixed)
        images.append(make_pixels(per_class, block))
    raised = np.zeros_like(fixed)
    if chosen.raised_band is not None:
        raised[1] = _raisable(chosen.raised_band, size)
    labels = np.repeat(np.arange(len(chosen.classes), dtype=np.int32), per_class)
    return SyntheticSource(np.concatenate(images), labels, chosen.classes, {"fixed": fixed, "any": raised})


@dataclasses.dataclass
class SyntheticSource(Source):
    """A Source of images in memory."""

    images: UInt8[np.ndarray, "images size size 3"]
    labels: Int32[np.ndarray, " images"]
    classes: tuple[str, ...]
    planted: dict | None

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "size size 3"]:
        return self.images[index]


def syn_orbits(biased: int, size: int, seed: int) -> Bool[np.ndarray, "classes size size"]:
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


def _syn_block(
    biased: int,
    rng: np.random.Generator,
    label: int,
    test: bool,
    fixed: Bool[np.ndarray, "classes size size"],
    count: int,
) -> Float[np.ndarray, "count size size 3"]:
    """Return `count` images of a class, in deviations of the noise; splits differ by the generator alone."""
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
    return images + gratings(rng, count, fixed[label], planted)[..., None]


def _raisable(biased: int, size: int) -> Bool[np.ndarray, "size size"]:
    """Return the orbits of band `biased` without DC; C1 raises half of them in each image."""
    return (spectrum.bands(size, size, 4) == biased) & (spectrum.radius(size, size) > 0)


def _raise_half(
    rng: np.random.Generator, band: Bool[np.ndarray, "size size"], count: int, factor: float
) -> Float[np.ndarray, "count size size"]:
    """Return `factor` at a random half of a band's orbits in each image, and 1 elsewhere."""
    orbits = spectrum.orbits(*band.shape)
    members = np.unique(orbits[band])
    order = rng.random((count, len(members))).argsort(axis=1)
    factors = np.ones((count, orbits.max() + 1))
    np.put_along_axis(factors, members[order[:, : len(members) // 2]], factor, axis=1)
    return factors[:, orbits]


@dataclasses.dataclass(frozen=True)
class SyntheticSet:
    """A set: its classes, the stream of its images, its fixed orbits, and how a block of images of a class is made."""

    classes: tuple[str, ...]
    stream: Stream
    orbits: Callable[[int, int], Bool[np.ndarray, "classes size size"]]  # (size, seed) -> fixed orbits
    block: Callable  # (generator, label, whether of the test split, fixed orbits, count) -> images
    raised_band: int | None = None  # from 0; half of its orbits are raised in each image of class 1


SETS = {
    "demo": SyntheticSet(shape_sets.DEMO_CLASSES, Stream.DEMO_IMAGES, shape_sets.demo_orbits, shape_sets.demo_block),
    "biased": SyntheticSet(
        shape_sets.BIASED_CLASSES, Stream.BIASED_IMAGES, shape_sets.biased_orbits, shape_sets.biased_block
    ),
    **{
        f"syn{band + 1}": SyntheticSet(
            SYN_CLASSES,
            Stream.SYN_IMAGES,
            functools.partial(syn_orbits, band),
            functools.partial(_syn_block, band),
            band,
        )
        for band in range(4)
    },
}
