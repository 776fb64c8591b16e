"""The style of figures on paper and on a page, and the Fourier plane on their axes.

The style and the backend of a user's own figures stay as they are.
"""

import bisect
import contextlib
import functools
import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import matplotlib
import matplotlib.style
import numpy as np
from jaxtyping import Bool, Float, Shaped
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap, SymLogNorm, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

Inches: TypeAlias = int | float
Masks: TypeAlias = Bool[np.ndarray, "classes height width"]
Planes: TypeAlias = Float[np.ndarray, "classes height width"]
# Widths of one column and of two columns in inches, as in journals of the field.
SINGLE, DOUBLE = 3.3, 6.9
# Text sizes in points at any width: titles and labels; ticks and keys.
TEXT, SMALL = 8.0, 7.0
# Okabe and Ito's colours, which colour-blind readers can tell apart, without yellow, which is too pale for lines.
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
BLACK, BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = COLOURS
GREY = "#999999"
# Colour maps for values from 0 on, and for values around 0.
SEQUENTIAL, DIVERGING = "cividis", "PuOr_r"

# Paper and ink of a dark page. Colour maps of at most so many colours name parts, and do not show values.
_DARK_PAPER, _DARK_INK, _FEW_COLOURS = "#14171b", "#e4e8ec", 8

# Ticks on the Fourier plane; the outermost ones are its edges and need no label.
_PLANE_TICKS = {-0.5: "", -0.25: "−¼", 0: "0", 0.25: "¼", 0.5: ""}
_FAMILY, _NO_GLYPH = "DejaVu Sans", "□"
_STYLE = {
    "font.family": [_FAMILY],
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "figure.titlesize": TEXT + 1,
    "figure.labelsize": TEXT,
    "legend.fontsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.linewidth": 0.6,
    **{f"{axis}tick.major.{name}": value for axis in "xy" for name, value in (("width", 0.6), ("size", 2))},
    "lines.linewidth": 1.1,
    "figure.dpi": 110,
    "savefig.dpi": 300,
    # Readers of a PDF can search and edit its text.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    # A $ in a class name does not start a formula.
    "text.parse_math": False,
}


class PaperFigure(Figure):
    """A matplotlib Figure that has this style wherever it is drawn or saved; notebooks display it."""

    def draw(self, renderer: Any) -> None:
        """See Figure.draw: some artists are created only here."""
        with _applied():
            super().draw(renderer)

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """See Figure.savefig."""
        with _applied():
            super().savefig(*args, **kwargs)

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=self.dpi)
        return png.getvalue()


