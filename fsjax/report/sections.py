"""Sections of the page about optional stages: class-wise spectra, the heat map, probes, and other sets.

A section is a function and a line of SECTIONS.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from matplotlib.colors import Normalize

from fsjax.evaluation import probes
from fsjax.evaluation.ood import results as ood_results
from fsjax.evaluation.ood.results import Group, OodResult, Point, SetRates, SetResult
from fsjax.evaluation.ood.sets import IN_DISTRIBUTION
from fsjax.evaluation.probes import Probes
from fsjax.evaluation.results import read_method
from fsjax.evaluation.statistics import rank_correlation
from fsjax.fourier import dfm, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import figures, html, style, verdict_figures
from fsjax.report.answer import class_rows
from fsjax.runtime import files
from fsjax.runtime.errors import listed
from fsjax.runtime.storage import Path
from fsjax.search.patch_maps import stability_at_share
from fsjax.training.ways import graft

# The fields of ControlRates that stand beside a map's TPR, and their headings.
_CONTROLS = {"trivial_tpr": "trivial mask", "random_tpr": "random", "radial_tpr": "radial"}


@dataclasses.dataclass(frozen=True)
class Plane:
    """One kind of value of each class on the Fourier plane."""

    name: str  # in the list of choices
    meaning: str  # with its unit
    values: Callable[[int], Float[np.ndarray, "height width"]]  # of a class, on the centred plane; NaN = none
    # Values of a class -> their scale; the scales of two classes differ by a factor alone.
    norm: Callable[[Float[np.ndarray, "height width"]], Normalize]
    colours: str  # a matplotlib colour map that colour-blind readers can read


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and the content under it."""

    title: str
    body: str  # HTML from a template of fsjax.report.html, which escapes every value
    planes: tuple[Plane, ...] = ()  # which the page can show in place of scores


def sections(directory: Path, maps: DominantFrequencyMaps, share: float) -> list[Section]:
    """Return the sections of a workdir whose stages have run, about the maps at one of their shares."""
    return [
        make(directory, maps, share)
        for needed, make in SECTIONS
        if all(file.exists() for file in needed(directory, maps.method))
    ]


def inputs(directory: Path, method: str) -> list[Path]:
    """Return the existing results that these sections show."""
    return [file for needed, _ in SECTIONS for file in needed(directory, method) if file.exists()]


