"""What pages are made of: templates in which every value is escaped, and figures that lie in the page itself."""

import base64
import io

import jinja2
from matplotlib.figure import Figure

from fsjax.runtime import files
from fsjax.runtime.storage import Path

# Dots an inch: as journals ask, and such that a figure of two columns is as wide as a page.
_PRINT_DPI, _PAGE_DPI = 300, 160


def template(name: str) -> jinja2.Template:
    """A template of this folder; `rate` writes a number or a dash, `interval` its limits, `percent` a share."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fsjax", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"rate": _rate, "interval": interval, "percent": lambda share: f"{100 * float(share):g} %"}
    return environment.get_template(name)


def interval(limits: list[float | None]) -> str:
    """[lower, upper]; nothing where there are none."""
    return "" if None in limits else f"[{limits[0]:.3f}, {limits[1]:.3f}]"


def written(figure: Figure, path: Path) -> None:
    """Writes a figure for print, as PNG and beside it as PDF."""
    for file in (path, path.with_suffix(".pdf")):
        files.write_bytes(file, _saved(figure, file.suffix[1:], _PRINT_DPI))


def embedded(figure: Figure, path: Path) -> str:
    """Writes a figure for print, and returns it for a page, as the data URL of a PNG."""
    written(figure, path)
    return "data:image/png;base64," + base64.b64encode(_saved(figure, "png", _PAGE_DPI)).decode()


def _saved(figure: Figure, kind: str, dpi: int) -> bytes:
    """The same bytes for the same figure, so without the date that a PDF would have."""
    file = io.BytesIO()
    figure.savefig(
        file, format=kind, dpi=dpi, metadata={"png": {"Software": None}, "pdf": {"CreationDate": None}}[kind]
    )
    return file.getvalue()


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
