"""How a classifier calls the images of a set, unfiltered and under each class's map, and the rates this makes."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int

from fsjax.data.dataset import Images
from fsjax.engine.engine import Engine
from fsjax.evaluation.confusion import confusion, share
from fsjax.evaluation.filtered import called, staying
from fsjax.evaluation.statistics import numbers, wilson
from fsjax.fourier.masks import Packed
from fsjax.models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Counts:
    """Of images; row 0 as they are, row 1 filtered by the map of the class in question. They add up over parts.

    Attributes:
      images: of each class.
      right: of each class that are called it.
      called: of any class that are called it.
      controls: of each class that are called it under its controls, a row each of controls.kinds, whose masks are added
        up.
    """

    images: Int[np.ndarray, " classes"]
    right: Int[np.ndarray, "2 classes"]
    called: Int[np.ndarray, "2 classes"]
    controls: Int[np.ndarray, "kinds classes"]

    def __add__(self, other: "Counts") -> "Counts":
        return Counts.from_rows(self.to_rows() + other.to_rows())

    def to_json(self) -> dict:
        """As lists."""
        return {field: value.tolist() for field, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, lists: dict) -> "Counts":
        """What `to_json` made."""
        found = {field: np.array(value, np.int64) for field, value in lists.items()}
        return cls(**found | {"controls": found["controls"].reshape(-1, len(found["images"]))})

    def to_rows(self) -> Int[np.ndarray, "rows classes"]:
        """As one array: five rows, and those of the controls."""
        return np.concatenate([self.images[None], self.right, self.called, self.controls])

    @classmethod
    def from_rows(cls, rows: Int[np.ndarray, "rows classes"]) -> "Counts":
        """What `to_rows` made."""
        return cls(rows[0], rows[1:3], rows[3:5], rows[5:])


def count(
    classifier: Classifier,
    predict: Callable,
    engine: Engine,
    images: Images,
    kept: Bool[np.ndarray, "classes height width"],
    judged: Int[np.ndarray, " judged"],
    controls: tuple[Engine, Packed, list[int]] | None,
    label: str,
) -> Counts:
    """Counts of one part of a set, all of them by this process.

    Args:
      classifier: that is judged.
      predict: of the same, as predict.make_predictor makes it.
      engine: of the same, that sums the statistic `called`.
      images: with labels.
      kept: the map of each class.
      judged: the classes that the whole set has; the maps of others are not applied.
      controls: an engine of the same that sums the statistic `correct`, controls.masks_of the maps, and how many there
        are of each kind; None without controls. They see a class's own images only, so a mask costs as much as one
        map does, whatever the number of classes.
      label: of the progress bar.
    """
    classes = len(images.classes)
    plain = confusion(predict(classifier.model.params, images, alone=True), images.labels, classes)
    right, all_called = np.zeros((2, 2, classes), np.int64)
    right[0], all_called[0] = np.diag(plain), plain.sum(0)
    found = called(engine, images, classifier.mean_std, kept[judged], judged, label=label, alone=True)
    right[1, judged], all_called[1, judged] = found[np.arange(len(judged)), judged], found.sum(1)
    under = np.zeros((0, classes), np.int64)
    if controls:
        judge, masks, of_kind = controls
        found = staying(judge, images, classifier.mean_std, masks, label=f"{label}, controls", alone=True)
        under = np.add.reduceat(found, np.cumsum([0, *of_kind[:-1]]))
    return Counts(np.bincount(images.labels, minlength=classes), right, all_called, under)


def rates(counts: Counts, kinds: dict[str, int], pictures: int = 1) -> dict:
    """Images, accuracy, and TPR with its 95 % interval and FPR, unfiltered and filtered, of each class; for JSON.

    Where there are controls, also the TPR under each, by the name that evaluation.json has for it.

    Args:
      counts: of a whole set or a group of it. A class without images has no rates, its FPR included.
      kinds: controls.kinds of the maps.
      pictures: how many times every picture is in it. It is no further evidence: intervals are for one of each.
    """
    found = {"images": counts.images.tolist(), "accuracy": float(counts.right[0].sum() / counts.images.sum())}
    others = counts.images.sum() - counts.images
    tpr = share(counts.right, counts.images)
    fpr = np.where(counts.images > 0, share(counts.called - counts.right, others), np.nan)
    for row, name in enumerate(("unfiltered", "filtered")):
        interval = wilson(counts.right[row] / pictures, counts.images / pictures)
        found[name] = {"tpr": numbers(tpr[row]), "tpr_ci": numbers(interval), "fpr": numbers(fpr[row])}
    for row, (name, masks) in zip(counts.controls, kinds.items(), strict=True):
        found[name] = numbers(share(row, counts.images * masks))
    return found
