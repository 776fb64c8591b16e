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

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, LazyArray
from fsjax.engine.model import Model
from fsjax.engine.sharing import GROUP
from fsjax.fourier import spectrum
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults
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
    image = model.image_shape
    groups = _deal(len(labels), 2 ** image[2], seed)
    layout = tile_size.layout(model, [len(group) for group in groups], memory_mib=memory_mib)
    identity = f"heat map, norm {norm:g}, seed {seed}, {len(labels)} images"
    partial_results = PartialResults(directory, layout, model.params, identity, save_seconds=save_seconds)
    layout, orbits = partial_results.layout, spectrum.orbits(*image[:2])
    # Nothing is added first, then each orbit's wave.
    count = 2 + int(orbits.max())
    # The exclusive or of a wave's permutation with a group's number has the wave's signs as bits.
    permutations = generator(seed, Stream.HEAT_MAP_SIGNS).integers(2 ** image[2], size=count)

    def components(group: int, start: int, stop: int) -> Complex[np.ndarray, "waves height width channels"]:
        waves = np.arange(start, stop)
        bits = (permutations[start:stop] ^ group)[:, None] >> np.arange(image[2]) & 1
        lengths = np.where(waves[:, None] == 0, 0, (1 - 2 * bits) * norm / std)
        return basis_components(np.maximum(waves - 1, 0), lengths, image[:2])

    engine = Engine(model, statistics=("correct",), tile_images=layout["tile_images"])
    group_correct = np.empty((classes, count))  # of one group at a time: together they may not fit
    correct = np.zeros_like(group_correct)
    with Progress("heat map", count * len(labels), "images") as progress:
        for number, group in enumerate(groups):
            table = partial_results.table(f"group{number:05d}", group_correct)
            # Each process reads all files before another writes.
            group_correct[...] = parallel.merge(group_correct)
            missing = np.flatnonzero(np.isnan(group_correct).any(0))
            mine = missing[parallel.share(len(missing))]
            progress.skip((count - len(missing)) * len(group))
            if len(mine):
                weights = np.eye(classes, dtype=np.float32)[labels[group]]
                batches = engine.image_batches(read(group), labels[group], weights, size=layout["chunk"])
                added = LazyArray(count, functools.partial(components, number))

                def on_tile(waves: int, images: int = len(group)) -> None:
                    progress.update(waves * images)

                tiles = engine.tiles(batches, None, added, items=mine)
                table.fill(((items, sums["correct"].T) for items, sums in tiles), on_tile)
            progress.update((len(missing) - len(mine)) * len(group))  # by the other processes
            correct += parallel.merge(group_correct)
    images = np.bincount(labels, minlength=classes)
    class_error = 1 - correct / images[:, None]
    return HeatMap(
        error=(1 - correct.sum(0) / len(labels))[1:][orbits],
        class_error=class_error[:, 1:][:, orbits],
        clean_error=class_error[:, 0],
        images=images,
    )


def basis_components(
    orbits: Int[np.ndarray, " n"], lengths: Float[np.ndarray, "n channels"], plane: tuple[int, int]
) -> Complex[np.ndarray, "n height width channels"]:
    """Return the components that add each orbit's wave with an L2 norm |length| in each channel; 0 adds nothing.

    The wave is (cos - sin)/sqrt(HW) of the orbit's first member, as in the published code; its transform has
    (1 + i)/2 * sqrt(HW) there. The engine takes the Hermitian part, so twice that at the first member alone is enough.
    """
    components = np.zeros((len(orbits), plane[0] * plane[1], lengths.shape[1]), np.complex64)
    scaled = (1 + 1j) * np.sqrt(plane[0] * plane[1]) * lengths
    components[np.arange(len(orbits)), spectrum.first_members(*plane)[orbits]] = scaled
    return components.reshape(len(orbits), *plane, -1)


def _deal(images: int, combinations: int, seed: int) -> list[Int[np.ndarray, " group"]]:
    """Divide images at random into equal groups that fit on a device, as many for each combination of signs."""
    order = generator(seed, Stream.HEAT_MAP_PARTS).permutation(images)
    count = combinations * -(-images // (combinations * GROUP))
    return [np.sort(group) for group in np.array_split(order, count) if len(group)]
