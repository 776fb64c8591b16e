"""Templates in which every value is escaped, and figures that are embedded in the page."""

import base64
import io
import math
from collections.abc import Sequence

import jinja2
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from fsjax.evaluation import statistics
from fsjax.report import shares
from fsjax.runtime import files
from fsjax.runtime.storage import Path

# Dots per inch: as journals ask for, and so that a figure of two columns is as wide as a page.
_PRINT_DPI, _PAGE_DPI = 300, 160


def template(name: str) -> jinja2.Template:
    """Return a template of this folder.

    Its filters: `rate` and `short` write a number with three or two digits, or a dash; `interval` and `short_interval`
    its limits; `percent` and `share` a share, exactly or with two digits, and `share_limits` its limits. `sortable` is
    a cell's value.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fsjax", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "rate": lambda value: shares.MISSING if _is_missing(value) else f"{value:.3f}",
        "short": lambda value: shares.MISSING if _is_missing(value) else f"{value:.2f}",
        "interval": lambda limits: "" if _are_missing(limits) else statistics.limits_text(limits),
        "short_interval": lambda limits: "" if _are_missing(limits) else "[{:.2f}, {:.2f}]".format(*limits),
        "share": shares.share_text,
        "share_limits": shares.limits_text,
        "percent": lambda share: f"{100 * float(share):g} %",
        "sortable": lambda value: "" if _is_missing(value) else value,
    }
    return environment.get_template(name)


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure for print, as PNG and beside it as PDF."""
    for file in (path, path.with_suffix(".pdf")):
        files.write_bytes(file, _saved(figure, file.suffix[1:], _PRINT_DPI))


def embed_figure(figure: Figure, path: Path) -> str:
    """Write a figure for print, and return it for a page, as the data URL of a PNG."""
    write_figure(figure, path)
    return "data:image/png;base64," + base64.b64encode(_saved(figure, "png", _PAGE_DPI)).decode()


def _saved(figure: Figure, kind: str, dpi: int) -> bytes:
    """Return the same bytes for the same figure: a PDF without its date."""
    file = io.BytesIO()
    figure.savefig(
        file, format=kind, dpi=dpi, metadata={"png": {"Software": None}, "pdf": {"CreationDate": None}}[kind]
    )
    # A layout takes as long as drawing: every further file of the figure has this one.
    figure.set_layout_engine("none")
    return file.getvalue()


def _are_missing(limits: Sequence[float | None] | Float[np.ndarray, " n"]) -> bool:
    return not len(limits) or any(map(_is_missing, limits))


def _is_missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
