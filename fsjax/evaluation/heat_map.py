"""How often a classifier errs when one wave is added to its images: the Fourier heat map (Yin et al., NeurIPS 2019).

The wave of an orbit has unit L2 norm over the pixels, and a transform that is zero outside of the orbit. It is added to
every channel with a norm v and a random sign: x + r v U. As in the paper the norm is that of pixels in [0, 1], and
nothing is clipped. What differs is how signs are drawn: there, by itself for every image, frequency and channel. Here
images are dealt at random into as many parts as there are combinations of signs, one for each, and an orbit permutes
which is whose; so an image's signs are uniform at every orbit, and over the images all combinations are equally
frequent.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Complex, Float, Int, PyTree

from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.tile import Chunk, Perturbations
from fsjax.evaluation.filtered import GROUP
from fsjax.fourier import spectrum
from fsjax.runtime import parallel
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search.sweep import runs


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """Error rates in [0, 1] on the centred plane, constant on orbits.

    Attributes:
      error: of all images with the wave of each frequency.
      class_error: of each class's images.
      clean_error: of each class's images as they are.
      images: of each class.
    """

    error: Float[np.ndarray, "height width"]
    class_error: Float[np.ndarray, "classes height width"]
    clean_error: Float[np.ndarray, " classes"]
    images: Int[np.ndarray, " classes"]


def measure(
    apply: Callable,
    params: PyTree,
    read: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, "n height width channels"]],
    labels: Int[np.ndarray, " images"],
    classes: int,
    image: tuple[int, int, int],
    std: Float[np.ndarray, " channels"],
    *,
    norm: float,
    seed: int = 0,
    memory_mib: int = 0,
    save_seconds: int | float = 30,
    directory: Path | None = None,
) -> HeatMap:
    """The heat map of a classifier: every orbit, all classes from one pass.

    Every process takes an equal part of the orbits that are not yet known, and all return the same.

    Args:
      apply: (params, images [n, H, W, C] float32 normalised) -> logits [n, K].
      params: of the classifier.
      read: indices -> images, normalised.
      labels: class of each image; every class has one.
      classes: how many there are.
      image: (H, W, C).
      std: that channels were divided by, of pixels in [0, 1].
      norm: L2 norm of the wave in each channel, of pixels in [0, 1]; Yin et al. take 4 at 32 x 32.
      seed: of the signs.
      memory_mib: as config.run.
      save_seconds: between two partial results.
      directory: where these are kept, from which a run that was killed goes on; None = nowhere.

    Raises:
      InputError: partial results of other images or another classifier, or too little memory.
      interrupt.Terminated: SIGTERM came; what is computed is kept.
    """
    parts = _deal(len(labels), 2 ** image[2], seed)
    layout = tile_size.layout(apply, params, image, [len(part) for part in parts], memory_mib=memory_mib)
    identity = f"heat map, norm {norm:g}, seed {seed}, {len(labels)} images"
    partial_results = PartialResults(directory, layout, params, identity, save_seconds=save_seconds)
    layout, waves = partial_results.layout, _Waves(image, norm / std, seed)
    engine = Engine(apply, params, statistics=("correct",), tile_images=layout["tile_images"])
    of_part = np.empty((classes, waves.count))  # of one part at a time: together they may not fit
    done = 0
    for number, part in enumerate(parts):
        partial_results.table(number, of_part)
        done += len(part) * int(np.isfinite(of_part).all(0).sum())
    correct = np.zeros_like(of_part)
    with Progress("heat map", waves.count * len(labels), "images", done=done) as progress:
        for number, part in enumerate(parts):
            table = partial_results.table(number, of_part)
            # None goes on to write what another has still to look for.
            of_part[...] = parallel.merge(of_part)
            missing = np.flatnonzero(np.isnan(of_part).any(0))
            mine = missing[parallel.share(len(missing))]
            if len(mine):
                weights = np.eye(classes, dtype=np.float32)[labels[part]]
                chunks = engine.chunks(read(part), labels[part], weights, size=layout["chunk"])
                make = functools.partial(waves.of_part, number)

                def on_tile(waves: int, images: int = len(part)) -> None:
                    progress.update(waves * images)

                for run in runs(mine):
                    table.fill(_counts(engine, chunks, make, run), on_tile)
            progress.update((len(missing) - len(mine)) * len(part))  # by the other processes
            correct += parallel.merge(of_part)
    images, orbits = np.bincount(labels, minlength=classes), spectrum.orbits(*image[:2])
    of_class = 1 - correct / images[:, None]
    return HeatMap(
        error=(1 - correct.sum(0) / len(labels))[1:][orbits],
        class_error=of_class[:, 1:][:, orbits],
        clean_error=of_class[:, 0],
        images=images,
    )


def basis_components(
    orbits: Int[np.ndarray, " n"], lengths: Float[np.ndarray, "n channels"], plane: tuple[int, int]
) -> Complex[np.ndarray, "n height width channels"]:
    """What the engine is to add for the wave of each orbit to have an L2 norm |length| in each channel.

    The wave is (cos - sin)/sqrt(HW) of the orbit's first member, as in the published code; its transform has
    (1 + i)/2 * sqrt(HW) there and the conjugate at the other member, or sqrt(HW) where there is no other. The engine
    takes the Hermitian part of what it is given, so twice that at the first member alone is enough.

    Args:
      orbits: their numbers, as in `spectrum.orbits`.
      lengths: signed; 0 adds nothing.
      plane: (H, W).
    """
    made = np.zeros((len(orbits), plane[0] * plane[1], lengths.shape[1]), np.complex64)
    made[np.arange(len(orbits)), _first_members(plane)[orbits]] = (1 + 1j) * np.sqrt(plane[0] * plane[1]) * lengths
    return made.reshape(len(orbits), *plane, -1)


@functools.lru_cache(maxsize=1)
def _first_members(plane: tuple[int, int]) -> Int[np.ndarray, " orbits"]:
    """Position of each orbit's first member in the flattened plane."""
    return spectrum.per_orbit(np.arange(plane[0] * plane[1]).reshape(plane))


