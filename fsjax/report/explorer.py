"""The classes on a page: a row and a card each, and the data of the script: planes, map and images.

With many classes, the script's data of each lie in a file beside the page.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import TypeAlias

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Num
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation import verdict
from fsjax.evaluation.graft_results import MEASURES, Grafts
from fsjax.evaluation.results import Evaluation, MapRates, MethodEvaluation
from fsjax.evaluation.typed_json import to_json
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import iou
from fsjax.report import html
from fsjax.report.answer import class_rows
from fsjax.report.sections import Plane
from fsjax.report.verdict_figures import LOOKS
from fsjax.runtime import files
from fsjax.runtime.storage import Path
from fsjax.search import mask_at

_Images: TypeAlias = Num[np.ndarray, "images height width 3"]
_Stops: TypeAlias = dict[float, MapRates | None]  # None: not measured
# The page itself holds the data of at most this many classes.
IN_PAGE = 40
# Samples of a class at most, pixels of an image's longer side, and positions along a plane's longer side: for at most
# _FEW classes, for more in the page, and for classes in files beside it.
_FEW, _DETAILS_OF_FEW, _DETAILS_IN_PAGE, _DETAILS_BESIDE = 12, (8, 128, 256), (3, 96, 128), (1, 64, 64)
# A row names at most this many predicted classes.
_MOST_PREDICTIONS = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """The maps that a page is about, and their results."""

    config: ConfigDict
    directory: Path  # the workdir
    model: Model
    maps: DominantFrequencyMaps
    test: Dataset  # images that the page shows filtered
    evaluation: Evaluation

    @property
    def evaluated(self) -> MethodEvaluation:
        """The results of the maps' method."""
        return self.evaluation.methods[self.maps.method]

    @property
    def share(self) -> float:
        """The map share that the page begins with."""
        return self.maps.nearest(self.config.report.share)

    @property
    def folder(self) -> Path:
        """The folder of the page."""
        return html.page_folder(self.directory, self.maps.method)


def rows(subject: Subject) -> list[dict]:
    """Return the rows of `class_rows` at the subject's share, with what else the page shows of a class.

    `at` is the share that the verdict rests on, or the subject's.
    """
    names, confusion, grafts = subject.maps.classes, subject.evaluation.unfiltered.confusion, subject.evaluated.grafts
    all_rows = class_rows(subject.evaluation, subject.maps.method, subject.share)
    rates = {} if grafts is None else vars(grafts.rates)
    psi = {measure.mask: rates[name] for name, measure in MEASURES.items() if measure.mask and rates}
    for label, row in enumerate(all_rows):
        over = bool(row["tpr"] > subject.config.evaluate.threshold)
        predicted = np.argsort(-confusion[label], kind="stable")[:_MOST_PREDICTIONS]
        row |= {
            "label": label,
            "at": subject.share if row["share"] is None else row["share"],
            "look": LOOKS[row["kind"]],
            "over": over,
            "marked": over if row["shortcut"] is None else row["shortcut"],
            "masks_psi": [(mask, float(each[label])) for mask, each in psi.items() if np.isfinite(each[label])],
            # The most frequent ones for images of the class, with the number of images.
            "predictions": [(names[other], int(n)) for other in predicted if (n := confusion[label, other])],
        }
    return all_rows


