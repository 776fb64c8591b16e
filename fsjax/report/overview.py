"""A row a class for the page: its rates at one share, the verdict, how stable its map is; and how maps overlap."""

import numpy as np
from jaxtyping import Bool, Float

from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.overlap import iou
from fsjax.report import pixels
from fsjax.report.verdicts import verdicts

# What a card says of a class without its colour.
_SIGNS = {True: "\N{BLACK UP-POINTING TRIANGLE}", False: "\N{WHITE CIRCLE}", None: "\N{EN DASH}"}
# Predicted classes that are named.
_CONFUSED = 6
_CONTROLS = (
    ("its map", "control_tpr"),
    ("low-pass", "low_pass_tpr"),
    ("highest energy", "highest_energy_tpr"),
    ("random (mean)", "random_tpr"),
    ("random, of its radial profile (mean)", "radial_tpr"),
)


def rows(maps: DominantFrequencyMaps, evaluation: dict, share: float, threshold: float, stable: dict) -> list[dict]:
    """The rows of `verdicts` with what else the page says of a class.

    Args:
      maps: that are shown.
      evaluation: evaluation.json.
      share: one of the maps'.
      threshold: for the TPR of a shortcut.
      stable: what search.stability.at_share says.
    """
    found, plain = evaluation[maps.method][f"{share:g}"], evaluation["unfiltered"]
    result = []
    for label, row in enumerate(verdicts(maps.classes, found, share, threshold)):
        over = (row["tpr"] or 0) > threshold
        result.append(
            {
                "tpr_ci": [None, None],
                **row,
                "label": label,
                "over": over,
                "marked": row["shortcut"] if "best_trivial" in row else over,
                "unfiltered_tpr": plain["tpr"][label],
                "unfiltered_fpr": plain["fpr"][label],
                "stability": stable["mean"][label] if stable else None,
                "stability_ci": [stable["low"][label], stable["high"][label]] if stable else [None, None],
                "controls": [(mask, row[rate]) for mask, rate in _CONTROLS if row.get(rate) is not None],
                "confused": _confused(plain["confusion"][label], maps.classes),
            }
        )
    return result


def headline(rows: list[dict], maps: DominantFrequencyMaps, share: float, threshold: float) -> str:
    """What the page says first."""
    at, count = f"at {100 * share:g} % of the plane", len(rows)
    classes = "class" if count == 1 else "classes"
    judged = [row for row in rows if row["shortcut"] is not None]
    if judged:
        named = [row["name"] for row in judged if row["shortcut"]]
        kinds = "a frequency shortcut" if len(named) == 1 else "frequency shortcuts"
        is_or_are = "is" if len(named) == 1 else "are"
        names = f": {', '.join(named)}" if 0 < len(named) <= 6 else ""
        return f"{len(named)} of {count} {classes} {is_or_are} {kinds} {at}{names}."
    over = sum(row["over"] for row in rows)
    why = "the maps were searched on the images that judge them" if maps.searched_on == "test" else "without controls"
    return (
        f"TPR above {threshold:g} {at} for {over} of {count} {'class' if count == 1 else 'classes'}; no verdict, {why}."
    )


def cards(rows: list[dict], kept: Bool[np.ndarray, "classes height width"], most: int) -> list[dict]:
    """The rows that stand on the first screen, with the map of each as a picture: all, or the marked ones of many."""
    chosen = rows if len(rows) <= most else [row for row in rows if row["marked"]][:most]
    return [
        row
        | {
            "map": pixels.kept(kept[row["label"]]),
            "kind": "shortcut" if row["shortcut"] else "plain",
            "sign": _SIGNS[row["shortcut"]],
        }
        for row in chosen
    ]


def overlaps(kept: Bool[np.ndarray, "classes height width"]) -> Float[np.ndarray, "classes classes"]:
    """IoU of the maps of every two classes; NaN where neither keeps anything."""
    return np.array([[np.nan if (one := iou(left, right)) is None else one for right in kept] for left in kept])


def overlap_sentence(found: Float[np.ndarray, "classes classes"], names: tuple[str, ...]) -> str:
    """Which two classes' maps are most alike; two classes at least, and one pair with a value."""
    others = np.where(np.eye(len(found), dtype=bool), np.nan, found)
    one, other = np.unravel_index(np.nanargmax(others), others.shape)
    mean = f"{np.nanmean(others):.3f}"
    return f"Most alike are {names[one]} and {names[other]} (IoU {others[one, other]:.3f}); the mean is {mean}."


def _confused(counts: list[int], names: tuple[str, ...]) -> list[tuple[str, int]]:
    """The classes that images of a class are called most often, with how many are."""
    order = sorted(range(len(names)), key=lambda label: -counts[label])[:_CONFUSED]
    return [(names[label], counts[label]) for label in order if counts[label]]
