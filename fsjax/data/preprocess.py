"""Decoding, resizing and normalising of images."""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Num, UInt8
from PIL import Image

from fsjax.runtime.errors import InputError, one_line

# The only decoders that are tried: a file's name says nothing of its content (ImageNet has PNGs called .JPEG), and some
# of PIL's other decoders run programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
# `decode` refuses what PIL warns of.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Images of more pixels are decoded one at a time: at PIL's limit an image takes a gigabyte, in every thread.
_LARGE = 2**24
# The mean and std of images that are normalised already.
NORMALISED = (np.empty(0), np.empty(0))
_one_at_a_time = threading.Lock()
# Largest ratio of the longer side to the shorter: a line of 65,535 pixels, scaled to a shorter side of 256, is 13 GB.
LONGEST = 256


def normalise(
    images: Num[Array, "*batch channels"] | Num[np.ndarray, "*batch channels"],
    mean: Sequence[float] | Num[Array, " means"] | Num[np.ndarray, " means"],
    std: Sequence[float] | Num[Array, " means"] | Num[np.ndarray, " means"],
) -> Float32[Array, "*batch channels"]:
    """Return (images / 255 - mean) / std by channel, in float32; images are in [0, 255], with any leading axes.

    With NORMALISED for mean and std the images come back as they are.
    """
    if not len(mean):
        return jnp.asarray(images, jnp.float32)
    images = jnp.asarray(images, jnp.float32) / 255
    return (images - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def resize(
    image: Image.Image | UInt8[np.ndarray, "height width 3"], size: int, shorter: int = 0
) -> UInt8[np.ndarray, "size size 3"]:
    """Resize to size x size pixels, PIL bilinear with antialiasing, rounded to uint8; may return a view of image.

    image: RGB. shorter: 0 brings both sides to size, without a crop (Wang et al., ICCV 2023). Otherwise, from size on,
    the shorter side becomes this long and the middle is cut out: torchvision's Resize(shorter) + CenterCrop(size).
    """
    sides = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
    width, height = size, size
    if shorter:  # whole pixels as in torchvision: the longer side is rounded down, half a pixel of offset to even
        width, height = (int(shorter * side / min(sides)) for side in sides)
    if sides != (width, height):
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image = picture.resize((width, height), Image.Resampling.BILINEAR)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return np.asarray(image)[top : top + size, left : left + size]


def decode(file: str | os.PathLike | bytes, name: str, advice: str = "") -> Image.Image:
    """Decode an image (a path, or its bytes) to RGB at its natural size; an EXIF rotation is not applied.

    It stays Pillow's, which resizes it in several threads at once: to copy it to NumPy and back holds Python's lock.
    Raises InputError, which calls the image `name` and ends with `advice`, if it does not decode, has more pixels than
    PIL's limit against decompression bombs (Image.MAX_IMAGE_PIXELS), or one side is more than LONGEST times the other.
    """
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMATS) as image:
            pixels, longest = image.width * image.height, LONGEST * min(image.size)
            if pixels <= (Image.MAX_IMAGE_PIXELS or float("inf")) and max(image.size) <= longest:
                with _one_at_a_time if pixels > _LARGE else contextlib.nullcontext():
                    return to_rgb(image)
            cause = (
                f"got {image.width} x {image.height} pixels; expected at most {Image.MAX_IMAGE_PIXELS}, and a side at "
                f"most {LONGEST} times the other"
            )
    except Exception as error:  # PIL's decoders raise anything on damaged bytes; the cause stays attached.
        raise InputError(f"image {name} does not decode ({one_line(error)}){advice}") from error
    raise InputError(f"image {name} does not decode ({cause}){advice}")


def to_rgb(image: Image.Image) -> Image.Image:
    """Load and convert any mode that PIL decodes to: repeat grey, look up palettes, drop alpha, convert CMYK.

    16-bit grey is scaled by 255/65535 and rounded; PIL alone would clip it at 255.
    """
    if image.mode.startswith("I"):
        grey = np.clip(np.rint(np.asarray(image) / 257), 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "P":
        image = image.convert("RGBA")  # PIL warns of some transparent palettes when they go straight to RGB
    if image.mode == "RGB":  # convert() would copy
        image.load()
        return image
    return image.convert("RGB")
