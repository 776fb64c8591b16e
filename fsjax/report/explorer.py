"""Data of the page's script: for each class its planes, its map and its images at several shares."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, Num

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.results import MethodEvaluation, Rates
from fsjax.evaluation.typed_json import to_json
from fsjax.fourier import spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import pictures
from fsjax.report.plane import Plane
from fsjax.search import mask_rule

# Most classes whose data are in the page itself; with more, each class has a file beside it, which a page may run.
IN_PAGE = 40
# Most bytes of all classes in the page, of all in files beside it, and of a class.
_PAGE, _FILES, _CLASS = 3_000_000, 23_000_000, 400_000


class _Detail(NamedTuple):
    """How much of a class is shown at most."""

    samples: int
    pixels: int  # of an image's longer side
    plane: int  # positions along a plane's longer side
    every_share: bool  # images at every share, or only at those of the maps


_DETAILS = (
    _Detail(8, 224, 256, True),
    _Detail(4, 160, 256, True),
    _Detail(3, 128, 256, True),
    _Detail(3, 96, 128, True),
    _Detail(2, 96, 128, True),
    _Detail(1, 96, 128, True),
    _Detail(1, 96, 64, False),
    _Detail(1, 64, 64, False),
)


class Stop(NamedTuple):
    """A share of the plane, in (0, 1], at which the page's slider stops."""

    share: float
    rates: Rates
    images: Int[np.ndarray, " classes"]  # that the rates are of
    own: int | None  # index among the maps' shares; None where the mask is cut from the scores


def stops(
    maps: DominantFrequencyMaps, evaluated: MethodEvaluation, images: Int[np.ndarray, " classes"], share: float
) -> list[Stop]:
    """Return the maps' own shares and those of the grid, ascending, as many as a picture has room for.

    `images` is the number of test images of each class; `share`, one of the maps' own, is always among the stops.
    """
    all_stops = [Stop(own, evaluated.at(own), images, index) for index, own in enumerate(maps.shares)]
    grid = evaluated.grid
    if grid is not None and maps.scores is not None:
        for further, *rates in zip(grid.shares, grid.tpr, grid.tpr_ci, grid.fpr, strict=True):
            all_stops.append(Stop(further, Rates(*rates), grid.images, None))
    all_stops.sort(key=lambda stop: stop.share != share)
    return sorted(all_stops[: pictures.MOST_MASKS], key=lambda stop: stop.share)


def classes(
    maps: DominantFrequencyMaps,
    stops: list[Stop],
    planes: list[Plane],
    classifier: Model,
    test: Dataset,
    samples: int,
) -> Iterator[dict]:
    """Yield the data of each class as JSON values, in as much detail as the page has room for.

    The page has a choice of planes, and shows `samples` test images of a class at most, filtered.
    """
    names = maps.classes
    room = min(_CLASS, (_PAGE if len(names) <= IN_PAGE else _FILES) // len(names))
    details = list(_DETAILS)
    for label in range(len(names)):
        masks = _masks(maps, stops, label)
        shown = np.flatnonzero(test.labels == label)[:samples]
        images = test.images(shown) if len(shown) else None
        # A detail that was too much for one class is not tried on the next.
        while len(json.dumps(data := _class(label, masks, stops, planes, classifier, images, details[0]))) > room:
            if len(details) == 1:
                break
            details.pop(0)
        yield data


def curve(grafts: Grafts | None, label: int) -> dict | None:
    """Return psi of a class's map at each of `Grafts.curve_shares`, and its interval, as JSON values; None without."""
    if grafts is None:
        return None
    of_map = grafts.curves["map"]
    psi, psi_ci = (to_json(np.round(values[:, label], 4)) for values in (of_map.psi, of_map.psi_ci))
    return {"psi": psi, "psi_ci": psi_ci}


def _class(
    label: int,
    masks: Bool[np.ndarray, "stops height width"],
    stops: list[Stop],
    planes: list[Plane],
    classifier: Model,
    images: Num[np.ndarray, "images height width 3"] | None,
    detail: _Detail,
) -> dict:
    return {
        "masks": pictures.mask_bits(masks),
        "planes": [_plane(plane, label, detail.plane) for plane in planes],
        "stops": [_stop(stop, mask, label) for stop, mask in zip(stops, masks, strict=True)],
        "samples": None if images is None else _samples(images[: detail.samples], masks, stops, classifier, detail),
    }


def _masks(maps: DominantFrequencyMaps, stops: list[Stop], label: int) -> Bool[np.ndarray, "stops height width"]:
    return np.stack([mask_at(maps, label, stop.share) for stop in stops])


def mask_at(maps: DominantFrequencyMaps, label: int, share: float) -> Bool[np.ndarray, "height width"]:
    """Return the map of a class at one of the maps' own shares, or cut from its scores at another."""
    if share in maps.shares:
        return maps.at(share)[label]
    assert maps.scores is not None, "only scores are cut"
    return mask_rule(maps)(np.asarray(maps.scores[label]), share)


def _plane(plane: Plane, label: int, most: int) -> dict:
    values = np.asarray(plane.values(label), float)
    height, width = values.shape
    small = pictures.block_means(values, most)
    side = -(-max(height, width) // most)
    image, levels = pictures.plane_levels(small, plane.norm(values))
    # Where DC is, in blocks from the top left corner.
    dc = [-(-(length // 2) // side) for length in (height, width)]
    return {"image": image, "levels": levels, "side": side, "dc": dc}


def _stop(stop: Stop, mask: Bool[np.ndarray, "height width"], label: int) -> dict:
    rates = {name: to_json(getattr(stop.rates, name)[label : label + 1])[0] for name in ("tpr", "tpr_ci", "fpr")}
    images, total = int(stop.images[label]), int(stop.images.sum())
    return rates | {"positions": int(mask.sum()), "images": images, "others": total - images}


def _samples(
    images: Num[np.ndarray, "images height width 3"],
    masks: Bool[np.ndarray, "stops height width"],
    stops: list[Stop],
    classifier: Model,
    detail: _Detail,
) -> dict:
    """Return the images, and the same filtered by each of the masks: a strip each, or None where it is not shown."""
    mean, std = classifier.mean_std
    shown = [index for index, stop in enumerate(stops) if detail.every_share or stop.own is not None]
    filtered = spectrum.filter_images(normalise(images, mean, std), jnp.asarray(masks[shown]))
    strips: list[str | None] = [None] * len(stops)
    for index, left in zip(shown, np.asarray(filtered), strict=True):
        strips[index] = pictures.image_strip(left * std + mean, detail.pixels)
    return {
        "count": len(images),
        "originals": pictures.image_strip(images / 255.0, detail.pixels),
        "filtered": strips,
        "pixels": max(images.shape[1:3]),
    }
