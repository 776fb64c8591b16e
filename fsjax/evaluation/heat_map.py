"""Fourier heat map: a classifier's error when one wave is added to its images (Yin et al., NeurIPS 2019).

The wave U of an orbit has unit L2 norm over the pixels, and its transform is zero outside the orbit. Every channel gets
it with a norm v and a random sign r: x + r v U. As in the paper, the norm refers to pixels in [0, 1], and nothing is
clipped. The paper draws signs independently for every image, frequency and channel. Here images are divided at random
into groups of equal size, as many for each combination of signs, and every orbit permutes which group has which. So an
image's signs are uniform at every orbit, and over the images all combinations are equally frequent.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Complex, Float, Int

from fsjax.engine.model import Model
from fsjax.engine.tile_size import GROUP
from fsjax.evaluation.waves import NOTHING, Waves
from fsjax.fourier import spectrum
from fsjax.runtime.progress import Progress
from fsjax.runtime.random_streams import Stream, generator
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """Error rates in [0, 1] with the wave of each frequency, on the centred plane; `clean_error` is without a wave."""

    error: Float[np.ndarray, "height width"]
    class_error: Float[np.ndarray, "classes height width"]
    clean_error: Float[np.ndarray, " classes"]
    images: Int[np.ndarray, " classes"]


def measure(
    model: Model,
    read: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, "n height width channels"]],
    labels: Int[np.ndarray, " images"],
    classes: int,
    std: Float[np.ndarray, " channels"],
    *,
    norm: float,
    seed: int = 0,
    memory_mib: int = 0,
    save_seconds: int | float = 30,
    directory: Path | None = None,
) -> HeatMap:
    """Return the heat map of a classifier.

    Collective: every process must call this, computes an equal share of the missing orbits and returns the same. A
    restart resumes from the partial results in the directory. memory_mib and save_seconds are as config.run.

    `read` maps indices to normalised images; every class has one. `std` is the normalisation's, for pixels in [0, 1],
    and `norm` the wave's L2 norm in each channel; Yin et al. take 4 at 32 x 32.
    """
    plane, channels = model.image_shape[:2], model.image_shape[2]
    groups, orbits = _deal(len(labels), 2**channels, seed), spectrum.orbits(*plane)
    waves = Waves(
        model,
        "correct",
        [len(group) for group in groups],
        f"heat map, norm {norm:g}, seed {seed}, {len(labels)} images",
        memory_mib=memory_mib,
        save_seconds=save_seconds,
        directory=directory,
    )
    # Nothing is added first, then each orbit's wave.
    every = np.arange(NOTHING, orbits.max() + 1)
    # The exclusive or of a wave's permutation with a group's number has the wave's signs as bits.
    permutations = generator(seed, Stream.HEAT_MAP_SIGNS).integers(2**channels, size=len(every))
    # The wave is cos - sin, as in the published code.
    lengths = (1 + 1j) * norm / np.sqrt(plane[0] * plane[1]) / std

    def coefficients(group: int, rows: slice) -> Complex[np.ndarray, "waves 1 channels"]:
        bits = (permutations[rows] ^ group)[:, None, None] >> np.arange(channels) & 1
        return (1 - 2 * bits) * lengths

    correct = np.zeros((classes, len(every)))
    with Progress("heat map", len(every) * len(labels), "images") as progress:
        for number, group in enumerate(groups):
            correct += waves.sums(
                f"group{number:05d}",
                functools.partial(read, group),
                labels[group],
                np.eye(classes, dtype=np.float32)[labels[group]],
                every,
                functools.partial(coefficients, number),
                progress,
            )
    images = np.bincount(labels, minlength=classes)
    class_error = 1 - correct / images[:, None]
    return HeatMap(
        error=(1 - correct.sum(0) / len(labels))[1:][orbits],
        class_error=class_error[:, 1:][:, orbits],
        clean_error=class_error[:, 0],
        images=images,
    )


def _deal(images: int, combinations: int, seed: int) -> list[Int[np.ndarray, " group"]]:
    """Divide images at random into equal groups that fit on a device, as many for each combination of signs."""
    order = generator(seed, Stream.HEAT_MAP_PARTS).permutation(images)
    count = combinations * -(-images // (combinations * GROUP))
    return [np.sort(group) for group in np.array_split(order, count) if len(group)]
