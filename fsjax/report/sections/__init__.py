"""Sections of the page about optional stages: one file each, and a line here, in the order of the page."""

from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report.sections import adcs, heat_map, out_of_distribution, probes
from fsjax.report.sections.section import Maker, Section
from fsjax.runtime.storage import Path

SECTIONS: tuple[Maker, ...] = (probes, adcs, heat_map, out_of_distribution)


def sections(directory: Path, maps: DominantFrequencyMaps, share: float) -> list[Section]:
    """Return the sections of a workdir whose stages have run, about the maps at one of their shares."""
    return [
        maker.make(directory, maps, share)
        for maker in SECTIONS
        if all(file.exists() for file in maker.inputs(directory, maps.method))
    ]


def inputs(directory: Path, method: str) -> list[Path]:
    """Return the results that these sections show, as far as they exist."""
    return [file for maker in SECTIONS for file in maker.inputs(directory, method) if file.exists()]
