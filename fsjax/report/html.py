"""What pages are made of: templates in which every value is escaped, and figures that lie in the page itself."""

import base64
import io

import jinja2
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fsjax import workdir
from fsjax.storage import Path


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


def embedded(figure: Figure, path: Path) -> str:
    """Writes a PNG and returns it as a data URL."""
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    plt.close(figure)
    workdir.write_bytes(path, png.getvalue())
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
