"""The overview of a page: its subject, a row and a card for each class, and how the classes' maps overlap."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import MEASURES, Grafts
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
# Columns of the table of evidence: heading, and the name in a row's `evidence`.
EVIDENCE = tuple((measure.column, name) for name, measure in MEASURES.items() if measure.column)
# Masks whose psi the page compares, and the field of GraftRates for each.
_MASKS = tuple((measure.mask, name) for name, measure in MEASURES.items() if measure.mask)


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
    def grafts(self) -> Grafts | None:
        """The grafts of the maps; None without pairs."""
        return self.evaluated.grafts

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


def rows(subject: Subject, stability: dict) -> list[dict]:
    """Return the rows of `class_rows` at the subject's share, with what else the page shows of a class.

    `at` is the share that the verdict rests on, or the subject's. `evidence` holds the fields of GraftRates, q0 as
    `base`, the number of pairs, and the smallest share of low-pass; it is empty without grafts. `stability` is the
    result of search.patch_maps.stability_at_share.
    """
    names, unfiltered, grafts = subject.maps.classes, subject.evaluation.unfiltered, subject.grafts
    mean, low, high = (stability.get(name, [None] * len(names)) for name in ("mean", "low", "high"))
    all_rows = class_rows(names, subject.evaluated.at(subject.share), grafts)
    for label, row in enumerate(all_rows):
        over = bool(row["tpr"] > subject.config.evaluate.threshold)
        evidence = {}
        if grafts is not None:
            evidence = {name: values[label] for name, values in vars(grafts.rates).items()} | {
                "base": grafts.baseline.base[label],
                "pairs": int(grafts.baseline.pairs[label]),
                "low_pass_smallest": grafts.curves["low_pass"].smallest[label],
            }
        predicted = np.argsort(-unfiltered.confusion[label], kind="stable")[:_MOST_PREDICTIONS]
        row |= {
            "label": label,
            "at": subject.share if row["share"] is None else row["share"],
            "look": LOOKS[row["kind"]],
            "over": over,
            "marked": over if row["shortcut"] is None else row["shortcut"],
            "unfiltered_tpr": unfiltered.tpr[label],
            "unfiltered_fpr": unfiltered.fpr[label],
            "stability": mean[label],
            "stability_ci": [low[label], high[label]],
            "evidence": evidence,
            "masks_psi": [(mask, evidence[name]) for mask, name in _MASKS if np.isfinite(evidence.get(name, np.nan))],
            # The most frequent ones for images of the class, with the number of images.
            "predictions": [(names[other], int(n)) for other in predicted if (n := unfiltered.confusion[label, other])],
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
