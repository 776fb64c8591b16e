"""Bootstrap resamples show how strongly a map depends on the searched images (Efron, Annals of Statistics 7, 1979).

A resample draws as many images of a class as were searched, with replacement. A search that sums losses over images
obtains the resamples' maps from its own forward passes, in which an image counts as often as it was drawn (`weights`,
`measure`); other searches run once more for each (`search_again`). The model stays the same, so the result does not say
how much another training would change the map.

Files of maps keep the result under the name "stability"; the field is config.search.resamples.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from fsjax.fourier import masks, patches, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.overlap import iou
from fsjax.runtime import parallel, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.partial_results import PartialResults, Table
from fsjax.runtime.progress import Progress
from fsjax.runtime.random_streams import Stream, generator
from fsjax.runtime.storage import Path
from fsjax.search.method import Problem

# Bytes of a search's sums at most, since they are all in memory.
_MOST_BYTES = 2**30
# Share of the resamples between the low and the high quantile.
_LEVEL = 0.95


def resample_count(asked: int, default: int | None) -> int:
    """Return the number that config.search.resamples asks for: -1 stands for the method's default, None for 0."""
    return asked if asked >= 0 else default or 0


def check_size(classes: int, mask_count: int, resamples: int) -> None:
    """Raise InputError where the sums of all resamples take too much memory."""
    each = classes * mask_count * 8
    if resamples and each * (1 + resamples) > _MOST_BYTES:
        fitting = max(0, _MOST_BYTES // each - 1)
        raise InputError(
            f"search.resamples: got {resamples}, whose sums of {classes} classes under {mask_count} masks would "
            f"take {each * (1 + resamples) / 2**30:.1f} GiB; expected {f'{fitting} or fewer' if fitting else '0'}"
        )


def weights(images: int, resamples: int, seed: int, label: int) -> Float[np.ndarray, "images replicates"]:
    """Return how often each of a class's images counts: once in replicate 0, then as drawn for each resample."""
    drawn = generator(seed, Stream.BOOTSTRAP, label).multinomial(images, np.full(images, 1 / images), resamples)
    return np.concatenate([np.ones((images, 1)), drawn.T], axis=1)


def measure(planes: Iterable[Float[np.ndarray, "replicates height width"]], options: ConfigDict) -> dict:
    """Return the IoU of each resample's map with the map itself, as JSON values.

    Args:
      planes: of each class, the `patches.position_scores` on all images and then those on each resample.
      options: config.search, of which the shares and the patch say how maps are cut.

    Returns:
      `resamples`, `shares`, and `iou`: over the resamples its `mean`, and its `low` and `high`, the 2.5 and 97.5 %
      quantiles, [shares][classes] in [0, 1]; None for a map that keeps nothing.
    """
    shares = tuple(sorted(options.shares))
    return _summary(np.array([_ious(of_class, shares, options.patch) for of_class in planes]), shares)


def search_again(
    problem: Problem, search: Callable[[Problem], DominantFrequencyMaps], maps: DominantFrequencyMaps, resamples: int
) -> DominantFrequencyMaps:
    """Search each resample and return the maps with what `measure` returns in their provenance.

    After a stop finished resamples are not searched again, and the current one resumes.

    Raises:
      InputError: what the search raises, or partial results of another search.
      interrupt.Terminated: SIGTERM came; what is computed is kept.
    """
    folder, shape = problem.directory, (len(maps.classes), len(maps.shares))
    identity = f"{problem.identity} at {list(maps.shares)}"
    partial_results = PartialResults(folder and folder / "stability", {}, problem.model.params, identity)
    # For each resample the IoU of every class and share, -1 where there is none, and the cost of its search.
    rows = np.empty((shape[0] * shape[1] + 1, resamples))
    table = partial_results.table("resamples", rows)
    missing = np.flatnonzero(np.isnan(rows).any(0)).tolist()
    with Progress(f"stability of {maps.method}", resamples, "searches", done=resamples - len(missing)) as progress:
        for index in missing:
            again = _resampled(problem, index)
            rows[:, index] = _row(maps, search(again))
            parallel.decide(functools.partial(_write, table, index, rows[:, [index]], again.directory))
            progress.update(1)
    ious = np.where(rows[:-1] < 0, np.nan, rows[:-1]).reshape(*shape, resamples)
    return dataclasses.replace(
        maps,
        forward_equivalents=maps.forward_equivalents + int(rows[-1].sum()),
        provenance={**maps.provenance, "stability": _summary(ious, maps.shares)},
    )


def stability_at_share(maps: DominantFrequencyMaps, share: float) -> dict:
    """Return `resamples` and each class's `mean`, `low` and `high` IoU at a share; empty where it was not measured.

    Raises:
      KeyError, TypeError, ValueError: the maps' provenance is not what a search leaves.
    """
    summary = maps.provenance.get("stability")
    if not summary or share not in summary["shares"]:
        return {}
    index = summary["shares"].index(share)
    result: dict = {"resamples": int(summary["resamples"])}
    for name in ("mean", "low", "high"):
        values = summary["iou"][name][index]
        if len(values) != len(maps.classes):
            raise ValueError(f"stability of {len(values)} classes")
        result[name] = [None if value is None else float(value) for value in values]
    return result


def _resampled(problem: Problem, index: int) -> Problem:
    """Return the problem on the images of a resample, with a folder of its own for partial results."""

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
    """Return the IoU of each class's maps at each share, -1 where neither keeps anything, then the search's cost."""
    pairs = zip(maps.masks.swapaxes(0, 1), again.masks.swapaxes(0, 1), strict=True)
    ious = [iou(*pair) for of_class in pairs for pair in zip(*of_class, strict=True)]
    return [*(-1.0 if value is None else value for value in ious), float(again.forward_equivalents)]


def _write(table: Table, index: int, row: Float[np.ndarray, "values 1"], finished: Path | None) -> None:
    """Write a resample's row and delete the partial results of its search, which nothing needs any more."""
    table.set(np.array([index]), row)
    table.save()
    if finished is not None:
        storage.remove(finished)


def _summary(ious: Float[np.ndarray, "classes shares resamples"], shares: tuple[float, ...]) -> dict:
    tail = (1 - _LEVEL) / 2
    statistics = {
        "mean": ious.mean(-1),
        "low": np.quantile(ious, tail, axis=-1),
        "high": np.quantile(ious, 1 - tail, axis=-1),
    }
    return {
        "resamples": ious.shape[-1],
        "shares": list(shares),
        "iou": {name: np.where(np.isfinite(of), of, np.array(None)).T.tolist() for name, of in statistics.items()},
    }


def _ious(
    planes: Float[np.ndarray, "replicates height width"], shares: tuple[float, ...], patch: int
) -> Float[np.ndarray, "shares resamples"]:
    """Return one class's IoUs, NaN where neither map keeps anything; the maps are those of patch_maps.cut."""
    planes, plane, ious = planes.astype(np.float32), planes.shape[1:], []
    scores, sizes = spectrum.per_orbit(planes), spectrum.orbit_sizes(*plane)
    for share in shares:
        positions = masks.budget(share, *plane)
        if patch == 1:
            chosen = masks.best(scores, sizes, positions)
        else:
            chosen = spectrum.per_orbit(np.stack([patches.best(one, positions, patch) for one in planes]))
        own, others = chosen[0], chosen[1:]
        both, either = (others & own) @ sizes, (others | own) @ sizes
        ious.append(np.divide(both, either, out=np.full(len(others), np.nan), where=either > 0))
    return np.stack(ious)
