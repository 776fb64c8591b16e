"""Draw the watermark, the set of frequencies with the most energy, its part of the mark, and what each set carries."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from benchmarks.common.efficientnet_lite import normalise
from benchmarks.natural.watermark_parts import Coordinates, Mark, Ranking, sets

LABELS = {
    "energy": "most energy",
    "gradient": "largest gradient",
    "radial": "same radii elsewhere",
    "matched": "the same, energy matched",
    "low_pass": "low-pass",
    "random": "random",
    "rows": "rows of pixels",
    "box": "box of pixels",
    "pixels": "single pixels",
}


def draw(file: pathlib.Path, lines: list[dict], ranking: Ranking, mark: Mark, share: float = 0.05) -> None:
    """Write a PNG of a summary's lines, on a grey image, since photographs may not be passed on."""
    side = len(ranking.energy)
    grey = np.full((1, side, side, 3), 100, np.uint8)
    clean, marked = normalise(grey), normalise(mark.over(grey))
    chosen: Coordinates = sets(ranking, share)["energy"]
    figure = Figure(figsize=(10.5, 2.7), layout="constrained")
    panels = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.5])
    pictures = {
        "watermark": marked,
        f"{share:.0%} of the plane, most energy": chosen.mask,
        "their part of the watermark": clean + np.asarray(chosen.part(marked - clean)),
    }
    for panel, (title, picture) in zip(panels, pictures.items(), strict=False):
        panel.imshow(picture if picture.ndim == 2 else np.clip(picture[0] / 2 + 0.5, 0, 1), cmap="gray")
        panel.set_title(title, fontsize=9)
        panel.set_axis_off()
    found = [line for line in lines if (line.get("share"), line["mark"]) == (share, "default")]
    names = [line["set"] for line in found if "given" in line]
    places = np.arange(len(names))[::-1]
    for way, colour, offset in (("given", "#1f77b4", 0.17), ("taken", "#ff7f0e", -0.17)):
        middle, low, high = np.array([line[way] for line in found if way in line]).T
        panels[3].barh(places + offset, middle, 0.34, xerr=[middle - low, high - middle], color=colour, label=way)
    panels[3].set_yticks(places, [LABELS[name] for name in names], fontsize=7)
    panels[3].set_title("share of the rise in log-odds", fontsize=9)
    panels[3].tick_params(axis="x", labelsize=7)
    panels[3].axvline(0, color="black", linewidth=0.5)
    panels[3].legend(fontsize=7, frameon=False)
    figure.savefig(file, dpi=110, metadata={"Software": None})