def _deal(images: int, combinations: int, seed: int) -> list[Int[np.ndarray, " part"]]:
    """Images at random into equal parts, a multiple of the combinations, each small enough for a device to hold."""
    order = np.random.default_rng([seed, 1]).permutation(images)
    count = combinations * -(-images // (combinations * GROUP))
    return [np.sort(part) for part in np.array_split(order, count) if len(part)]


class _Waves:
    """What is added to the images of a part: nothing first, then the wave of each orbit.

    Attributes:
      count: how many there are.
      lengths: L2 norm in each channel of normalised images.
      permutations: for each, what the number of a part is combined with (exclusive or) to give its signs, in bits.
    """

    def __init__(self, image: tuple[int, int, int], lengths: Float[np.ndarray, " channels"], seed: int):
        self.plane, self.lengths = image[:2], lengths
        self.count = 1 + len(spectrum.orbit_sizes(*self.plane))
        self.permutations = np.random.default_rng([seed, 2]).integers(2 ** len(lengths), size=self.count)

    def of_part(self, part: int, start: int, stop: int) -> Perturbations:
        """Waves start..stop-1 with the signs of a part."""
        numbers = np.arange(start, stop)
        bits = (self.permutations[start:stop] ^ part)[:, None] >> np.arange(len(self.lengths)) & 1
        lengths = np.where(numbers[:, None] == 0, 0, (1 - 2 * bits) * self.lengths)
        return Perturbations(None, basis_components(np.maximum(numbers - 1, 0), lengths, self.plane))


def _counts(
    engine: Engine, chunks: list[Chunk], make: Callable[[int, int], Perturbations], run: range
) -> Iterator[tuple[Int[np.ndarray, " waves"], Float[np.ndarray, "classes waves"]]]:
    """Yield neighbouring waves, tile by tile, and how many images of each class are right with them."""
    for start, stop, tile in engine.tiles(chunks, lambda a, b: make(run.start + a, run.start + b), len(run)):
        yield np.arange(run.start + start, run.start + stop), tile["correct"].T
