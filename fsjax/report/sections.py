"""Sections of the page about optional stages: what the data offer, the heat map, probes, and other sets.

A section is a function and a line of SECTIONS.
"""

from collections.abc import Callable

import numpy as np
import scipy
from jaxtyping import Bool, Float

from fsjax.evaluation import probes
from fsjax.evaluation.ood import results as ood_results
from fsjax.evaluation.probes import Probes
from fsjax.evaluation.results import read_method
from fsjax.fourier import dfm, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import figures, html, ood_section, pictures, style
from fsjax.report.section import Plane, Section, between
from fsjax.runtime import files
from fsjax.runtime.storage import Path
from fsjax.training.ways import graft


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
    names = tuple(str(name) for name in arrays["classes"])
    largest = len(names) - (not arrays["compat"])
    drawn = figures.adcs_grid(arrays["adcs"][: figures.MOST_CLASSES], names, largest)
    body = html.template("adcs_section.html").render(
        image=html.embed_figure(drawn, html.page_folder(directory, maps.method) / "figures" / "adcs.png"),
        classes=len(names),
        drawn=min(len(names), figures.MOST_CLASSES),
        images=int(arrays["images"].sum()),
        split=str(arrays["split"]),
        compat=bool(arrays["compat"]),
    )
    plane = Plane(
        "ADCS",
        "Number of other classes that have less of a frequency, minus the number that have more.",
        lambda label: arrays["adcs"][label],
        between(-max(largest, 1), max(largest, 1)),
        style.DIVERGING,
    )
    return Section("What the data offer", body, (plane,) if arrays["adcs"].shape == maps.masks.shape[1:] else ())


def heat_map_section(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """Return the section with the Fourier heat map beside the dominant frequency maps."""
    arrays = files.read_npz(directory / "heat_map.npz")
    folder = html.page_folder(directory, maps.method) / "figures"
    names, error, images = maps.classes[: figures.MOST_CLASSES], arrays["class_error"], arrays["images"]
    clean = float(arrays["clean_error"] @ images / images.sum())
    title = f"all classes (error {clean:.3f} without a wave)"
    by_class = figures.heat_map_grid(error[: len(names)], maps.at(share)[: len(names)], names)
    correlations: list[float | None] = []
    if maps.scores is not None:
        correlations = [rank_correlation(*planes) for planes in zip(error, maps.scores, strict=True)]
    body = html.template("heat_map_section.html").render(
        overall=html.embed_figure(figures.heat_map(arrays["error"], title), folder / "heat_map.png"),
        by_class=html.embed_figure(by_class, folder / "heat_map_classes.png"),
        norm=float(arrays["norm"]),
        images=images,
        classes=maps.classes,
        clean=arrays["clean_error"],
        error=error,
        correlations=correlations,
        share=share,
        method=maps.method,
        drawn=len(names),
    )
    plane = Plane(
        "heat map",
        f"Share of the class's images that are misclassified when one wave of norm {arrays['norm']:g} is added.",
        lambda label: error[label],
        between(0, 1),
        style.SEQUENTIAL,
    )
    return Section("Fourier heat map", body, (plane,))


def rank_correlation(left: Float[np.ndarray, "height width"], right: Float[np.ndarray, "height width"]) -> float | None:
    """Return Spearman's rho over the orbits, each counted once; None where a side is constant or lacks a value."""
    sides = [spectrum.per_orbit(np.asarray(side, float)) for side in (left, right)]
    return float(scipy.stats.spearmanr(*sides).statistic) if all(np.ptp(side) > 0 for side in sides) else None


def probes_section(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """Return the section on the frequencies that were kept from training: each probe's maps, psi before and after."""
    found = Probes.read(probes.result_file(directory))
    after = read_method(directory / "evaluation.json", maps.method)
    grafts = after.methods[maps.method].grafts
    names = found.classes[: figures.MOST_CLASSES]
    round_maps = [_probe_maps(directory, number, len(names)) for number in range(1, len(found.rounds) + 1)]
    body = html.template("probes_section.html").render(
        found=found,
        names=names,
        round_maps=[[pictures.mask_picture(mask) for mask in masks] for masks in round_maps],
        grafts=grafts,
        grafted=pictures.mask_picture(np.array(files.map_npy(graft.probed_file(directory)))),
        accuracy=after.unfiltered.accuracy,
        others=_accuracies_elsewhere(directory, maps.method, found.before or {}),
        method=maps.method,
    )
    return Section("What the training was kept from", body)


def _accuracies_elsewhere(directory: Path, method: str, before: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Return the accuracy of the first and the final network on each set of the stage ood that both were judged on."""
    if not (file := ood_results.result_file(directory, method)).exists():
        return {}
    after = ood_results.OodResult.read(file).sets
    return {name: (accuracy, after[name].accuracy) for name, accuracy in before.items() if name in after}


def _probe_maps(directory: Path, number: int, count: int) -> Bool[np.ndarray, "classes height width"]:
    """Return the maps of the first classes in a round."""
    return DominantFrequencyMaps.load(dfm.file_in(directory / "probes" / str(number), "graft")).masks[0, :count]


# In the order of the page: the results that a section needs, and the function that makes it.
SECTIONS: tuple[tuple[Callable[[Path, str], list[Path]], Callable[[Path, DominantFrequencyMaps, float], Section]], ...]
SECTIONS = (
    (lambda directory, method: [probes.result_file(directory), graft.probed_file(directory)], probes_section),
    (lambda directory, method: [directory / "adcs.npz"], adcs_section),
    (lambda directory, method: [directory / "heat_map.npz"], heat_map_section),
    (lambda directory, method: [ood_results.result_file(directory, method)], ood_section.make),
)
