"""Does a map do better than masks of its size that no model was asked for?

Random ones, random ones with the map's own radial profile, the lowest frequencies, and those of the most energy.
"""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.engine import sharing, tile_size
from fsjax.engine.engine import Engine
from fsjax.evaluation.filtered import GROUP
from fsjax.evaluation.statistics import benjamini_hochberg, p_values, paired_difference
from fsjax.fourier import masks, spectrum
from fsjax.runtime import interrupt
from fsjax.runtime.progress import Progress

# Of which there is one a class: a map is held against the better of them, image by image.
TRIVIAL = ("low-pass", "highest energy")
# What evaluation.json calls the TPR under each of them.
TRIVIAL_RATES = ("low_pass_tpr", "highest_energy_tpr")
# And the mean TPR under random masks, and under those of the map's radial profile.
RANDOM_RATES = ("random_tpr", "radial_tpr")
# Most units that a class's masks are cut into for processes to share.
_UNITS = 64
# False discovery rate, over the classes, at which a map is better than random.
RATE = 0.05


@dataclasses.dataclass(frozen=True)
class Controls:
    """How many of each class's images stay that class under its map and under its controls.

    Attributes:
      images: judged of each class.
      own: right under the class's map.
      trivial: right under each of TRIVIAL.
      both: right under the map and under each of TRIVIAL.
      random: right under each random mask.
      radial: right under each random mask of the map's radial profile; None where there are none.
    """

    images: Int[np.ndarray, " classes"]
    own: Int[np.ndarray, " classes"]
    trivial: Int[np.ndarray, "trivial classes"]
    both: Int[np.ndarray, "trivial classes"]
    random: Int[np.ndarray, "draws classes"]
    radial: Int[np.ndarray, "radial classes"] | None


def judge(
    engine: Engine,
    mean_std: tuple[np.ndarray, np.ndarray],
    kept: Bool[np.ndarray, "classes height width"],
    budget: int,
    test: Dataset,
    *,
    images: int,
    random_masks: int,
    seed: int,
) -> Controls:
    """Every class's map and its controls on that class's own images.

    A control has the size of its map: the budget where the map uses it, up to the position that whole orbits may leave
    over, and else as many positions as the map keeps. Random masks are the first orbits of orders drawn once, so
    classes whose maps are of one size share them. The energy is that of the very images judged: a control that knows
    them, which only makes it harder to beat. Processes share the masked images, and all return the same.

    Args:
      engine: sums the statistic `correct`.
      mean_std: that images are normalised with.
      kept: the map of each class.
      budget: positions that the maps' share allows.
      test: images of all classes.
      images: the first so many of each class are judged, 0 = all.
      random_masks: a class: so many times the number of classes are random, and so many for each class radial-matched,
        unless a map is not constant on orbits and has no such profile.
      seed: of what is drawn.
    """
    classes, height, width = kept.shape
    whole = spectrum.is_hermitian(kept)
    draws = random_masks * classes

    @functools.lru_cache(2)
    def random(positions: int) -> Bool[np.ndarray, "draws height width"]:
        return np.stack([random_mask((height, width), positions, seed, index) for index in range(draws)])

    def controlled(label: int, energy: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "n height width"]:
        own = kept[label]
        alone = [own, *trivial_masks(own, budget, energy), *radial_matched(own, random_masks * whole, seed, label)]
        return np.concatenate([np.stack(alone), random(size(own, budget))])

    rows = [np.flatnonzero(test.labels == label)[: images or None] for label in range(classes)]
    counts = np.array([len(of_class) for of_class in rows])
    # One width and one chunk for all classes, so that one program serves them.
    most = min(GROUP, int(counts.max()))
    chunk = tile_size.chunk_size(np.clip(counts[counts > 0], None, most).tolist(), engine.tile_images)
    found = np.zeros((3 + random_masks * whole + draws, classes), np.int64)
    both = np.zeros((len(TRIVIAL), classes), np.int64)
    mine, length = _mine(counts, most, len(found), engine.per_tile(chunk))
    with Progress("evaluate controls", sum(one.cost for one in mine), "masked images") as progress:
        for label, of_class in itertools.groupby(mine, key=lambda one: one.label):
            pixels = np.asarray(normalise(test.images(rows[label]), *mean_std))
            under = controlled(label, spectrum.energy(pixels))
            for start, of_images in itertools.groupby(of_class, key=lambda one: one.start):
                firsts = [one.first for one in of_images]
                chosen = slice(firsts[0], firsts[-1] + length)
                right = _right(engine, pixels[start : start + most], label, under[chosen], (most, chunk), progress)
                found[chosen, label] += right.sum(1)
                if not firsts[0]:
                    both[:, label] += (right[0] & right[1:3]).sum(1)
    found, both = sharing.total(found), sharing.total(both)
    own, trivial, radial, drawn = np.split(found, [1, 3, 3 + random_masks * whole])
    return Controls(counts, own[0], trivial, both, drawn, radial if whole else None)


def trivial_masks(
    kept: Bool[np.ndarray, "height width"], budget: int, energy: Float[np.ndarray, "height width"]
) -> Bool[np.ndarray, "trivial height width"]:
    """The TRIVIAL controls of a map, of its size; the energy is that of the images that the last one knows."""
    (height, width), positions = kept.shape, size(kept, budget)
    return np.stack([masks.low_pass(height, width, positions), masks.highest_energy(energy, positions)])


