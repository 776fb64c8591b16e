"""A model and its maps on other sets and under attacks, beside the test images."""

import numpy as np

from fsjax.evaluation.controls import beside
from fsjax.evaluation.ood.average_tpr import average_tpr
from fsjax.evaluation.statistics import mean, numbers
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import html, ood_figures
from fsjax.report.sections.section import Section
from fsjax.runtime import files
from fsjax.runtime.storage import Path
from fsjax.search.bootstrap import at_share

IN_DISTRIBUTION = "in distribution"
# Columns beside a map's TPR, as controls.beside names them.
_CONTROLS = {"trivial": "trivial mask", "random": "random", "radial": "radial"}


def inputs(directory: Path, method: str) -> list[Path]:
    """See section.Maker."""
    return [directory / "ood" / f"{method}.json"]


def make(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """See section.Maker; the share is that of the stage ood, which read it from the same field."""
    found = files.read_json(inputs(directory, maps.method)[0])
    own, sets, threshold = found["in_distribution"], found["sets"], found["threshold"]
    grouping = np.array(own["filtered"]["tpr"], float)
    judged = {IN_DISTRIBUTION: own, **sets}
    curves = ood_figures.average_tpr({name: one["average_tpr"] for name, one in judged.items()})
    stable, cells = at_share(maps, found["share"]), [_cells(one) for one in judged.values()]
    body = html.template("ood_section.html").render(
        stable=stable,
        share=found["share"],
        threshold=threshold,
        rows=[row for name, one in judged.items() for row in _rows(name, one, grouping, threshold)],
        sentences=[sentence(name, one, own, found["classes"], threshold) for name, one in sets.items()],
        curves=html.embedded(curves, directory / "report" / "figures" / f"ood-{maps.method}.png"),
        names=list(sets),
        by_class=[
            {
                "name": name,
                "label": label,
                "shortcut": grouping[label] > threshold,
                "cells": [of_set[label] for of_set in cells],
            }
            for label, name in enumerate(found["classes"])
        ],
        controls={
            name: heading
            for name, heading in _CONTROLS.items()
            if any(np.isfinite(_controls(one)[name]).any() for one in judged.values())
        },
        random_masks=found.get("random_masks"),
        restricted=[name for name, one in sets.items() if one["restricted"]],
        attacked=[name for name, one in sets.items() if "attack" in one["made_of"]],
        repeated=[name for name, one in sets.items() if one["made_of"].get("fields", {}).get("repeated")],
    )
    return Section("Out of distribution", body)


def sentence(name: str, one: dict, own: dict, classes: list[str], threshold: float) -> str:
    """What a set says of the shortcut classes that it has, and of the others.

    Args:
      name: of the set.
      one: its rates.
      own: the rates in distribution.
      classes: display names.
      threshold: for the TPR of a shortcut.
    """
    grouping = np.array(own["filtered"]["tpr"], float)
    there = np.isfinite(_tpr(one, "filtered"))
    here = _groups(own, np.where(there, grouping, np.nan), threshold)
    groups = _groups(one, grouping, threshold)
    said = f"{name}: accuracy {one['accuracy']:.3f}, in distribution {own['accuracy']:.3f}. "
    if not groups["shortcut"]["classes"]:
        return f"{said}None of its classes is a shortcut in distribution (TPR > {threshold:g} under its map)."
    members = np.flatnonzero(there & (grouping > threshold))
    kind, whose = ("shortcut class", "its map") if len(members) == 1 else ("shortcut classes", "their maps")
    said += f"{_listed([classes[label] for label in members])} ({kind} in distribution): mean TPR under {whose} "
    said += _beside(groups["shortcut"], here["shortcut"])
    if groups["other"]["classes"]:
        said += f" The other classes: under their maps {_beside(groups['other'], here['other'])}"
    # Of intervals that do not overlap, since a set may have few images of a class.
    limits = [np.array(one[rate]["tpr_ci"], float) for rate in ("filtered", "unfiltered")]
    better = [classes[label] for label in members if limits[0][label, 0] > limits[1][label, 1]]
    if better:
        said += f" {_listed(better)}: the map's frequencies alone serve better there than the whole image."
    return said


def _beside(there: dict, here: dict) -> str:
    filtered, unfiltered = (
        f"{there[rate]:.3f}, in distribution {here[rate]:.3f}" for rate in ("filtered", "unfiltered")
    )
    return f"{filtered}; unfiltered {unfiltered}."


def _rows(name: str, one: dict, grouping: np.ndarray, threshold: float) -> list[dict]:
    """A row of the set, and one of each folder of its first placeholder."""
    first: dict = next(iter(one.get("groups", {}).values()), {})
    return [
        {
            "name": label,
            "part": part is not one,
            "images": sum(part["images"]),
            "classes": sum(count > 0 for count in part["images"]),
            "accuracy": part["accuracy"],
            "unfiltered": mean(part["unfiltered"]["tpr"]),
            "filtered": mean(part["filtered"]["tpr"]),
            "controls": {name: mean(tpr) for name, tpr in _controls(part).items()},
            "fpr": mean(part["filtered"]["fpr"]),
            "groups": _groups(part, grouping, threshold),
        }
        for label, part in {name: one, **first}.items()
    ]


def _groups(one: dict, grouping: np.ndarray, threshold: float) -> dict:
    return average_tpr(grouping, _tpr(one, "filtered"), _tpr(one, "unfiltered"), (threshold,))[0]


def _cells(one: dict) -> list[dict]:
    """What a set's column says of each class."""
    columns = {
        "unfiltered": one["unfiltered"]["tpr"],
        "filtered": one["filtered"]["tpr"],
        "interval": one["filtered"]["tpr_ci"],
        **{name: numbers(tpr) for name, tpr in _controls(one).items()},
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _controls(one: dict) -> dict[str, np.ndarray]:
    return beside(one, len(one["images"]))


def _tpr(one: dict, rate: str) -> np.ndarray:
    return np.array(one[rate]["tpr"], float)


def _listed(names: list[str], shown: int = 6) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
