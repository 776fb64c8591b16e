"""Pages: templates that escape every value, and figures, masks, planes and images as pictures in a page.

The script of a page reads numbers back from the pictures of masks and planes.
"""

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, PyTree
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from fsjax.data.dataset import ArrayDataset, Dataset
from fsjax.engine.model import Model
from fsjax.evaluation.statistics import mean
from fsjax.report import answer, style
from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# Dots per inch, as journals ask for. A page shows every second dot: a figure of two columns then fits its width.
_PRINT_DPI, _PAGE_STEP = 300, 2
# A pixel of three bytes has this many bits.
MOST_MASKS = 24
# This grey level stands for no value; lower levels stand for values.
NOTHING = 255
# It stands out on white and on black.
KEPT_COLOUR = (38, 122, 190)
# Images with longer sides are stored with loss.
_LOSSLESS = 64


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
    known numbers, `drawn` a figure of `embed_figure`, with its description.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fsjax", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "rate": lambda value, digits=3: answer.MISSING if pd.isna(value) else f"{value:z.{digits}f}",
        "interval": _interval,
        "share": answer.share_text,
        "share_limits": answer.share_limits_text,
        "drawn": _drawn,
        "percent": lambda share: f"{100 * float(share):g} %",
        "sortable": lambda value: "" if pd.isna(value) else value,
        "mean": mean,
    }
    return environment.get_template(name)


def write_figure(figure: Figure, path: Path) -> bytes:
    """Write a figure for print, as PNG and beside it as PDF, and return the PNG; equal figures have equal bytes."""
    png = _saved(figure, "png", {"Software": None})
    files.write_bytes(path, png)
    files.write_bytes(path.with_suffix(".pdf"), _saved(figure, "pdf", {"CreationDate": None}))
    return png


def embed_figure(figure: Figure, path: Path) -> tuple[str, str]:
    """Write a figure for print, and return it as data URLs for a light page and for a dark one, in its colours then."""
    light = Image.open(io.BytesIO(write_figure(figure, path))).convert("RGB").reduce(_PAGE_STEP)
    style.darken(figure)
    dark = Image.open(io.BytesIO(_saved(figure, "png", {"Software": None}, _PRINT_DPI // _PAGE_STEP))).convert("RGB")
    return lossless(light), lossless(dark)


def _drawn(figure: tuple[str, str], words: str) -> markupsafe.Markup:
    """Return a figure of `embed_figure` as HTML, with words for those who do not see it."""
    light, dark = figure
    source = markupsafe.Markup('<source media="screen and (prefers-color-scheme: dark)" srcset="{}">').format(dark)
    return markupsafe.Markup('<picture>{}<img src="{}" alt="{}"></picture>').format(source, light, words)


def _saved(figure: Figure, kind: str, metadata: dict[str, None], dpi: int = _PRINT_DPI) -> bytes:
    figure.savefig(file := io.BytesIO(), format=kind, dpi=dpi, metadata=metadata)
    # A second layout would take as long as drawing.
    figure.set_layout_engine("none")
    return file.getvalue()


def _interval(limits: Sequence[float | None] | Float[np.ndarray, " n"], digits: int = 3) -> str:
    known = len(limits) > 0 and not pd.isna(list(limits)).any()
    return f"[{limits[0]:.{digits}f}, {limits[1]:.{digits}f}]" if known else ""


def mask_bits(masks: Bool[np.ndarray, "masks height width"]) -> str:
    """Return a picture whose pixels, red the lowest byte of three, have bit k set where mask k keeps the position."""
    padded = np.pad(masks, [(0, MOST_MASKS - len(masks)), (0, 0), (0, 0)])
    return lossless(Image.fromarray(np.moveaxis(np.packbits(padded, axis=0, bitorder="little"), 0, -1)))


def mask_picture(mask: Bool[np.ndarray, "height width"]) -> str:
    """Return a picture of a mask: kept positions coloured, the others transparent."""
    return lossless(Image.fromarray(mask[..., None] * np.array([*KEPT_COLOUR, 255], np.uint8)))


def plane_picture(plane: Float[np.ndarray, "height width"], norm: Normalize) -> str:
    """Return a grey picture of levels 0 to 254, NOTHING where the plane is NaN; `norm` takes values to [0, 1]."""
    known = np.isfinite(plane)
    share = np.clip(np.asarray(norm(np.where(known, plane, 0.0)), float), 0, 1)
    grey = np.where(known, np.rint(share * (NOTHING - 1)), NOTHING).astype(np.uint8)
    return lossless(Image.fromarray(grey))


def level_values(norm: Normalize) -> Float[np.ndarray, " levels"]:
    """Return the values of the levels that `plane_picture` draws."""
    return np.asarray(norm.inverse(np.linspace(0, 1, NOTHING)), float)


def block_means(plane: Float[np.ndarray, "height width"], most: int) -> Float[np.ndarray, "rows columns"]:
    """Return means over square blocks, so that no side exceeds `most`; NaN where a block has no finite value.

    A block begins at DC, and blocks may reach beyond the plane.
    """
    side = -(-max(plane.shape) // most)
    if side == 1:
        return plane
    # DC, at n // 2, begins a block on either axis.
    padding = [(-(length // 2) % side, (-(length - length // 2)) % side) for length in plane.shape]
    padded = np.pad(plane, padding, constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side)
    return np.ma.masked_invalid(blocks).mean((1, 3)).filled(np.nan)


def image_strip(images: Float[np.ndarray, "images height width 3"], most: int) -> str:
    """Return images in [0, 1] side by side, each at most `most` pixels high and wide."""
    height, width = images.shape[1:3]
    scale = min(1.0, most / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    resized = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)) for image in pixels]
    joined = Image.fromarray(np.concatenate(resized, axis=1))
    return lossless(joined) if max(height, width) <= _LOSSLESS else _webp(joined, quality=75)


def lossless(image: Image.Image) -> str:
    """Return a picture with exactly these colours."""
    # Half of a PNG's size in a tenth of its time.
    return _webp(image, lossless=True, quality=80)


def _webp(image: Image.Image, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, "webp", method=4, **options)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def displayable(model: Model, test: Dataset) -> tuple[Model, Dataset]:
    """Return a model and test images of three channels in [0, 255], which give the same logits.

    Normalised images are scaled so that their lowest value is black and their highest white. One channel becomes grey.
    Raises InputError for other numbers of channels.
    """
    channels, (mean, std) = model.image_shape[2], model.mean_std
    if channels not in (1, 3):
        raise InputError(f"images: got {channels} channels; expected 1 or 3, which a page can show")
    if len(mean) and channels == 3:
        return dataclasses.replace(model, mean_std=(np.broadcast_to(mean, 3), np.broadcast_to(std, 3))), test
    levels = np.asarray(test.images(np.arange(len(test))), np.float32)
    if not len(mean):
        low, high = float(levels.min()), float(levels.max())
        span = max(high - low, 1e-6)
        levels, mean, std = (levels - low) * np.float32(255 / span), np.array([-low / span]), np.array([1 / span])

    def apply(params: PyTree, images: Float[Array, "n height width 3"]) -> Any:
        return model.apply(params, images[..., :channels])

    mean_std = (np.broadcast_to(mean, 3).astype(float), np.broadcast_to(std, 3).astype(float))
    shape = (*model.image_shape[:2], 3)
    shown = dataclasses.replace(model, apply=apply, image_shape=shape, mean_std=mean_std, apply_bfloat16=None)
    return shown, ArrayDataset(np.repeat(levels, 3 // channels, -1), test.labels, test.classes)
