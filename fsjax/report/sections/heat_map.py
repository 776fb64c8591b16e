"""The Fourier heat map beside the dominant frequency maps."""

import numpy as np
import scipy
from jaxtyping import Float

from fsjax.fourier import spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import figures, html, index, style
from fsjax.report.plane import Plane, between
from fsjax.report.sections.section import Section
from fsjax.runtime import files
from fsjax.runtime.storage import Path


def inputs(directory: Path, method: str) -> list[Path]:
    """See section.Maker."""
    return [directory / "heat_map.npz"]


def make(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """See section.Maker."""
    arrays = files.read_npz(directory / "heat_map.npz")
    folder = index.page_folder(directory, maps.method) / "figures"
    names, error, images = maps.classes[: figures.MOST_CLASSES], arrays["class_error"], arrays["images"]
    clean = float(arrays["clean_error"] @ images / images.sum())
    title = f"all classes (error {clean:.3f} without a wave)"
    rows = [
        {
            "name": name,
            "clean": float(arrays["clean_error"][label]),
            "mean": float(error[label].mean()),
            "largest": float(error[label].max()),
            "correlation": None if maps.scores is None else rank_correlation(error[label], maps.scores[label]),
        }
        for label, name in enumerate(maps.classes)
    ]
    body = html.template("heat_map_section.html").render(
        overall=html.embed_figure(figures.heat_map(arrays["error"], title), folder / "heat_map.png"),
        by_class=html.embed_figure(
            figures.heat_map_grid(error[: len(names)], maps.at(share)[: len(names)], names),
            folder / "heat_map_classes.png",
        ),
        norm=float(arrays["norm"]),
        images=images,
        rows=rows,
        share=share,
        method=maps.method,
        scored=maps.scores is not None,
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
