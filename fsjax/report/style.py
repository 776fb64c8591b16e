"""How figures look on paper and on a page; nothing here touches the style or the backend of whoever draws others."""

import bisect
import contextlib
import functools
import io
import math
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import text_to_path

# Widths of one column and of two in inches, as in journals of the field.
SINGLE, DOUBLE = 3.3, 6.9
# Sizes of text in points at any width: of titles and labels, and of ticks and keys.
TEXT, SMALL = 8.0, 7.0
# Okabe and Ito's colours, which colour-blind readers can tell apart, without yellow, which is too pale for lines.
BLACK, BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = COLOURS = (
    "#000000",
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)
GREY = "#999999"
# Colour maps of values from 0 on, and of values around 0.
SEQUENTIAL, DIVERGING = "cividis", "PuOr_r"

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
    # Text of a PDF stays text that can be searched and edited.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    # A $ in a class name does not start a formula.
    "text.parse_math": False,
}


class PaperFigure(Figure):
    """A matplotlib Figure in this style wherever it is drawn or saved, which notebooks display."""

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
    """Make a function that draws a figure draw it in this style."""

    @functools.wraps(draw)
    def draw_in_style(*args: Any, **kwargs: Any) -> Figure:
        with _applied():
            return draw(*args, **kwargs)

    return draw_in_style


def keep_layout(figure: Figure) -> None:
    """Draw a figure from now on in the layout in which it was drawn last; to lay it out takes as long as drawing."""
    with _applied():
        figure.set_layout_engine(None)


def _applied() -> contextlib.AbstractContextManager:
    return matplotlib.style.context(["default", _STYLE])


def empty(width: int | float, height: float) -> PaperFigure:
    """Return a figure without panels, sizes in inches."""
    return PaperFigure(figsize=(width, height), layout="constrained")


def panels(
    count: int,
    width: int | float,
    columns: int,
    sizes: tuple[float, float],
    ratio: float = 1.0,
    margins: tuple[float, float] = (0.45, 0.65),
    **shared: Any,
) -> tuple[PaperFigure, list[Axes], float]:
    """Return a figure of panels in rows, the axes row by row, and the width of a panel in inches.

    Args:
      count: of panels; surplus axes of the last row are switched off.
      width: largest width of the figure, in inches.
      columns: most panels in a row; fewer where they would be smaller than sizes allow.
      sizes: smallest and largest width of a panel with its gap, in inches.
      ratio: of a panel's height to its width.
      margins: room beside the panels, and above and below them, in inches.
      **shared: sharex and sharey, as of subplots.
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
    """Return a text and its end, shortened before the end to fit a width; a box stands for a missing glyph."""
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
    figure.suptitle("\n".join(fitted(line, room, TEXT + 1) for line in lines if line))


def title(axis: Axes, text: str, inches: float, points: float = TEXT) -> None:
    """Add a title over a panel, every line shortened to a width."""
    axis.set_title("\n".join(fitted(line, inches, points) for line in text.split("\n")), fontsize=points)


def _inches(text: str, points: float) -> float:
    width, _, _ = text_to_path.get_text_width_height_descent(text, _font(points), ismath=False)
    return width / 72


@functools.cache
def _font(points: float) -> font_manager.FontProperties:
    return font_manager.FontProperties(family=_FAMILY, size=points)


@functools.cache
def _glyphs() -> frozenset[int]:
    """Return the code points that the font has."""
    return frozenset(font_manager.get_font(font_manager.findfont(_font(TEXT))).get_charmap())