def cards(rows: list[dict], subject: Subject, most: int) -> list[dict]:
    """Return the rows of the first screen, all or the first marked ones, with each class's map as a picture.

    `spans` are a card's twelfths of the width where 4, 3 or 2 cards fit a row: rows differ by at most one card.
    """
    chosen = rows if len(rows) <= most else [row for row in rows if row["marked"]][:most]
    lines = [np.array_split(range(len(chosen)), -(-len(chosen) // fit) or 1) for fit in (4, 3, 2)]
    spans = zip(*([12 // len(line) for line in each for _ in line] for each in lines), strict=True)
    maps = (html.mask_picture(mask_at(subject.maps, row["label"], row["at"])) for row in chosen)
    return [row | {"map": picture, "spans": each} for row, picture, each in zip(chosen, maps, spans, strict=True)]


def overlaps(masks: Bool[np.ndarray, "classes height width"]) -> Float[np.ndarray, "classes classes"]:
    """Return the IoU of the maps of every two classes; NaN where neither keeps anything."""
    return np.array([[iou(left, right) for right in masks] for left in masks], float)


def overlap_sentence(ious: Float[np.ndarray, "classes classes"], names: tuple[str, ...]) -> str:
    """Name the two classes whose maps overlap most; at least one pair must have a value."""
    pairs = np.where(np.eye(len(ious), dtype=bool), np.nan, ious)
    left, right = np.unravel_index(np.nanargmax(pairs), pairs.shape)
    mean = f"{np.nanmean(pairs):.3f}"
    return f"Most alike are {names[left]} and {names[right]} (IoU {pairs[left, right]:.3f}); the mean is {mean}."


def stops(subject: Subject) -> _Stops:
    """Return the shares of maps, grid and psi, ascending, as many as a picture has room for, with the measured rates.

    The subject's share and those of verdicts come first.
    """
    evaluated, grafts, has_scores = subject.evaluated, subject.evaluated.grafts, subject.maps.scores is not None
    found: _Stops = dict.fromkeys(grafts.curve_shares if grafts and has_scores else ())
    found |= {share: evaluated.at(share) for share in subject.maps.shares}
    found |= {float(share): rates for share, rates in (evaluated.grid if has_scores else {}).items()}
    wanted = {subject.share, *(verdict.share for verdict in (grafts.verdicts if grafts else ()))}
    first = sorted(found, key=lambda share: (share not in wanted, share))
    return {share: found[share] for share in sorted(first[: html.MOST_MASKS])}


def script_data(subject: Subject, rows: list[dict], planes: list[Plane], gallery: list[dict]) -> dict:
    """Return the script's data as JSON values; write each class to data/ where there are more than IN_PAGE.

    `rows` come from `rows`, `gallery` from `graft_gallery`; `planes` are the choice of values on the plane.
    """
    maps = subject.maps
    height, width = maps.masks.shape[2:]
    at_stops, in_page = stops(subject), len(rows) <= IN_PAGE
    answers = {row["label"]: [pair["answers"] for pair in row["pairs"]] for row in gallery}
    classes = _classes(subject, [row | {"answers": answers.get(row["label"], [])} for row in rows], at_stops, planes)
    if not in_page:
        for label, data in enumerate(classes):
            script = f"fsjaxClass({label},{json.dumps(data, separators=(',', ':'))});\n"
            files.write_text(subject.folder / "data" / f"class-{label:05d}.js", script)
    shares, levels = list(at_stops), np.linspace(0, 1, html.NOTHING)
    return {
        "names": maps.classes,
        "width": width,
        "height": height,
        "dc": [height // 2, width // 2],
        "shares": shares,
        "mean": np.asarray(subject.model.mean_std[0]).tolist(),
        "threshold": subject.config.evaluate.threshold,
        "control": verdict.CONTROL,
        "kept": html.KEPT_COLOUR,
        "planes": [
            {"name": plane.name, "meaning": plane.meaning, "colours": plane.colours, "levels": _levels(plane)}
            for plane in planes
        ],
        # Of each colour map, first to last, six hexadecimal digits a level.
        "colours": {
            plane.colours: matplotlib.colormaps[plane.colours](levels, bytes=True)[:, :3].tobytes().hex()
            for plane in planes
        },
        "classes": list(classes) if in_page else None,
    }


def _classes(subject: Subject, rows: list[dict], stops: _Stops, planes: list[Plane]) -> Iterator[dict]:
    """Yield the data of each class as JSON values."""
    count, test, grafts = len(rows), subject.test, subject.evaluated.grafts
    details = _DETAILS_OF_FEW if count <= _FEW else _DETAILS_IN_PAGE if count <= IN_PAGE else _DETAILS_BESIDE
    most, pixels, positions = details
    for label, row in enumerate(rows):
        masks = np.stack([mask_at(subject.maps, label, share) for share in stops])
        chosen = np.flatnonzero(test.labels == label)[: min(most, subject.config.report.samples)]
        yield {
            "masks": html.mask_bits(masks),
            "planes": [_plane(plane, label, positions) for plane in planes],
            "stops": [
                _stop(subject, mask, share, rates, label)
                for mask, (share, rates) in zip(masks, stops.items(), strict=True)
            ],
            "samples": _samples(test.images(chosen), pixels) if len(chosen) else None,
            **{name: row[name] for name in ("sentence", "at", "masks_psi", "predictions", "answers")},
            "stop": int(np.abs(np.array(list(stops)) - row["at"]).argmin()),
            "curve": grafts and _curve(grafts, label),
        }


def _curve(grafts: Grafts, label: int) -> dict:
    """Return the shares at which psi of a class's map was measured, psi, and its interval."""
    measured = np.flatnonzero(np.isfinite(grafts.curve.psi[:, label]))
    psi = {name: np.round(getattr(grafts.curve, name)[measured, label], 4) for name in ("psi", "psi_ci")}
    return {"shares": [grafts.curve_shares[at] for at in measured], **to_json(psi)}


def _plane(plane: Plane, label: int, most: int) -> dict:
    values = np.asarray(plane.values(label), float)
    side = -(-max(values.shape) // most)
    norm = plane.norm(values)
    # The place of DC, in blocks from the top left corner.
    dc = [-(-(length // 2) // side) for length in values.shape]
    image = html.plane_picture(html.block_means(values, most), norm)
    return {"image": image, "top": float(f"{norm.vmax:.3g}"), "side": side, "dc": dc}


def _levels(plane: Plane) -> list[float]:
    """Return the value of each grey level over the highest one's, which is `top` of a class."""
    values = html.level_values(plane.norm(np.asarray(plane.values(0), float)))
    return [float(f"{value:.3g}") for value in values / values[-1]]


def _stop(
    subject: Subject, mask: Bool[np.ndarray, "height width"], share: float, rates: MapRates | None, label: int
) -> dict:
    positions = {"positions": int(mask.sum())}
    if rates is None:
        return positions
    found = {name: to_json(getattr(rates, name)[label : label + 1])[0] for name in ("tpr", "tpr_ci", "fpr", "fpr_ci")}
    images = subject.evaluation.images
    if share not in subject.maps.shares:
        images = np.minimum(images, subject.config.evaluate.grid_images or images)
    return positions | found | {"images": int(images[label]), "others": int(rates.others[label])}


def _samples(images: _Images, pixels: int) -> dict:
    strip = html.image_strip(images / 255.0, pixels)
    return {"count": len(images), "originals": strip, "pixels": max(images.shape[1:3])}
