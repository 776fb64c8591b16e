"""A model and its maps on other sets and under attacks, beside the test images."""

import numpy as np
from jaxtyping import Float

from fsjax.evaluation import evaluation_file
from fsjax.evaluation.ood.average_tpr import Group, Point, average_tpr
from fsjax.evaluation.ood.results import OodResult, SetRates, SetResult, result_file
from fsjax.evaluation.ood.sets import IN_DISTRIBUTION
from fsjax.evaluation.statistics import mean
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import html, index, ood_figures
from fsjax.report.class_rows import class_rows
from fsjax.report.sections.section import Section
from fsjax.runtime.storage import Path
from fsjax.search.bootstrap import stability_at_share

# Columns beside a map's TPR, and the field of ControlRates that each shows.
_CONTROLS = {"trivial_tpr": "trivial mask", "random_tpr": "random", "radial_tpr": "radial"}


def inputs(directory: Path, method: str) -> list[Path]:
    """See section.Maker."""
    return [result_file(directory, method)]


def make(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """See section.Maker; the share is that of the stage ood, which read it from the same field."""
    result = OodResult.read(result_file(directory, maps.method))
    evaluation = evaluation_file.read_method(directory / "evaluation.json", maps.method).methods[maps.method]
    own, sets, threshold = result.in_distribution, result.sets, result.threshold
    judged = {IN_DISTRIBUTION: own, **sets}
    columns = {
        name: heading
        for name, heading in _CONTROLS.items()
        if any(np.isfinite(getattr(of_set.control_rates, name)).any() for of_set in judged.values())
    }
    curves = ood_figures.average_tpr({name: of_set.average_tpr for name, of_set in judged.items()})
    body = html.template("ood_section.html").render(
        stability=stability_at_share(maps, result.share),
        share=result.share,
        threshold=threshold,
        rows=[row for name, of_set in judged.items() for row in _rows(name, of_set, own.filtered.tpr, threshold)],
        sentences=[sentence(name, of_set, own, result.classes, threshold) for name, of_set in sets.items()],
        curves=html.embed_figure(curves, index.page_folder(directory, maps.method) / "figures" / "ood.png"),
        classes=result.classes,
        above=own.filtered.tpr > threshold,
        verdicts=evaluation.grafts and class_rows(result.classes, evaluation.at(result.share), evaluation.grafts),
        judged=judged,
        controls=columns,
        random_masks=result.random_masks,
        restricted=[name for name, of_set in sets.items() if of_set.restricted],
        attacked=[name for name, of_set in sets.items() if "attack" in of_set.made_of],
        repeated=[name for name, of_set in sets.items() if _is_repeated(of_set.made_of)],
        corrupted=[name for name, of_set in sets.items() if "corruptions" in of_set.made_of],
    )
    return Section("Out of distribution", body)


def _is_repeated(made_of: dict) -> bool:
    """Return whether the parts of a set show the same pictures."""
    return "corruptions" in made_of or bool(made_of.get("fields", {}).get("repeated"))


def sentence(name: str, of_set: SetResult, own: SetRates, classes: tuple[str, ...], threshold: float) -> str:
    """Return what a set shows about its classes above the threshold and its others; `own` are rates in distribution."""
    grouping, present = own.filtered.tpr, np.isfinite(of_set.filtered.tpr)
    here = _groups(own, np.where(present, grouping, np.nan), threshold)
    there = _groups(of_set, grouping, threshold)
    text = f"{name}: accuracy {of_set.accuracy:.3f}, in distribution {own.accuracy:.3f}. "
    if not there.shortcut.classes:
        return f"{text}None of its classes has a TPR above {threshold:g} under its map in distribution."
    members = np.flatnonzero(present & (grouping > threshold))
    whose = "its map" if len(members) == 1 else "their maps"
    text += f"{_listed([classes[label] for label in members])} (in distribution TPR > {threshold:g} under {whose}): "
    text += "mean TPR there "
    text += _compare(there.shortcut, here.shortcut)
    if there.other.classes:
        text += f" The other classes: under their maps {_compare(there.other, here.other)}"
    # Intervals have to be apart, since a set may have few images of a class.
    lower, upper = of_set.filtered.tpr_ci[:, 0], of_set.unfiltered.tpr_ci[:, 1]
    if better := [classes[label] for label in members if lower[label] > upper[label]]:
        text += f" {_listed(better)}: the map's frequencies alone serve better there than the whole image."
    return text


def _compare(there: Group, here: Group) -> str:
    filtered = f"{there.filtered:.3f}, in distribution {here.filtered:.3f}"
    return f"{filtered}; unfiltered {there.unfiltered:.3f}, in distribution {here.unfiltered:.3f}."


def _rows(name: str, of_set: SetRates, grouping: Float[np.ndarray, " classes"], threshold: float) -> list[dict]:
    """Return a row for the set, and one for each folder of its first placeholder."""
    folders = next(iter(of_set.groups.values()), {}) if isinstance(of_set, SetResult) else {}
    return [
        {
            "name": label,
            "part": part is not of_set,
            "images": int(part.images.sum()),
            "classes": int((part.images > 0).sum()),
            "accuracy": part.accuracy,
            "unfiltered": mean(part.unfiltered.tpr),
            "filtered": mean(part.filtered.tpr),
            "controls": {field: mean(getattr(part.control_rates, field)) for field in _CONTROLS},
            "fpr": mean(part.filtered.fpr),
            "groups": _groups(part, grouping, threshold),
        }
        for label, part in {name: of_set, **folders}.items()
    ]


def _groups(rates: SetRates, grouping: Float[np.ndarray, " classes"], threshold: float) -> Point:
    return average_tpr(grouping, rates.filtered.tpr, rates.unfiltered.tpr, (threshold,))[0]


def _listed(names: list[str], shown: int = 6) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