def random_mask(plane: tuple[int, int], positions: int, seed: int, index: int) -> Bool[np.ndarray, "height width"]:
    """The random control of this index, the same for all classes whose maps are of one size."""
    return masks.random(*plane, positions, np.random.default_rng([seed, 7, index]))


def radial_matched(
    kept: Bool[np.ndarray, "height width"], count: int, seed: int, label: int
) -> list[Bool[np.ndarray, "height width"]]:
    """The first so many radial-matched controls of a class's map."""
    rng = np.random.default_rng([seed, 8, label])
    return [masks.radial_matched(kept, rng) for _ in range(count)]


def size(kept: Bool[np.ndarray, "height width"], budget: int) -> int:
    """Positions that the controls of a map may keep."""
    positions = int(kept.sum())
    return budget if positions == budget - 1 else positions


def summary(
    controls: Controls, tpr: Float[np.ndarray, " classes"], threshold: float, *, tested: bool
) -> dict[str, np.ndarray | list | int | None]:
    """What the controls say of each class: TPR under each, the map's margin over the best trivial mask, the verdict.

    A class is a shortcut when its TPR is at least the threshold, random masks seldom do as well (q <= 0.05), and the
    95 % interval of the margin lies above 0.

    Args:
      controls: as judged.
      tpr: of each class's map on all test images.
      threshold: for the TPR.
      tested: False for maps that were searched on the images that they are judged on, which have no p-value and so no
        verdict.
    """
    count, there = controls.images, controls.images > 0
    index, columns = controls.trivial.argmax(0), np.arange(len(count))
    trivial, both = controls.trivial[index, columns], controls.both[index, columns]
    cells = (both, controls.own - both, trivial - both, count - controls.own - trivial + both)
    interval = paired_difference(*cells)
    p = np.where(there & tested, p_values(controls.own, controls.random), np.nan)
    q = benjamini_hochberg(p)
    shortcut = (tpr >= threshold) & (q <= RATE) & (interval[:, 0] > 0)
    judged = np.where(there, count, np.nan)
    return {
        "control_images": count,
        "random_masks": len(controls.random),
        "radial_masks": 0 if controls.radial is None else len(controls.radial),
        "control_tpr": controls.own / judged,
        "random_tpr": controls.random.mean(0) / judged,
        "radial_tpr": None if controls.radial is None else controls.radial.mean(0) / judged,
        **dict(zip(TRIVIAL_RATES, controls.trivial / judged, strict=True)),
        "best_trivial": [TRIVIAL[best] for best in index],
        "margin": (controls.own - trivial) / judged,
        "margin_ci": interval,
        "p_value": p,
        "q_value": q,
        "shortcut": [bool(one) if known else None for one, known in zip(shortcut, np.isfinite(q), strict=True)],
    }


def beside(rates: dict, classes: int) -> dict[str, Float[np.ndarray, " classes"]]:
    """TPR of each class under what its map is held against, of rates as JSON has them; NaN where there is none.

    Returns:
      `trivial`, under the better of its trivial masks; `random` and `radial`, the mean under such masks.
    """

    def rate(name: str) -> Float[np.ndarray, " classes"]:
        return np.array(rates.get(name) or [None] * classes, float)

    trivial = np.max([rate(name) for name in TRIVIAL_RATES], axis=0)
    return {"trivial": trivial, **{name.removesuffix("_tpr"): rate(name) for name in RANDOM_RATES}}


class _Unit(NamedTuple):
    """Some images of a class under some of its masks.

    Attributes:
      label: of the class.
      start: the first image.
      first: the first mask.
      cost: masked images.
    """

    label: int
    start: int
    first: int
    cost: int


def _mine(counts: Int[np.ndarray, " classes"], most: int, masks: int, tile: int) -> tuple[list[_Unit], int]:
    """This process's part of the work, class by class so that it reads the images of few, and a unit's masks.

    A class's map and its trivial masks are in one unit, since their outcomes are paired image by image.
    """
    length = tile * -(-max(3, -(-masks // _UNITS)) // tile)
    units = [
        _Unit(label, start, first, min(most, count - start) * min(length, masks - first))
        for label, count in enumerate(counts.tolist())
        for start in range(0, count, most)
        for first in range(0, masks, length)
    ]
    return units[sharing.share_costs([one.cost for one in units])], length


def _right(
    engine: Engine,
    images: Float[np.ndarray, "images height width channels"],
    label: int,
    under: Bool[np.ndarray, "masks height width"],
    cut: tuple[int, int],
    progress: Progress,
) -> Bool[np.ndarray, "masks images"]:
    """Whether each image stays the class under each mask; the cut is the most images there may be, and a chunk's."""

    def tick(count: int) -> None:
        progress.update(count * len(images))
        interrupt.check()

    # A replicate an image: the weighted sums are the images' own outcomes.
    weights = np.eye(len(images), cut[0], dtype=np.float32)
    chunks = engine.chunks(images, np.full(len(images), label), weights, size=cut[1])
    return engine.sums(chunks, under, on_tile=tick)["correct"][:, : len(images)] > 0.5
