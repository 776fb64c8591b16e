"""What the page's script shows of a class: its planes, its map and its images at a row of shares."""

import dataclasses
import json
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.fourier import spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models.classifier import Classifier
from fsjax.report import pixels
from fsjax.report.figures import stretch
from fsjax.report.plane import Plane
from fsjax.search import method_of

# Classes of which all is in the page itself; of more each has a file beside it, which a page from disk may run.
IN_PAGE = 40
# Bytes for all classes: in the page, and in files beside it.
_PAGE, _FILES, _CLASS = 3_000_000, 23_000_000, 400_000


@dataclasses.dataclass(frozen=True)
class _Detail:
    """How much of a class is shown.

    Attributes:
      samples: images at most.
      pixels: of an image's longer side, at most.
      plane: positions along a plane's longer side, at most.
      every: whether images are shown at every share, or only at those that the maps were made for.
    """

    samples: int
    pixels: int
    plane: int
    every: bool


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


@dataclasses.dataclass(frozen=True)
class Stop:
    """A share at which the page's slider stops.

    Attributes:
      share: of the plane, in (0, 1].
      rates: of evaluation.json at that share, a list a rate.
      images: test images of each class that the rates are of.
      own: index of the share among the maps' own; None where the mask is made of the scores.
    """

    share: float
    rates: dict[str, list]
    images: list[int]
    own: int | None


def stops(maps: DominantFrequencyMaps, result: dict, images: list[int], share: float) -> list[Stop]:
    """The maps' own shares, and those of the grid that was evaluated; at most as many as a picture has room for.

    Args:
      maps: of the method.
      result: what evaluation.json says of it.
      images: test images of each class.
      share: one of the maps' own, which is kept whatever there is no room for.
    """
    found = [Stop(share, result[f"{share:g}"], images, index) for index, share in enumerate(maps.shares)]
    grid = result.get("grid")
    if grid and maps.scores is not None:
        for index, share in enumerate(grid["shares"]):
            rates = {rate: grid[rate][index] for rate in ("tpr", "tpr_ci", "fpr")}
            found.append(Stop(share, rates, grid["images"], None))
    found.sort(key=lambda stop: stop.share != share)
    return sorted(found[: pixels.MOST_MASKS], key=lambda stop: stop.share)


def classes(
    maps: DominantFrequencyMaps,
    stops: list[Stop],
    planes: list[Plane],
    classifier: Classifier,
    test: Dataset,
    samples: int,
) -> Iterator[dict]:
    """What is shown of each class, as JSON values, in as much detail as the page has room for.

    Args:
      maps: of the classes.
      stops: of the slider.
      planes: to choose from; each class's scores come first where there are any.
      classifier: whose mean and deviation images are normalised with.
      test: images to show filtered.
      samples: of a class, at most.
    """
    names = maps.classes
    room = min(_CLASS, (_PAGE if len(names) <= IN_PAGE else _FILES) // len(names))
    details = list(_DETAILS)
    for label in range(len(names)):
        masks = _masks(maps, stops, label)
        shown = np.flatnonzero(test.labels == label)[:samples]
        images = test.images(shown) if len(shown) else None
        # What was too much for one class is not tried on the next.
        while True:
            found = _class(label, masks, stops, planes, classifier, images, details[0])
            if len(details) == 1 or len(json.dumps(found)) <= room:
                break
            details.pop(0)
        yield found


def _class(label, masks, stops, planes, classifier, images, detail: _Detail) -> dict:
    return {
        "masks": pixels.membership(masks),
        "planes": [_plane(plane, label, detail.plane) for plane in planes],
        "stops": [_stop(stop, mask, label) for stop, mask in zip(stops, masks, strict=True)],
        "samples": None if images is None else _samples(images[: detail.samples], masks, stops, classifier, detail),
    }


def _masks(maps: DominantFrequencyMaps, stops: list[Stop], label: int) -> Bool[np.ndarray, "stops height width"]:
    method = method_of(maps)

    def cut(share: float) -> Bool[np.ndarray, "height width"]:
        assert maps.scores is not None, "only maps with scores have stops of their own making"
        return method.mask(np.asarray(maps.scores[label]), share)

    return np.stack([cut(stop.share) if stop.own is None else maps.masks[stop.own, label] for stop in stops])


def _plane(plane: Plane, label: int, most: int) -> dict:
    values = np.asarray(plane.values(label), float)
    height, width = values.shape
    small = pixels.shrunk(values, most)
    side = -(-max(height, width) // most)
    image, of_levels = pixels.levels(small, plane.norm(values))
    # Where DC is, in blocks from the top left corner.
    dc = [-(-(length // 2) // side) for length in (height, width)]
    return {"image": image, "levels": of_levels, "side": side, "dc": dc}


def _stop(stop: Stop, mask: np.ndarray, label: int) -> dict:
    counts = {"images": stop.images[label], "others": sum(stop.images) - stop.images[label]}
    # Files of an earlier fsjax may lack the intervals.
    return {rate: (stop.rates.get(rate) or [None] * (label + 1))[label] for rate in ("tpr", "tpr_ci", "fpr")} | {
        "positions": int(mask.sum()),
        **counts,
    }


def _samples(images: np.ndarray, masks: np.ndarray, stops: list[Stop], classifier: Classifier, detail: _Detail) -> dict:
    """The images, and what each of the masks leaves of them: a strip each, or None where it is not shown."""
    mean, std = classifier.mean_std
    there = [index for index, stop in enumerate(stops) if detail.every or stop.own is not None]
    filtered = spectrum.filter_images(normalise(images, mean, std), jnp.asarray(masks[there]))
    strips: list[str | None] = [None] * len(stops)
    for index, left in zip(there, np.asarray(filtered), strict=True):
        strips[index] = pixels.strip(np.stack([stretch(image * std + mean) for image in left]), detail.pixels)
    return {
        "count": len(images),
        "originals": pixels.strip(images / 255.0, detail.pixels),
        "filtered": strips,
        "pixels": max(images.shape[1:3]),
    }
