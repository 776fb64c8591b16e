"""The section on other sets: a model and its maps out of distribution and under attacks, beside the test images."""

import numpy as np
from jaxtyping import Float

from fsjax.evaluation.ood.results import Group, OodResult, Point, SetRates, SetResult, average_tpr, result_file
from fsjax.evaluation.ood.sets import IN_DISTRIBUTION
from fsjax.evaluation.results import read_method
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import html, verdict_figures
from fsjax.report.answer import class_rows
from fsjax.report.section import Section
from fsjax.runtime.storage import Path
from fsjax.search.patch_maps import stability_at_share

# The fields of ControlRates that stand beside a map's TPR, and their headings.
_CONTROLS = {"trivial_tpr": "trivial mask", "random_tpr": "random", "radial_tpr": "radial"}


def make(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """Return the section; the stage ood read its share from the same field."""
    result = OodResult.read(result_file(directory, maps.method))
    evaluation = read_method(directory / "evaluation.json", maps.method).methods[maps.method]
    own, sets, threshold = result.in_distribution, result.sets, result.threshold
    judged = {IN_DISTRIBUTION: own, **sets}
    columns = {
        name: heading
        for name, heading in _CONTROLS.items()
        if any(np.isfinite(getattr(rates.control_rates, name)).any() for rates in judged.values())
    }
    curves = verdict_figures.average_tpr({name: rates.average_tpr for name, rates in judged.items()})
    body = html.template("ood_section.html").render(
        stability=stability_at_share(maps, result.share),
        share=result.share,
        threshold=threshold,
        groups=lambda rates: _groups(rates, own.filtered.tpr, threshold),
        sentences=[sentence(name, rates, own, result.classes, threshold) for name, rates in sets.items()],
        curves=html.embed_figure(curves, html.page_folder(directory, maps.method) / "figures" / "ood.png"),
        classes=result.classes,
        above=own.filtered.tpr > threshold,
        verdicts=evaluation.grafts and class_rows(result.classes, evaluation.at(result.share), evaluation.grafts),
        judged=judged,
        controls=columns,
        random_masks=result.random_masks,
        restricted=[name for name, rates in sets.items() if rates.restricted],
        attacked=[name for name, rates in sets.items() if "attack" in rates.made_of],
        repeated=[name for name, rates in sets.items() if _is_repeated(rates.made_of)],
        corrupted=[name for name, rates in sets.items() if "corruptions" in rates.made_of],
    )
    return Section("Out of distribution", body)


def _is_repeated(made_of: dict) -> bool:
    """Return whether the parts of a set show the same pictures."""
    return "corruptions" in made_of or bool(made_of.get("fields", {}).get("repeated"))


def sentence(name: str, rates: SetResult, own: SetRates, classes: tuple[str, ...], threshold: float) -> str:
    """Return what a set shows about the classes above the threshold and the others; `own` are test set rates."""
    grouping, present = own.filtered.tpr, np.isfinite(rates.filtered.tpr)
    here = _groups(own, np.where(present, grouping, np.nan), threshold)
    there = _groups(rates, grouping, threshold)
    text = f"{name}: accuracy {rates.accuracy:.3f}, in distribution {own.accuracy:.3f}. "
    if not there.shortcut.classes:
        return f"{text}None of its classes has a TPR above {threshold:g} under its map in distribution."
    members = np.flatnonzero(present & (grouping > threshold))
    whose = "its map" if len(members) == 1 else "their maps"
    text += f"{_listed([classes[label] for label in members])} (in distribution TPR > {threshold:g} under {whose}): "
    text += f"mean TPR there {_compare(there.shortcut, here.shortcut)}"
    if there.other.classes:
        text += f" The other classes: under their maps {_compare(there.other, here.other)}"
    # Intervals must lie apart, since a set may have few images of a class.
    lower, upper = rates.filtered.tpr_ci[:, 0], rates.unfiltered.tpr_ci[:, 1]
    if better := [classes[label] for label in members if lower[label] > upper[label]]:
        text += f" {_listed(better)}: the map's frequencies alone serve better there than the whole image."
    return text


def _compare(there: Group, here: Group) -> str:
    filtered = f"{there.filtered:.3f}, in distribution {here.filtered:.3f}"
    return f"{filtered}; unfiltered {there.unfiltered:.3f}, in distribution {here.unfiltered:.3f}."


def _groups(rates: SetRates, grouping: Float[np.ndarray, " classes"], threshold: float) -> Point:
    return average_tpr(grouping, rates.filtered.tpr, rates.unfiltered.tpr, (threshold,))[0]


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
