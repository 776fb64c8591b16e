"""The overview of a page: its subject, a row and a card for each class, and how the classes' maps overlap."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import MEASURES
from fsjax.evaluation.results import Evaluation, MethodEvaluation
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import iou
from fsjax.report import html, pictures
from fsjax.report.answer import class_rows
from fsjax.report.verdict_figures import LOOKS
from fsjax.runtime.storage import Path
from fsjax.search import mask_rule

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

    def mask_at(self, label: int, share: float) -> Bool[np.ndarray, "height width"]:
        """Return a class's map at one of the maps' shares, or a mask cut from its scores at another share."""
        if share in self.maps.shares:
            return self.maps.at(share)[label]
        assert self.maps.scores is not None, "only maps with scores are judged at other shares"
        return mask_rule(self.maps)(np.asarray(self.maps.scores[label]), share)


def rows(subject: Subject) -> list[dict]:
    """Return the rows of `class_rows` at the subject's share, with what else the page shows of a class.

    `at` is the share that the verdict rests on, or the subject's.
    """
    names, confusion, grafts = subject.maps.classes, subject.evaluation.unfiltered.confusion, subject.evaluated.grafts
    all_rows = class_rows(names, subject.evaluated.at(subject.share), grafts)
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
    """Return the rows of the first screen, with each class's map as a picture: all, or the first marked ones."""
    chosen = rows if len(rows) <= most else [row for row in rows if row["marked"]][:most]
    return [row | {"map": pictures.mask_picture(subject.mask_at(row["label"], row["at"]))} for row in chosen]


def overlaps(masks: Bool[np.ndarray, "classes height width"]) -> Float[np.ndarray, "classes classes"]:
    """Return the IoU of the maps of every two classes; NaN where neither keeps anything."""
    return np.array([[iou(left, right) for right in masks] for left in masks], float)


def overlap_sentence(ious: Float[np.ndarray, "classes classes"], names: tuple[str, ...]) -> str:
    """Name the two classes whose maps overlap most; at least one pair must have a value."""
    pairs = np.where(np.eye(len(ious), dtype=bool), np.nan, ious)
    left, right = np.unravel_index(np.nanargmax(pairs), pairs.shape)
    mean = f"{np.nanmean(pairs):.3f}"
    return f"Most alike are {names[left]} and {names[right]} (IoU {pairs[left, right]:.3f}); the mean is {mean}."
