"""What the page says about all classes: a row per class, the cards, and how their maps overlap."""

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.results import Evaluation
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.overlap import iou
from fsjax.report import pictures
from fsjax.report.class_rows import class_rows
from fsjax.report.explorer import mask_at
from fsjax.report.kinds import LOOKS

# Predicted classes that are named.
_MOST_CONFUSED = 6
# Columns of the table of evidence: heading, and the name in a row's `evidence`.
EVIDENCE = (
    ("low-pass", "low_pass_psi"),
    ("class energy", "energy_psi"),
    ("radial", "radial_psi"),
    ("equal change", "equal_change_psi"),
    ("e", "difference"),
    ("prominence", "prominence"),
    ("q0", "base"),
    ("q", "grafted"),
    ("S", "sufficiency"),
    ("w", "swapped"),
    ("n", "replaced"),
    ("N", "necessity"),
    ("amplitude", "amplitude"),
    ("phase", "phase"),
    ("zeroed", "zeroed"),
    ("energy ratio", "energy_ratio"),
)
# Masks whose psi is shown beside each other, and the field of GraftRates of each.
_MASKS = (
    ("its map", "psi"),
    ("low-pass", "low_pass_psi"),
    ("class energy", "energy_psi"),
    ("random, with its radial profile (mean)", "radial_psi"),
    ("random, equal change (mean)", "equal_change_psi"),
)


def rows(
    maps: DominantFrequencyMaps, evaluation: Evaluation, share: float, threshold: float, stability: dict
) -> list[dict]:
    """Return the rows of `class_rows`, at a share, with what else the page says about a class.

    `at` is the share that its verdict is about, or the given one. `evidence` holds the fields of GraftRates, with q0,
    the number of pairs, and the smallest share of low-pass; it is empty without grafts. For `stability` see
    search.bootstrap.stability_at_share.
    """
    evaluated, unfiltered = evaluation.methods[maps.method], evaluation.unfiltered
    mean, low, high = (stability.get(name, [None] * len(maps.classes)) for name in ("mean", "low", "high"))
    found = []
    for label, row in enumerate(class_rows(maps.classes, evaluated.at(share), evaluated.grafts)):
        over = bool(row["tpr"] > threshold)
        evidence = {} if evaluated.grafts is None else _evidence(evaluated.grafts, label)
        more = {
            "label": label,
            "at": share if row["share"] is None else row["share"],
            "look": LOOKS[row["kind"]],
            "over": over,
            "marked": over if row["shortcut"] is None else row["shortcut"],
            "unfiltered_tpr": unfiltered.tpr[label],
            "unfiltered_fpr": unfiltered.fpr[label],
            "stability": mean[label],
            "stability_ci": [low[label], high[label]],
            "evidence": evidence,
            "of_masks": [(mask, evidence[name]) for mask, name in _MASKS if np.isfinite(evidence.get(name, np.nan))],
            "confused": _most_confused(unfiltered.confusion[label], maps.classes),
        }
        found.append(row | more)
    return found


def _evidence(grafts: Grafts, label: int) -> dict:
    return {name: values[label] for name, values in vars(grafts.rates).items()} | {
        "base": grafts.baseline.base[label],
        "pairs": int(grafts.baseline.pairs[label]),
        "low_pass_smallest": grafts.curves["low_pass"].smallest[label],
    }


def cards(rows: list[dict], maps: DominantFrequencyMaps, most: int) -> list[dict]:
    """Return the rows of the first screen, with each class's map as a picture: all, or the first marked ones."""
    chosen = rows if len(rows) <= most else [row for row in rows if row["marked"]][:most]
    return [row | {"map": pictures.mask_picture(mask_at(maps, row["label"], row["at"]))} for row in chosen]


def overlaps(masks: Bool[np.ndarray, "classes height width"]) -> Float[np.ndarray, "classes classes"]:
    """Return the IoU of the maps of every two classes; NaN where neither keeps anything."""
    return np.array([[iou(left, right) for right in masks] for left in masks], float)


def overlap_sentence(ious: Float[np.ndarray, "classes classes"], names: tuple[str, ...]) -> str:
    """Name the two classes whose maps overlap most; there have to be two classes, and a pair with a value."""
    pairs = np.where(np.eye(len(ious), dtype=bool), np.nan, ious)
    left, right = np.unravel_index(np.nanargmax(pairs), pairs.shape)
    mean = f"{np.nanmean(pairs):.3f}"
    return f"Most alike are {names[left]} and {names[right]} (IoU {pairs[left, right]:.3f}); the mean is {mean}."


def _most_confused(counts: Int[np.ndarray, " classes"], names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return the classes that images of a class are predicted as most often, with the number of images."""
    order = np.argsort(-counts, kind="stable")[:_MOST_CONFUSED]
    return [(names[label], int(counts[label])) for label in order if counts[label]]
