"""Masks, planes and images as pictures that are embedded in a page, whose script reads numbers back from them."""

import base64
import io
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.colors import Normalize
from PIL import Image

# Bits of a pixel with three bytes.
MOST_MASKS = 24
# Grey level that stands for no value; those below are levels of a value.
NOTHING = 255
KEPT_COLOUR = (11, 60, 111)
# Longest side of images that are stored without loss.
_LOSSLESS = 64


def mask_bits(masks: Bool[np.ndarray, "masks height width"]) -> str:
    """Return a PNG whose pixels, red the lowest byte of three, have bit k set where mask k keeps the position.

    Raises:
      ValueError: more than MOST_MASKS masks.
    """
    if len(masks) > MOST_MASKS:
        raise ValueError(f"{len(masks)} masks; a pixel has room for {MOST_MASKS}")
    padded = np.pad(masks, [(0, MOST_MASKS - len(masks)), (0, 0), (0, 0)])
    return _picture(np.moveaxis(np.packbits(padded, axis=0, bitorder="little"), 0, -1))


def mask_picture(mask: Bool[np.ndarray, "height width"]) -> str:
    """Return a PNG of a mask: kept positions dark, the others white."""
    return _picture(np.where(mask[..., None], np.array(KEPT_COLOUR), 255).astype(np.uint8))


def plane_levels(plane: Float[np.ndarray, "height width"], norm: Normalize) -> tuple[str, list[float]]:
    """Return a grey PNG of levels 0 to 254, NOTHING where the plane is NaN, and the value of each level.

    Args:
      plane: the values.
      norm: from values to [0, 1], with an inverse.
    """
    known = np.isfinite(plane)
    share = np.clip(np.asarray(norm(np.where(known, plane, 0.0)), float), 0, 1)
    grey = np.where(known, np.rint(share * (NOTHING - 1)), NOTHING).astype(np.uint8)
    values = np.asarray(norm.inverse(np.linspace(0, 1, NOTHING)), float)
    return png(Image.fromarray(grey)), [float(f"{value:.3g}") for value in values]


def block_means(plane: Float[np.ndarray, "height width"], most: int) -> Float[np.ndarray, "rows columns"]:
    """Return means over square blocks, so that no side is longer than `most`; NaN for a block without a finite value.

    Blocks have a corner at DC, and may reach beyond the plane.
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
    """Return images in [0, 1] side by side, no side of one longer than `most` pixels."""
    height, width = images.shape[1:3]
    scale = min(1.0, most / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    resized = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)) for image in pixels]
    joined = Image.fromarray(np.concatenate(resized, axis=1))
    return png(joined) if max(height, width) <= _LOSSLESS else _encoded(joined, "webp", quality=75, method=4)


def _picture(pixels: UInt8[np.ndarray, "height width 3"]) -> str:
    """Return a PNG with exactly these colours, with a palette where they are few."""
    colours, indices = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colours) > 256:
        return png(Image.fromarray(pixels))
    image = Image.fromarray(indices.reshape(pixels.shape[:2]).astype(np.uint8), mode="P")
    image.putpalette(colours.tobytes())
    return png(image)


def png(image: Image.Image) -> str:
    """Return a picture without loss."""
    return _encoded(image, "png", optimize=True)


def _encoded(image: Image.Image, kind: str, **options: Any) -> str:
    """Return a data URL."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
