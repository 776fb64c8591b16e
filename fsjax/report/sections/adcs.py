"""The class-wise spectra of the data, before any model."""

from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import figures, html, index, style
from fsjax.report.plane import Plane, between
from fsjax.report.sections.section import Section
from fsjax.runtime import files
from fsjax.runtime.storage import Path


def inputs(directory: Path, method: str) -> list[Path]:
    """See section.Maker."""
    return [directory / "adcs.npz"]


def make(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """See section.Maker."""
    arrays = files.read_npz(directory / "adcs.npz")
    names = tuple(str(name) for name in arrays["classes"])
    largest = len(names) - (not arrays["compat"])
    drawn = figures.adcs_grid(arrays["adcs"][: figures.MOST_CLASSES], names, largest)
    body = html.template("adcs_section.html").render(
        image=html.embed_figure(drawn, index.page_folder(directory, maps.method) / "figures" / "adcs.png"),
        classes=len(names),
        drawn=min(len(names), figures.MOST_CLASSES),
        images=int(arrays["images"].sum()),
        split=str(arrays["split"]),
        compat=bool(arrays["compat"]),
    )
    plane = Plane(
        "ADCS",
        "Number of other classes that have less of a frequency, minus those that have more.",
        lambda label: arrays["adcs"][label],
        between(-max(largest, 1), max(largest, 1)),
        style.DIVERGING,
    )
    return Section("What the data offer", body, (plane,) if arrays["adcs"].shape == maps.masks.shape[1:] else ())