def adcs_section(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """Return the section on the class-wise spectra of the data, before any model."""
    arrays = files.read_npz(directory / "adcs.npz")
    adcs, names = arrays["adcs"], tuple(str(name) for name in arrays["classes"])
    largest = max(len(names) - (not arrays["compat"]), 1)
    drawn = figures.adcs_grid(adcs[: figures.MOST_CLASSES], names, largest)
    body = html.template("adcs_section.html").render(
        image=html.embed_figure(drawn, html.page_folder(directory, maps.method) / "figures" / "adcs.png"),
        classes=len(names),
        drawn=min(len(names), figures.MOST_CLASSES),
        images=int(arrays["images"].sum()),
        split=str(arrays["split"]),
        compat=bool(arrays["compat"]),
    )
    meaning = "Number of other classes that have less of a frequency, minus the number that have more."
    plane = Plane("ADCS", meaning, lambda label: adcs[label], lambda _: Normalize(-largest, largest), style.DIVERGING)
    return Section("What the data offer", body, (plane,) if adcs.shape == maps.masks.shape[1:] else ())


def heat_map_section(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """Return the section with the Fourier heat map beside the dominant frequency maps."""
    arrays = files.read_npz(directory / "heat_map.npz")
    folder = html.page_folder(directory, maps.method) / "figures"
    names, error, images = maps.classes[: figures.MOST_CLASSES], arrays["class_error"], arrays["images"]
    clean = float(arrays["clean_error"] @ images / images.sum())
    overall = figures.heat_map(arrays["error"], f"all classes (error {clean:.3f} without a wave)")
    by_class = figures.heat_map_grid(error[: len(names)], maps.at(share)[: len(names)], names)
    pairs = [] if maps.scores is None else zip(error, maps.scores, strict=True)
    body = html.template("heat_map_section.html").render(
        overall=html.embed_figure(overall, folder / "heat_map.png"),
        by_class=html.embed_figure(by_class, folder / "heat_map_classes.png"),
        norm=float(arrays["norm"]),
        images=images,
        classes=maps.classes,
        clean=arrays["clean_error"],
        error=error,
        correlations=[rank_correlation(*map(spectrum.per_orbit, pair)) for pair in pairs],
        share=share,
        method=maps.method,
        drawn=len(names),
    )
    meaning = f"Share of the class's images that are misclassified when one wave of norm {arrays['norm']:g} is added."
    plane = Plane("heat map", meaning, lambda label: error[label], lambda _: Normalize(0, 1), style.SEQUENTIAL)
    return Section("Fourier heat map", body, (plane,))


def probes_section(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """Return the section on the frequencies that were kept from training: each probe's maps, psi before and after."""
    found = Probes.read(probes.result_file(directory))
    now = read_method(directory / "evaluation.json", maps.method)
    names = found.classes[: figures.MOST_CLASSES]
    round_files = [dfm.file_in(directory / "probes" / str(1 + index), "graft") for index in range(len(found.rounds))]
    round_maps = [DominantFrequencyMaps.load(file).masks[0, : len(names)] for file in round_files]
    # Accuracy of the first and the final network on each set of the stage ood that both were judged on.
    elsewhere, before = ood_results.result_file(directory, maps.method), found.before or {}
    after = OodResult.read(elsewhere).sets if elsewhere.exists() else {}
    body = html.template("probes_section.html").render(
        found=found,
        names=names,
        round_maps=[[html.mask_picture(mask) for mask in masks] for masks in round_maps],
        grafts=now.methods[maps.method].grafts,
        grafted=html.mask_picture(np.array(files.map_npy(graft.probed_file(directory)))),
        accuracy=now.unfiltered.accuracy,
        others={name: (accuracy, after[name].accuracy) for name, accuracy in before.items() if name in after},
        method=maps.method,
    )
    return Section("What the training was kept from", body)


def ood_section(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """Return the section on other sets; the stage ood read its share from the same field."""
    result = OodResult.read(ood_results.result_file(directory, maps.method))
    evaluation = read_method(directory / "evaluation.json", maps.method)
    own, sets, threshold = result.in_distribution, result.sets, result.threshold
    judged = {IN_DISTRIBUTION: own, **sets}
    columns = {
        name: heading
        for name, heading in _CONTROLS.items()
        if any(np.isfinite(getattr(rates.control_rates, name)).any() for rates in judged.values())
    }
    curves = verdict_figures.average_tpr({name: rates.average_tpr for name, rates in judged.items()})
    made_of = {name: rates.made_of for name, rates in sets.items()}
    corrupted = [name for name, made in made_of.items() if "corruptions" in made]
    # Their parts show the same pictures.
    repeated = [name for name, made in made_of.items() if name in corrupted or made.get("fields", {}).get("repeated")]
    body = html.template("ood_section.html").render(
        stability=stability_at_share(maps, result.share),
        share=result.share,
        threshold=threshold,
        groups=lambda rates: _groups(rates, own.filtered.tpr, threshold),
        sentences=[ood_sentence(name, rates, own, result.classes, threshold) for name, rates in sets.items()],
        curves=html.embed_figure(curves, html.page_folder(directory, maps.method) / "figures" / "ood.png"),
        classes=result.classes,
        above=own.filtered.tpr > threshold,
        verdicts=evaluation.methods[maps.method].grafts and class_rows(evaluation, maps.method, result.share),
        judged=judged,
        controls=columns,
        random_masks=result.random_masks,
        restricted=[name for name, rates in sets.items() if rates.restricted],
        attacked=[name for name, made in made_of.items() if "attack" in made],
        repeated=repeated,
        corrupted=corrupted,
    )
    return Section("Out of distribution", body)


def ood_sentence(name: str, rates: SetResult, own: SetRates, classes: tuple[str, ...], threshold: float) -> str:
    """Return what a set shows about the classes above the threshold and the others; `own` are test set rates."""
    grouping, present = own.filtered.tpr, np.isfinite(rates.filtered.tpr)
    here = _groups(own, np.where(present, grouping, np.nan), threshold)
    there = _groups(rates, grouping, threshold)
    text = f"{name}: accuracy {rates.accuracy:.3f}, in distribution {own.accuracy:.3f}. "
    if not there.shortcut.classes:
        return f"{text}None of its classes has a TPR above {threshold:g} under its map in distribution."

    def compared(there: Group, here: Group) -> str:
        filtered = f"{there.filtered:.3f}, in distribution {here.filtered:.3f}"
        return f"{filtered}; unfiltered {there.unfiltered:.3f}, in distribution {here.unfiltered:.3f}."

    members = np.flatnonzero(present & (grouping > threshold))
    whose = "its map" if len(members) == 1 else "their maps"
    text += f"{listed([classes[label] for label in members])} (in distribution TPR > {threshold:g} under {whose}): "
    text += f"mean TPR there {compared(there.shortcut, here.shortcut)}"
    if there.other.classes:
        text += f" The other classes: under their maps {compared(there.other, here.other)}"
    # Intervals must lie apart, since a set may have few images of a class.
    lower, upper = rates.filtered.tpr_ci[:, 0], rates.unfiltered.tpr_ci[:, 1]
    if better := [classes[label] for label in members if lower[label] > upper[label]]:
        text += f" {listed(better)}: the map's frequencies alone serve better there than the whole image."
    return text


def _groups(rates: SetRates, grouping: Float[np.ndarray, " classes"], threshold: float) -> Point:
    return ood_results.average_tpr(grouping, rates.filtered.tpr, rates.unfiltered.tpr, (threshold,))[0]


# In the order of the page: the results that a section needs, and the function that makes it.
SECTIONS: tuple[tuple[Callable[[Path, str], list[Path]], Callable[[Path, DominantFrequencyMaps, float], Section]], ...]
SECTIONS = (
    (lambda directory, method: [probes.result_file(directory), graft.probed_file(directory)], probes_section),
    (lambda directory, method: [directory / "adcs.npz"], adcs_section),
    (lambda directory, method: [directory / "heat_map.npz"], heat_map_section),
    (lambda directory, method: [ood_results.result_file(directory, method)], ood_section),
)