def paper(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a function that draws a figure, so that it draws in this style."""

    @functools.wraps(draw)
    def draw_in_style(*args: Any, **kwargs: Any) -> Figure:
        with _applied():
            return draw(*args, **kwargs)

    return draw_in_style


def empty(width: Inches, height: float) -> PaperFigure:
    """Return a figure without panels, sizes in inches."""
    return PaperFigure(figsize=(width, height), layout="constrained")


def panels(
    count: int,
    width: Inches,
    columns: int,
    sizes: tuple[float, float],
    ratio: float = 1.0,
    margins: tuple[float, float] = (0.45, 0.65),
    **shared: Any,
) -> tuple[PaperFigure, list[Axes], float]:
    """Return a figure of panels in rows, the axes row by row, and the width of a panel in inches.

    A row has at most `columns` panels, and fewer where they would be narrower than the smaller of `sizes`, the limits
    of a panel's width with its gap. `ratio` is a panel's height over its width; `margins` are the room beside the
    panels, and above and below them, in inches; `shared` is for `subplots`. Surplus axes are switched off.
    """
    smallest, largest = sizes
    columns = max(1, min(count, columns, int((width - margins[0]) / smallest)))
    rows = math.ceil(count / columns)
    columns = math.ceil(count / rows)
    pitch = min((width - margins[0]) / columns, largest)
    # A figure narrower than a column has no room for a heading.
    figure = empty(min(width, max(pitch * columns + margins[0], SINGLE)), (pitch * ratio + 0.1) * rows + margins[1])
    axes = list(figure.subplots(rows, columns, squeeze=False, **shared).ravel())
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes, pitch - 0.1


def outer(axes: list[Axes]) -> Iterator[tuple[Axes, bool, bool]]:
    """Yield each panel of a grid, whether it is in the first column, and whether it is the lowest of its column."""
    places = {(spec.rowspan.start, spec.colspan.start): axis for axis in axes if (spec := axis.get_subplotspec())}
    for (row, column), axis in places.items():
        yield axis, column == 0, (row + 1, column) not in places


def fitted(text: str, inches: float, points: float = TEXT, end: str = "") -> str:
    """Return text + end, with each line of the text shortened to fit a width; a box stands for a missing glyph."""
    if "\n" in text:
        return "\n".join(fitted(line, inches, points, end) for line in text.split("\n"))
    text = "".join(character if ord(character) in _glyphs() else _NO_GLYPH for character in text)
    if _inches(text + end, points) <= inches:
        return text + end
    size = bisect.bisect_right(range(len(text)), inches, key=lambda size: _inches(f"{text[:size]}…{end}", points))
    return f"{text[: max(size - 1, 0)]}…{end}"


def heading(figure: Figure, text: str) -> None:
    """Add a heading over all panels, wrapped to the figure's width."""
    lines, room = [""], figure.get_figwidth() - 0.2
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _inches(longer, TEXT + 1) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    figure.suptitle(fitted("\n".join(filter(None, lines)), room, TEXT + 1))


def spaced(names: Sequence[str], inches: float, room: float) -> tuple[range, list[str]]:
    """Return evenly spaced places on an axis of some inches, as many as it has room for, and their names, shortened."""
    places = range(0, len(names), max(1, math.ceil(len(names) * (SMALL + 1) / (72 * inches))))
    return places, [fitted(names[place], room, SMALL) for place in places]


def share_ticks(axis: Axes, ticks: Sequence[float]) -> None:
    """Make the horizontal axis logarithmic, and write these shares in percent on it."""
    axis.set_xscale("log")
    axis.set_xticks(list(ticks), [f"{100 * tick:g}%" for tick in ticks])
    axis.minorticks_off()


def darken(figure: Figure) -> None:
    """Give a figure that was drawn the colours of a dark page: greys are turned, hues and colour maps are not."""
    for axis in figure.axes:
        axis.tick_params(color=_DARK_INK, labelcolor=_DARK_INK)  # a second drawing may have more ticks
    cells = {text for axis in figure.axes if axis.images for text in axis.texts}
    coloured = AxesImage, Text, Line2D, Patch, Collection
    for artist in set(figure.findobj(lambda artist: isinstance(artist, coloured))):
        if isinstance(artist, AxesImage):
            colours = getattr(artist.get_cmap(), "colors", ())
            if 0 < len(colours) <= _FEW_COLOURS:
                artist.set_cmap(ListedColormap([_turned(colour) for colour in colours]))
        elif artist not in cells:  # numbers on a colour map stay readable on it
            for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
                if hasattr(artist, f"set_{name}") and hasattr(artist, f"get_{name}"):
                    colours = getattr(artist, f"get_{name}")()
                    getattr(artist, f"set_{name}")(_turned(colours))


def _turned(colours: Any) -> Any:
    """Return colours with black as the ink of a dark page, white as its paper, and greys between them."""
    if isinstance(colours, str) and colours == "none":
        return colours
    values, (ink, paper) = to_rgba_array(colours), to_rgba_array([_DARK_INK, _DARK_PAPER])[:, :3]
    grey = np.ptp(values[:, :3], axis=1) == 0
    values[grey, :3] = ink * (1 - values[grey, :3]) + paper * values[grey, :3]
    return tuple(values[0]) if np.ndim(colours) < 2 else values


def draw_mask(axis: Axes, mask: Bool[np.ndarray, "height width"]) -> None:
    """Draw a mask on the plane: kept frequencies dark."""
    draw_plane(axis, ~mask, cmap=ListedColormap(["#212121", "#ffffff"]), vmin=0, vmax=1)


def frequency_axes(figure: Figure, text: str = "") -> None:
    """Set ticks in cycles per pixel on every image of a figure, label the outer panels, and add a heading."""
    heading(figure, text)
    panels = [axis for axis in figure.axes if axis.images]
    for axis, leftmost, lowest in outer(panels):
        left, right, bottom, top = axis.images[0].get_extent()
        for name, low, high in (("x", left, right), ("y", top, bottom)):
            # A tick beyond the pixels, where an even plane has no +1/2, would widen the axis.
            ticks = [tick for tick in _PLANE_TICKS if low <= tick <= high]
            axis.set(**{f"{name}ticks": ticks, f"{name}ticklabels": [_PLANE_TICKS[tick] for tick in ticks]})
        axis.tick_params(labelbottom=lowest, labelleft=leftmost)
    across, down = "horizontal frequency (cycles/pixel)", "vertical (cycles/pixel)"
    if len(panels) == 1:
        axis.set(xlabel=across, ylabel=down)
    else:
        figure.supxlabel(across)
        figure.supylabel(down)


def draw_plane(axis: Axes, plane: Shaped[np.ndarray, "height width"], **kwargs: Any) -> None:
    """Draw the values of the plane as squares; average the colours of squares that are too small."""
    height, width = plane.shape
    left, top = -(width // 2) - 0.5, -(height // 2) - 0.5
    # Edges of the plane in cycles per pixel, rows downwards.
    extent = (left / width, (left + width) / width, (top + height) / height, top / height)
    axis.imshow(plane, extent=extent, interpolation="antialiased", interpolation_stage="rgba", **kwargs)


def symmetric_log(plane: Float[np.ndarray, "height width"]) -> SymLogNorm:
    """Return a scale, linear near 0 and logarithmic beyond, for values of either sign that span magnitudes."""
    largest = max(float(np.abs(np.nan_to_num(plane)).max()), 1e-12)
    return SymLogNorm(largest * 1e-2, vmin=-largest, vmax=largest)


def colour_bar(
    figure: Figure, image: ScalarMappable, axes: list[Axes], label: str, ticks: list[int | float]
) -> Colorbar:
    """Add a labelled colour bar beside the panels."""
    shrink = min(1.0, 3 / figure.get_figheight())
    bar = figure.colorbar(image, ax=axes, ticks=ticks, pad=0.02, fraction=0.05, aspect=25, shrink=shrink)
    bar.ax.set_yticklabels([f"{tick:g}".replace("-", "−") for tick in ticks])
    bar.set_label(label, fontsize=SMALL)
    return bar


def _applied() -> contextlib.AbstractContextManager:
    return matplotlib.style.context(["default", _STYLE])


def _inches(text: str, points: float) -> float:
    font = font_manager.FontProperties(family=_FAMILY, size=points)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


@functools.cache
def _glyphs() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(_FAMILY)).get_charmap())
