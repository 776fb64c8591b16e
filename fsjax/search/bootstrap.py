"""How much a map rests on which images were searched: maps of bootstrap resamples of them beside it.

A resample draws as many images of a class as were searched, with replacement (Efron, Annals of Statistics 7 (1979) 1).
Where a search sums losses over images they come from its own forward passes, in which an image counts as often as it
was drawn (`weights`, `measure`); where it does not, each resample is searched anew (`search_again`). That tells of the
searched images alone: the model stays the same, so how much another training would change the map is not in it.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float

from fsjax.fourier import masks, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.overlap import iou
from fsjax.runtime import parallel, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.partial_results import Partials
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search.problem import Problem

# Bytes that the sums of a search may take: they are held whole.
_MOST = 2**30
# Middle part of the resamples that the limits hold between them.
_LEVEL = 0.95


def number(asked: int, default: int | None) -> int:
    """How many resamples config.search.resamples asks for: -1 stands for the method's own number, None for 0."""
    return asked if asked >= 0 else default or 0


def check_size(classes: int, mask_count: int, resamples: int) -> None:
    """Raises InputError where the sums of so many resamples are too many to hold."""
    each = classes * mask_count * 8
    if resamples and each * (1 + resamples) > _MOST:
        fitting = max(0, _MOST // each - 1)
        raise InputError(
            f"search.resamples: {resamples}, whose sums of {classes} classes under {mask_count} masks would "
            f"take {each * (1 + resamples) / 2**30:.1f} GiB; expected {f'{fitting} or fewer' if fitting else '0'}"
        )


def weights(images: int, resamples: int, seed: int, label: int) -> Float[np.ndarray, "images replicates"]:
    """How often each of a class's images counts: once in replicate 0, then as drawn by seed for each resample."""
    drawn = np.random.default_rng([seed, 9, label]).multinomial(images, np.full(images, 1 / images), resamples)
    return np.concatenate([np.ones((images, 1)), drawn.T], axis=1)


def measure(planes: Iterable[Float[np.ndarray, "replicates height width"]], shares: tuple[float, ...]) -> dict:
    """The IoU of the map of each resample with the map itself, as JSON values.

    Args:
      planes: of each class, the scores on all images and then those on each resample, constant on orbits.
      shares: of the maps, in (0, 1].

    Returns:
      `resamples`, `shares`, and `iou`: over the resamples its `mean`, and its `low` and `high`, the 2.5 and 97.5 %
      quantiles, [shares][classes] in [0, 1]; None for a map that keeps nothing.
    """
    return _summary(np.array([_ious(of_class, shares) for of_class in planes]), shares)


def search_again(
    problem: Problem, search: Callable[[Problem], DominantFrequencyMaps], maps: DominantFrequencyMaps, resamples: int
) -> DominantFrequencyMaps:
    """The maps with what `measure` tells of them in their provenance, by a search of each resample.

    A resample that is done is not searched again after a stop, and one that was begun goes on.

    Args:
      problem: that the maps were found for.
      search: of a method.
      maps: what it found.
      resamples: how many, 1 or more.

    Raises:
      InputError: what the search raises, or partial results of another search.
      interrupt.Terminated: SIGTERM came; what is computed is kept.
    """
    folder, shape = problem.directory, (len(maps.classes), len(maps.shares))
    kept = Partials(
        folder and folder / "stability", {}, problem.model.params, f"{problem.identity} at {list(maps.shares)}"
    )
    # Of each resample the IoU of every class and share, -1 where there is none, and what its search cost.
    rows = kept.known(0, resamples, shape[0] * shape[1] + 1)
    missing = np.flatnonzero(np.isnan(rows).any(0)).tolist()
    with Progress(f"stability of {maps.method}", resamples, "searches", done=resamples - len(missing)) as progress:
        for index in missing:
            again = _resampled(problem, index)
            rows[:, index] = _row(maps, search(again))
            parallel.decide(functools.partial(_keep, kept, index, rows[:, [index]], again.directory))
            progress.update(1)
    found = np.where(rows[:-1] < 0, np.nan, rows[:-1]).reshape(*shape, resamples)
    return dataclasses.replace(
        maps,
        forward_equivalents=maps.forward_equivalents + int(rows[-1].sum()),
        provenance={**maps.provenance, "stability": _summary(found, maps.shares)},
    )


def at_share(maps: DominantFrequencyMaps, share: float) -> dict:
    """What a search has told of its maps' stability at a share; empty where it was not measured.

    Returns:
      `resamples`, and the `mean`, `low` and `high` IoU of each class's map with those of the resamples, or None.

    Raises:
      KeyError, TypeError, ValueError: the provenance is not what a search leaves.
    """
    found = maps.provenance.get("stability")
    if not found or share not in found["shares"]:
        return {}
    index = found["shares"].index(share)
    result: dict = {"resamples": int(found["resamples"])}
    for name in ("mean", "low", "high"):
        values = found["iou"][name][index]
        if len(values) != len(maps.classes):
            raise ValueError(f"stability of {len(values)} classes")
        result[name] = [None if value is None else float(value) for value in values]
    return result


def _resampled(problem: Problem, index: int) -> Problem:
    """The problem on the images of a resample; its partial results lie in a folder of its own."""

    def images(label: int) -> Float[np.ndarray, "images height width channels"]:
        of_class = problem.images(label)
        times = weights(len(of_class), index + 1, problem.seed, label)[:, -1]
        return np.repeat(of_class, times.astype(int), axis=0)

    return dataclasses.replace(
        problem,
        images=images,
        directory=problem.directory and problem.directory / f"resample{index:03d}",
        identity=f"{problem.identity} on resample {index}",
        metrics=None,
    )


def _row(maps: DominantFrequencyMaps, again: DominantFrequencyMaps) -> list[float]:
    """IoU of each class's maps at each share, -1 where neither keeps anything; last the cost of finding them again."""
    pairs = zip(maps.masks.swapaxes(0, 1), again.masks.swapaxes(0, 1), strict=True)
    ious = [iou(*pair) for of_class in pairs for pair in zip(*of_class, strict=True)]
    return [*(-1.0 if one is None else one for one in ious), float(again.forward_equivalents)]


def _keep(kept: Partials, index: int, row: Float[np.ndarray, "values 1"], searched: Path | None) -> None:
    kept.write(0, index, row)
    if searched is not None:
        # What is left of the search itself is of no more use.
        storage.remove(searched)


def _summary(found: Float[np.ndarray, "classes shares resamples"], shares: tuple[float, ...]) -> dict:
    tail = (1 - _LEVEL) / 2
    over = {
        "mean": found.mean(-1),
        "low": np.quantile(found, tail, axis=-1),
        "high": np.quantile(found, 1 - tail, axis=-1),
    }
    return {
        "resamples": found.shape[-1],
        "shares": list(shares),
        "iou": {name: np.where(np.isfinite(value), value, np.array(None)).T.tolist() for name, value in over.items()},
    }


def _ious(
    planes: Float[np.ndarray, "replicates height width"], shares: tuple[float, ...]
) -> Float[np.ndarray, "shares resamples"]:
    """Of one class; NaN where neither map keeps anything. The maps are those of masks.best_orbits, all at once."""
    height, width = planes.shape[1:]
    sizes = spectrum.orbit_sizes(height, width)
    order = np.argsort(-spectrum.per_orbit(planes.astype(np.float32)), axis=1, kind="stable")
    filled, found = np.cumsum(sizes[order], axis=1), []
    for share in shares:
        kept = np.zeros(order.shape, bool)
        np.put_along_axis(kept, order, filled <= masks.budget(share, height, width), axis=1)
        own, others = kept[0], kept[1:]
        both, either = (others & own) @ sizes, (others | own) @ sizes
        found.append(np.divide(both, either, out=np.full(len(others), np.nan), where=either > 0))
    return np.stack(found)
