"""Counts of correct predictions and of predicted classes, part by part of a set, and the rates that they give."""

import dataclasses
import json
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from fsjax.evaluation.ood.results import ControlRates, SetRates
from fsjax.evaluation.ood.sets import Part, Set
from fsjax.evaluation.rates import ratio
from fsjax.evaluation.results import Rates
from fsjax.evaluation.statistics import wilson
from fsjax.evaluation.typed_json import to_json
from fsjax.runtime import files, parallel
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
    """Counts of images; row 0 as they are, row 1 filtered by the map of the class in question.

    Attributes:
      images: of each class.
      right: images of each class that are predicted correctly.
      called: images of any class that are predicted as each class.
      controls: images of each class that are predicted correctly under its controls: a row for each kind of
        control_masks.mask_counts, over whose masks it sums.
    """

    images: Int[np.ndarray, " classes"]
    right: Int[np.ndarray, "2 classes"]
    called: Int[np.ndarray, "2 classes"]
    controls: Int[np.ndarray, "kinds classes"]

    def to_rows(self) -> Int[np.ndarray, "rows classes"]:
        """Return one array: five rows, and those of the controls."""
        return np.concatenate([self.images[None], self.right, self.called, self.controls])

    @classmethod
    def from_rows(cls, rows: Int[np.ndarray, "rows classes"]) -> "Counts":
        """Return what `to_rows` made."""
        return cls(rows[0], rows[1:3], rows[3:5], rows[5:])


def count_parts(
    image_set: Set,
    file: Path,
    made_of: dict,
    shape: tuple[int, int],
    make_counter: Callable[[], Callable[[Part], Counts]],
) -> list[Counts]:
    """Return the counts of every part of a set, reading from `file` those that an earlier run has counted.

    Collective: every process must call this; each counts another part, and all return the same.

    Args:
      image_set: the set.
      file: where counts are written as soon as they are known.
      made_of: what counts depend on, as JSON values; counts of another `made_of` are not used.
      shape: of Counts.to_rows().
      make_counter: returns a function that counts a part; called only where a part is missing.
    """
    made_of = json.loads(json.dumps(made_of))  # as it comes back from a file: lists for tuples
    counted = parallel.decide(lambda: _read(file, made_of))
    missing = [part for part in image_set.parts if part.name not in counted]
    index, processes = parallel.process()
    if missing:
        count = make_counter()
    for start in range(0, len(missing), processes):
        group = missing[start : start + processes]
        rows = np.full((len(group), *shape), np.nan)
        if index < len(group):
            rows[index] = count(group[index]).to_rows()
        for part, of_part in zip(group, parallel.merge(rows), strict=True):
            counted[part.name] = to_json(Counts.from_rows(of_part.astype(np.int64)))
        if parallel.is_main_process():
            files.write_json(file, {"made_of": made_of, "parts": counted})
    return [_from_json(counted[part.name]) for part in image_set.parts]


def _from_json(lists: dict) -> Counts:
    rows = [lists["images"], *lists["right"], *lists["called"], *lists["controls"]]
    return Counts.from_rows(np.array(rows, np.int64))


def _read(file: Path, made_of: dict) -> dict[str, dict]:
    content = files.read_json(file) if file.exists() else {}
    return content["parts"] if isinstance(content, dict) and content.get("made_of") == made_of else {}


def rates(counts: Sequence[Counts], mask_counts: dict[str, int], copies: int = 1) -> SetRates:
    """Return the rates of a set or of a group of it. A class without images has none.

    Args:
      counts: of its parts.
      mask_counts: control_masks.mask_counts of the maps.
      copies: how many of the images show the same picture. They are no further evidence: intervals are for one of each.
    """
    total = Counts.from_rows(np.sum([of_part.to_rows() for of_part in counts], axis=0))
    others = total.images.sum() - total.images
    tpr = ratio(total.right, total.images)
    fpr = np.where(total.images > 0, ratio(total.called - total.right, others), np.nan)
    unfiltered, filtered = (
        Rates(tpr[row], wilson(total.right[row] / copies, total.images / copies), fpr[row]) for row in (0, 1)
    )
    return SetRates(
        images=total.images,
        accuracy=float(total.right[0].sum() / total.images.sum()),
        unfiltered=unfiltered,
        filtered=filtered,
        controls=control_rates(counts, mask_counts),
    )


def control_rates(counts: Sequence[Counts], mask_counts: dict[str, int]) -> ControlRates | None:
    """Return the TPR of each class under its controls, as `rates` does; None without controls."""
    if not mask_counts:
        return None
    images, correct = (sum(getattr(of_part, name) for of_part in counts) for name in ("images", "controls"))
    of_kinds = {
        kind: ratio(row, images * masks) for row, (kind, masks) in zip(correct, mask_counts.items(), strict=True)
    }
    return ControlRates(**{"radial_tpr": np.full(len(images), np.nan), **of_kinds})
