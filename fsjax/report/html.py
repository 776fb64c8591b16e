"""Pages: templates that escape every value, the frame of pages over several runs, and figures in a page."""

import io
from collections.abc import Mapping, Sequence

import jinja2
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

from fsjax.evaluation.statistics import mean
from fsjax.report import answer, pictures
from fsjax.runtime import files
from fsjax.runtime.storage import Path

# Dots per inch, as journals ask for. A page shows every second one: a figure of two columns is then as wide as it.
_PRINT_DPI, _PAGE_STEP = 300, 2


def page_folder(directory: Path, method: str) -> Path:
    """Return the folder of a search method's page in a workdir, with its figures and data."""
    return directory / "report" / method


def write_page(directory: Path, name: str, figures: Mapping[str, Figure] | None = None, **values: object) -> None:
    """Write report/<name>.html in a workdir, from the template of that name.

    The template gets `title`, the workdir's name, and `figures`: file name -> embedded picture. Figures also go to
    report/figures, for print.
    """
    folder = directory / "report"
    embedded = {
        file: embed_figure(figure, folder / "figures" / f"{file}.png") for file, figure in (figures or {}).items()
    }
    page = template(f"{name}.html").render(title=directory.name, figures=embedded, **values)
    files.write_text(folder / f"{name}.html", page)


def template(name: str) -> jinja2.Template:
    """Return a template of this folder.

    Its filters: `rate` and `interval` write a number, or a dash, and its limits with some digits; `percent` and `share`
    a share, exactly or with two digits, and `share_limits` its limits. `sortable` is a cell's value, `mean` the mean of
    known numbers.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fsjax", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "rate": lambda value, digits=3: answer.MISSING if pd.isna(value) else f"{value:.{digits}f}",
        "interval": _interval,
        "share": answer.share_text,
        "share_limits": answer.share_limits_text,
        "percent": lambda share: f"{100 * float(share):g} %",
        "sortable": lambda value: "" if pd.isna(value) else value,
        "mean": mean,
    }
    return environment.get_template(name)


def write_figure(figure: Figure, path: Path) -> bytes:
    """Write a figure for print, as PNG and beside it as PDF, and return the PNG."""
    png = _saved(figure, "png")
    files.write_bytes(path, png)
    files.write_bytes(path.with_suffix(".pdf"), _saved(figure, "pdf"))
    return png


def embed_figure(figure: Figure, path: Path) -> str:
    """Write a figure for print, and return it for a page, as the data URL of a smaller PNG."""
    with Image.open(io.BytesIO(write_figure(figure, path))) as printed:
        # Drawing it a second time takes ten times as long.
        return pictures.png(printed.convert("RGB").reduce(_PAGE_STEP))


def _saved(figure: Figure, kind: str) -> bytes:
    """Return the same bytes for the same figure: a PDF without its date."""
    file = io.BytesIO()
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None}}[kind]
    figure.savefig(file, format=kind, dpi=_PRINT_DPI, metadata=metadata)
    # A second layout would take as long as drawing.
    figure.set_layout_engine("none")
    return file.getvalue()


def _interval(limits: Sequence[float | None] | Float[np.ndarray, " n"], digits: int = 3) -> str:
    known = len(limits) > 0 and not pd.isna(list(limits)).any()
    return f"[{limits[0]:.{digits}f}, {limits[1]:.{digits}f}]" if known else ""
