"""The Fourier plane on a figure's axes: its pixels, its ticks in cycles per pixel, its colour bars."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from fsjax.report import style

# Ticks and labels; the outermost are the edges and need no label.
_TICKS = {-0.5: "", -0.25: "−¼", 0: "0", 0.25: "¼", 0.5: ""}


def draw_mask(axis: Axes, mask: Bool[np.ndarray, "height width"]) -> None:
    """Draw a mask on the plane: kept frequencies dark."""
    draw_plane(axis, ~mask, cmap="gray", vmin=-0.15, vmax=1)


def plane_extent(plane: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the edges of the plane's pixels in cycles per pixel, rows downwards."""
    height, width = plane
    left, top = -(width // 2) - 0.5, -(height // 2) - 0.5
    return left / width, (left + width) / width, (top + height) / height, top / height


def frequency_axes(figure: Figure) -> None:
    """Set ticks and labels in cycles per pixel on every image of a figure, texts on the left and below only."""
    panels = [axis for axis in figure.axes if axis.images]
    for axis, leftmost, lowest in style.outer(panels):
        left, right, bottom, top = axis.images[0].get_extent()
        for name, low, high in (("x", left, right), ("y", top, bottom)):
            # A tick beyond the pixels, where an even plane has no +1/2, would widen the axis.
            ticks = [tick for tick in _TICKS if low <= tick <= high]
            axis.set(**{f"{name}ticks": ticks, f"{name}ticklabels": [_TICKS[tick] for tick in ticks]})
        axis.tick_params(labelbottom=lowest, labelleft=leftmost)
    across, down = "horizontal frequency (cycles/pixel)", "vertical (cycles/pixel)"
    if len(panels) == 1:
        axis.set(xlabel=across, ylabel=down)
    else:
        figure.supxlabel(across)
        figure.supylabel(down)


def draw_plane(axis: Axes, plane: Shaped[np.ndarray, "height width"], **kwargs: Any) -> None:
    """Draw the values of the plane as squares; where these are too small, their colours are averaged."""
    extent = plane_extent(plane.shape)
    axis.imshow(plane, extent=extent, interpolation="antialiased", interpolation_stage="rgba", **kwargs)


def colour_bar(
    figure: Figure, image: ScalarMappable, axes: list[Axes], label: str, ticks: list[int | float]
) -> Colorbar:
    """Add a labelled colour bar beside the panels."""
    shrink = min(1.0, 3 / figure.get_figheight())
    bar = figure.colorbar(image, ax=axes, ticks=ticks, pad=0.02, fraction=0.05, aspect=25, shrink=shrink)
    bar.ax.set_yticklabels([f"{tick:g}".replace("-", "−") for tick in ticks])
    bar.set_label(label, fontsize=style.SMALL)
    return bar
