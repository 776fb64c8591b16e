"""Maps beside control masks of their size: random, of the same radial profile, lowest frequencies, most energy."""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.engine import sharing, tile_size
from fsjax.engine.engine import Engine
from fsjax.evaluation.control_masks import ControlMasks
from fsjax.evaluation.filtered import GROUP
from fsjax.evaluation.results import TRIVIAL, Controls
from fsjax.evaluation.statistics import benjamini_hochberg, p_values, paired_difference
from fsjax.fourier import spectrum
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.progress import Progress

# Parts that a class's masks are divided into at most, for processes to share.
_PARTS = 64


@dataclasses.dataclass(frozen=True)
class ControlCounts:
    """How many of each class's images are predicted correctly under its map and under its controls.

    Attributes:
      images: judged, of each class.
      map: correct under the class's map.
      trivial: correct under each mask of results.TRIVIAL.
      both: correct under the map and under each mask of results.TRIVIAL.
      random: correct under each random mask.
      radial: correct under each random mask of the map's radial profile; None without such masks.
    """

    images: Int[np.ndarray, " classes"]
    map: Int[np.ndarray, " classes"]
    trivial: Int[np.ndarray, "trivial classes"]
    both: Int[np.ndarray, "trivial classes"]
    random: Int[np.ndarray, "draws classes"]
    radial: Int[np.ndarray, "radial classes"] | None


def judge(
    engine: Engine,
    mean_std: tuple[np.ndarray, np.ndarray],
    maps: Bool[np.ndarray, "classes height width"],
    budget: int,
    test: Dataset,
    *,
    images: int,
    random_masks: int,
    seed: int,
) -> ControlCounts:
    """Count correct predictions under every class's map and its ControlMasks, on that class's own images.

    The energy is that of the very images judged: a control that knows them, which only makes it harder to beat.
    Collective: every process must call this; they share the masked images, and all return the same.

    Args:
      engine: sums the statistic `correct`.
      mean_std: of pixels in [0, 1], per channel.
      maps: the map of each class.
      budget: positions that the maps' share allows.
      test: images of all classes.
      images: the first so many of each class are judged; 0 = all.
      random_masks: per class: so many times the number of classes are random, and so many for each class have its
        map's radial profile, unless a map is not constant on orbits and has no such profile.
      seed: of the random masks.
    """
    classes, controls = len(maps), ControlMasks(maps, budget, seed)
    radial_masks = random_masks if spectrum.is_hermitian(maps) else 0
    # The rows of a class's masks: its map, the trivial masks, the radial and the random ones.
    first_radial = 1 + len(TRIVIAL)
    first_random = first_radial + radial_masks
    count = first_random + random_masks * classes
    indices = [np.flatnonzero(test.labels == label)[: images or None] for label in range(classes)]
    sizes = np.array([len(of_class) for of_class in indices])
    # One width and one batch size for all classes, so that they share one compiled program.
    width = min(GROUP, int(sizes.max()))
    batch_size = tile_size.image_batch_size(np.clip(sizes[sizes > 0], None, width).tolist(), engine.tile_images)
    correct, both = np.zeros((count, classes), np.int64), np.zeros((len(TRIVIAL), classes), np.int64)
    parts, length = work_parts(sizes, width, count, engine.perturbations_per_tile(batch_size))
    with Progress("evaluate controls", sum(part.cost for part in parts), "masked images") as progress:
        for label, of_class in itertools.groupby(parts, key=lambda part: part.label):
            pixels = np.asarray(normalise(test.images(indices[label]), *mean_std))
            masks = np.concatenate(
                [
                    maps[label][None],
                    controls.trivial(label, spectrum.energy(pixels)),
                    controls.radial(label, radial_masks),
                    controls.random(label, random_masks * classes),
                ]
            )
            for start, of_images in itertools.groupby(of_class, key=lambda part: part.image):
                first_masks = [part.mask for part in of_images]
                chosen = slice(first_masks[0], first_masks[-1] + length)
                group = pixels[start : start + width]
                outcomes = _correct(engine, group, label, masks[chosen], width, batch_size, progress)
                correct[chosen, label] += outcomes.sum(1)
                if chosen.start == 0:
                    both[:, label] += (outcomes[0] & outcomes[1:first_radial]).sum(1)
    correct, both = parallel.total(correct), parallel.total(both)
    return ControlCounts(
        images=sizes,
        map=correct[0],
        trivial=correct[1:first_radial],
        both=both,
        random=correct[first_random:],
        radial=correct[first_radial:first_random] if radial_masks else None,
    )


def summarise(counts: ControlCounts, *, tested: bool) -> Controls:
    """Return rates, margins and p-values of each class.

    Args:
      counts: as judged.
      tested: False for maps that were searched on the images that they are judged on, which have no p-value.
    """
    images = counts.images
    best, columns = counts.trivial.argmax(0), np.arange(len(images))
    trivial, both = counts.trivial[best, columns], counts.both[best, columns]
    p = np.where((images > 0) & tested, p_values(counts.map, counts.random), np.nan)
    judged = np.where(images > 0, images, np.nan)
    low_pass, highest_energy = counts.trivial / judged
    return Controls(
        low_pass_tpr=low_pass,
        highest_energy_tpr=highest_energy,
        random_tpr=counts.random.mean(0) / judged,
        radial_tpr=np.full(len(images), np.nan) if counts.radial is None else counts.radial.mean(0) / judged,
        images=images,
        random_masks=len(counts.random),
        radial_masks=0 if counts.radial is None else len(counts.radial),
        tpr=counts.map / judged,
        margin=(counts.map - trivial) / judged,
        margin_ci=paired_difference(both, counts.map - both, trivial - both, images - counts.map - trivial + both),
        p_value=p,
        q_value=benjamini_hochberg(p),
    )


class Part(NamedTuple):
    """Some images of a class under some of its masks, from `image` and `mask` on; the cost is in masked images."""

    label: int
    image: int
    mask: int
    cost: int


def work_parts(sizes: Int[np.ndarray, " classes"], width: int, masks: int, tile: int) -> tuple[list[Part], int]:
    """Return this process's part of the work, class by class so that it reads images of few, and masks per part.

    A class's map and its trivial masks are in one part, since their outcomes are paired image by image.

    Args:
      sizes: images of each class.
      width: images of a part at most.
      masks: of each class.
      tile: masks that the engine takes at once.
    """
    length = tile * -(-max(1 + len(TRIVIAL), -(-masks // _PARTS)) // tile)
    parts = [
        Part(label, image, mask, min(width, size - image) * min(length, masks - mask))
        for label, size in enumerate(sizes.tolist())
        for image in range(0, size, width)
        for mask in range(0, masks, length)
    ]
    return parts[sharing.share_costs([part.cost for part in parts])], length


def _correct(
    engine: Engine,
    images: Float[np.ndarray, "images height width channels"],
    label: int,
    masks: Bool[np.ndarray, "masks height width"],
    width: int,
    batch_size: int,
    progress: Progress,
) -> Bool[np.ndarray, "masks images"]:
    """Return whether each image is predicted as its class under each mask; there are `width` images at most."""

    def tick(count: int) -> None:
        progress.update(count * len(images))
        interrupt.check()

    # One replicate per image: the weighted sums are the outcomes of single images.
    weights = np.eye(len(images), width, dtype=np.float32)
    batches = engine.image_batches(images, np.full(len(images), label), weights, size=batch_size)
    return engine.sums(batches, masks, on_tile=tick)["correct"][:, : len(images)] > 0.5
