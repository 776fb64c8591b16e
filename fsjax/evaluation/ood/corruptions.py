"""Corruptions of the test images: five kinds in five severities.

The kinds follow Hendrycks and Dietterich (ICLR 2019), whose code fails with current NumPy. The strengths are our
own, so accuracies do not compare with ImageNet-C or CIFAR-10-C.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from fsjax.data.dataset import ArrayDataset, Dataset
from fsjax.data.noise import coloured_noise, noise_amplitude
from fsjax.runtime import config_fields, image_files
from fsjax.runtime.random_streams import Stream, generator

Levels = Float[np.ndarray, "size size 3"]

# Strength of each severity, the mildest first.
_DEVIATIONS = (0.04, 0.08, 0.12, 0.17, 0.23)  # of noise, of pixels in [0, 1]
_WIDTHS = (0.4, 0.6, 0.9, 1.3, 1.8)  # standard deviations of the blur, pixels of an image of 32
_CONTRASTS = (0.7, 0.5, 0.35, 0.22, 0.12)  # share of the contrast that remains
_QUALITIES = (70, 45, 25, 15, 8)  # of JPEG
_DENSITIES = (0.2, 0.35, 0.5, 0.6, 0.7)  # share of the fog in the image
_FOG, _FOG_DEVIATION = 0.8, 0.1  # its mean and standard deviation, of pixels in [0, 1]
SEVERITIES = tuple(str(severity) for severity in range(1, 1 + len(_DEVIATIONS)))


def noise(levels: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Add Gaussian noise, independent in each pixel and channel."""
    return levels + 255 * _DEVIATIONS[severity] * rng.normal(size=levels.shape)


def blur(levels: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Blur by a Gaussian whose width is a share of the side; edges are mirrored."""
    return ndimage.gaussian_filter(levels, _WIDTHS[severity] * len(levels) / 32, axes=(0, 1))


def contrast(levels: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Shrink contrast around the mean of each channel."""
    mean = levels.mean((0, 1))
    return mean + _CONTRASTS[severity] * (levels - mean)


def jpeg(levels: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Compress as JPEG."""
    return image_files.jpeg(np.rint(levels).astype(np.uint8), _QUALITIES[severity]).astype(float)


def fog(levels: Levels, severity: int, rng: np.random.Generator) -> Levels:
    """Mix with a field of 1/f noise, the same in all channels."""
    field = coloured_noise(rng, noise_amplitude(len(levels))[None])[0, ..., :1]
    density = _DENSITIES[severity]
    return (1 - density) * levels + 255 * density * (_FOG + _FOG_DEVIATION * field)


CORRUPTIONS: dict[str, Callable[[Levels, int, np.random.Generator], Levels]] = {
    corruption.__name__: corruption for corruption in (noise, blur, contrast, jpeg, fog)
}


def parse(names: str) -> tuple[str, ...]:
    """Return the corruptions of a comma-separated list, 'all' = all; raise InputError for unknown or repeated names."""
    if names.strip() == "all":
        return tuple(CORRUPTIONS)
    return config_fields.names("ood.corruptions", names, CORRUPTIONS, each="corruption")


def corrupted(
    dataset: Dataset, numbers: Int[np.ndarray, " images"], name: str, severity: int, seed: int
) -> ArrayDataset:
    """Return the images of a data set, corrupted: whole grey levels in [0, 255].

    An image's draws depend on the seed, the corruption's `name`, the severity (from 0) and its number in `numbers`.
    """
    corrupt, kind = CORRUPTIONS[name], list(CORRUPTIONS).index(name)
    made = []
    for levels, number in zip(dataset.images(np.arange(len(dataset))), numbers, strict=True):
        rng = generator(seed, Stream.CORRUPTIONS, kind, severity, int(number))
        made.append(corrupt(np.asarray(levels, float), severity, rng))
    return ArrayDataset(np.rint(np.clip(made, 0, 255)).astype(np.uint8), dataset.labels, dataset.classes)
