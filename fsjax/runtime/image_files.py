"""Decoding and resizing of image files, by Pillow, in this process or in others; they import no JAX."""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fsjax.runtime import workers
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.workers import Shared

# The only decoders that are tried: a file's name says nothing of its content (ImageNet has PNGs called .JPEG), and some
# of PIL's other decoders run programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
# `decode` refuses what PIL warns of.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Images of more pixels are decoded one at a time: at PIL's limit an image takes a gigabyte, in every thread.
_LARGE = 2**24
_ONE_THREAD = threading.Lock()
# Largest ratio of the longer side to the shorter: a line of 65,535 pixels, scaled to a shorter side of 256, is 13 GB.
LONGEST = 256


class Encoded(NamedTuple):
    """An image before `decode`, whose arguments these are."""

    file: str | os.PathLike | bytes
    name: str
    advice: str = ""


def decode_into(shared: Shared, first: int, images: list[Encoded], size: int, shorter: int) -> None:
    """Decode images, and write them resized to a file in memory, one after the other.

    Args:
      shared: the file.
      first: the images before them in it.
      images: the images.
      size: as in `resize`.
      shorter: as in `resize`.

    Raises:
      InputError: as `decode`.
    """
    with workers.opened(shared) as file:
        for position, image in enumerate(images, first):
            resized = resize(decode(*image, alone=lambda: _locked(file)), size, shorter)
            workers.put(file, resized, position * resized.size)


@contextlib.contextmanager
def _locked(file: int) -> Iterator[None]:
    """Keep other processes out that have opened the same file, by its descriptor."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


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


def decode(
    file: str | os.PathLike | bytes,
    name: str,
    advice: str = "",
    alone: Callable[[], contextlib.AbstractContextManager] = lambda: _ONE_THREAD,
) -> Image.Image:
    """Decode an image (a path, or its bytes) to RGB at its natural size; an EXIF rotation is not applied.

    It stays Pillow's, which resizes it in several threads at once: to copy it to NumPy and back holds Python's lock.
    alone: the context in which a large image is decoded, so that not many take their memory at once.
    Raises InputError, which calls the image `name` and ends with `advice`, if it does not decode, has more pixels than
    PIL's limit against decompression bombs (Image.MAX_IMAGE_PIXELS), or one side is more than LONGEST times the other.
    """
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMATS) as image:
            pixels, longest = image.width * image.height, LONGEST * min(image.size)
            if pixels <= (Image.MAX_IMAGE_PIXELS or float("inf")) and max(image.size) <= longest:
                with alone() if pixels > _LARGE else contextlib.nullcontext():
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
