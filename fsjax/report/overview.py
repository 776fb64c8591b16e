"""What the page says about all classes: a row per class, the headline, the cards, and how their maps overlap."""

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.evaluation.results import Evaluation
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.overlap import iou
from fsjax.report import pictures
from fsjax.report.class_rows import class_rows

# Signs on a card that say the verdict without its colour.
_SIGNS = {True: "\N{BLACK UP-POINTING TRIANGLE}", False: "\N{WHITE CIRCLE}", None: "\N{EN DASH}"}
# Predicted classes that are named.
_MOST_CONFUSED = 6
# Masks whose TPR is shown beside each other, and the column of each.
_MASKS = (
    ("its map", "control_tpr"),
    ("low-pass", "low_pass_tpr"),
    ("highest energy", "highest_energy_tpr"),
    ("random (mean)", "random_tpr"),
    ("random, with its radial profile (mean)", "radial_tpr"),
)


def rows(
    maps: DominantFrequencyMaps, evaluation: Evaluation, share: float, threshold: float, stability: dict
) -> list[dict]:
    """Return the rows of `class_rows` with what else the page says about a class; see search.bootstrap.at_share."""
    rates, unfiltered = evaluation.methods[maps.method].at(share), evaluation.unfiltered
    mean, low, high = (stability.get(name, [None] * len(maps.classes)) for name in ("mean", "low", "high"))
    return [
        {
            **row,
            "label": label,
            "over": (over := bool(row["tpr"] > threshold)),
            "marked": row["shortcut"] if rates.controls else over,
            "unfiltered_tpr": unfiltered.tpr[label],
            "unfiltered_fpr": unfiltered.fpr[label],
            "stability": mean[label],
            "stability_ci": [low[label], high[label]],
            "controls": [(mask, row[name]) for mask, name in _MASKS if np.isfinite(row.get(name, np.nan))],
            "confused": _most_confused(unfiltered.confusion[label], maps.classes),
        }
        for label, row in enumerate(class_rows(maps.classes, rates, share, threshold))
    ]


def headline(rows: list[dict], maps: DominantFrequencyMaps, share: float, threshold: float) -> str:
    """Return the first sentence of the page."""
    of_plane, count = f"at {100 * share:g} % of the plane", len(rows)
    classes = "class" if count == 1 else "classes"
    if any(row["shortcut"] is not None for row in rows):
        names = [row["name"] for row in rows if row["shortcut"]]
        are_shortcuts = "is a frequency shortcut" if len(names) == 1 else "are frequency shortcuts"
        listed = f": {', '.join(names)}" if 0 < len(names) <= 6 else ""
        return f"{len(names)} of {count} {classes} {are_shortcuts} {of_plane}{listed}."
    over = sum(row["over"] for row in rows)
    why = "the maps were searched on the images that judge them" if maps.searched_on == "test" else "without controls"
    return f"TPR above {threshold:g} {of_plane} for {over} of {count} {classes}; no verdict, {why}."


def cards(rows: list[dict], masks: Bool[np.ndarray, "classes height width"], most: int) -> list[dict]:
    """Return the rows of the first screen, with each class's map as a picture: all, or the first marked ones."""
    chosen = rows if len(rows) <= most else [row for row in rows if row["marked"]][:most]
    return [
        row
        | {
            "map": pictures.mask_picture(masks[row["label"]]),
            "kind": "shortcut" if row["shortcut"] else "plain",
            "sign": _SIGNS[row["shortcut"]],
        }
        for row in chosen
    ]


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
