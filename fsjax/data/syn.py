"""The sets Syn_1 to Syn_4: four classes that differ in planted frequencies, so that every search can be scored.

They follow the description in Wang et al. (ICCV 2023, section 3), whose generator is not published. Syn_b carries its
bias in radial band B_b of four. An image is 1/f noise of random phase, of standard deviation NOISE around MEAN,
independent in each channel, plus gratings common to the channels:

  C0  all bands, nothing planted
  C1  all bands, a random half of B_b's orbits raised, another half in each image
  C2  all bands, eight fixed orbits, two in each band, each a grating of random phase
  C3  B_b and B4 alone, three fixed orbits in B_b, each a grating of random phase

The fixed orbits are drawn once from the seed and are the same in every split and version.

Version 2 gives every band of every image a contrast of its own, by which its noise and C2's gratings are multiplied.
Faint bands then occur in every class: a network does not recognise C3 by its missing bands, and learns each part of
C2's pattern.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, UInt8
from ml_collections import ConfigDict

from fsjax.data.noise import coloured_noise, gratings, noise_amplitude, to_pixels
from fsjax.fourier import spectrum
from fsjax.runtime.errors import InputError

NAMES = ("syn1", "syn2", "syn3", "syn4")
CLASSES = ("C0", "C1", "C2", "C3")
_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class Strengths:
    """Constants of a version of the sets; amplitudes are in standard deviations of the noise at contrast 1.

    Attributes:
      redundant: amplitude of each of C2's gratings at contrast 1.
      special: amplitude of each of C3's gratings, whatever the contrast.
      raised: factor on the amplitude of C1's raised orbits, in Syn_1 to Syn_4.
      contrast: each band's is uniform between 0 and this in each image; None = 1 in all.
    """

    redundant: float
    special: float
    raised: tuple[float, float, float, float]
    contrast: float | None


VERSIONS = {
    1: Strengths(redundant=0.5, special=0.5, raised=(3.0, 3.0, 3.0, 3.0), contrast=None),
    2: Strengths(redundant=0.8, special=1.0, raised=(3.0, 4.0, 5.0, 5.0), contrast=0.4),
}


def version_of(data: ConfigDict) -> int:
    """Return data.synthetic.version, 1 where a config of an older run lacks it; raise InputError for another value."""
    version = data.synthetic.get("version", 1)
    if version not in VERSIONS:
        raise InputError(f"data.synthetic.version: got {version}; expected {' or '.join(map(str, VERSIONS))}")
    return version


def make(
    biased: int, size: int, per_class: int, seed: int, test: bool, version: int
) -> tuple[list[UInt8[np.ndarray, "per_class size size 3"]], dict[str, Bool[np.ndarray, "classes size size"]]]:
    """Return the images of each class of the set whose bias lies in band `biased`, from 0, and the planted orbits."""
    fixed = planted_orbits(biased, size, seed)
    any_half = np.zeros_like(fixed)
    any_half[1] = raisable(biased, size)
    images = [
        make_images(label, per_class, biased, fixed[label], (seed, test, label), VERSIONS[version])
        for label in range(len(CLASSES))
    ]
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
    label: int,
    count: int,
    biased: int,
    fixed: Bool[np.ndarray, "size size"],
    seed: tuple[int, bool, int],
    strengths: Strengths,
) -> UInt8[np.ndarray, "count size size 3"]:
    """Make `count` images of one class."""
    rng = np.random.default_rng([int(part) for part in seed])
    size = len(fixed)
    bands = spectrum.bands(size, size, 4)
    noise = noise_amplitude(size)
    if label == 3:
        noise = noise * ((bands == biased) | (bands == 3))
    blocks = []
    for start in range(0, count, _BLOCK):
        block = min(_BLOCK, count - start)
        contrast = _contrast(rng, block, bands, strengths.contrast)
        amplitude = noise * contrast
        if label == 1:
            amplitude = amplitude * _raised(rng, raisable(biased, size), block, strengths.raised[biased])
        images = coloured_noise(rng, amplitude)
        planted = strengths.redundant * contrast if label == 2 else np.full_like(contrast, strengths.special)
        images += gratings(rng, block, fixed, planted)[..., None]
        blocks.append(to_pixels(images))
    return np.concatenate(blocks)


def raisable(biased: int, size: int) -> Bool[np.ndarray, "size size"]:
    """Return the orbits of band `biased`, half of which C1 raises in each image: all but DC, 0 in the noise."""
    return (spectrum.bands(size, size, 4) == biased) & (spectrum.radius(size, size) > 0)


def _contrast(
    rng: np.random.Generator, count: int, bands: np.ndarray, highest: float | None
) -> Float[np.ndarray, "count size size"]:
    if highest is None:
        return np.ones((count, *bands.shape))
    return rng.uniform(0, highest, (count, 4))[:, bands]


def _raised(
    rng: np.random.Generator, band: np.ndarray, count: int, factor: float
) -> Float[np.ndarray, "count size size"]:
    orbits = spectrum.orbits(*band.shape)
    members = np.unique(orbits[band])
    order = rng.random((count, len(members))).argsort(axis=1)
    factors = np.ones((count, orbits.max() + 1))
    np.put_along_axis(factors, members[order[:, : len(members) // 2]], factor, axis=1)
    return factors[:, orbits]
