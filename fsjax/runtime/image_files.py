"""Decode and resize image files by Pillow, in this process or in workers, which import no JAX."""

import io
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fsjax.runtime.errors import InputError, one_line

# Other decoders are never tried, since some of PIL's run programs. A file's name does not matter: ImageNet has PNGs
# called .JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Encoded(NamedTuple):
    """An encoded image: the arguments of `decode`."""

    file: str | os.PathLike | bytes
    name: str


def decode_all(
    images: Sequence[Encoded], size: int, shorter: int, interpolation: str
) -> UInt8[np.ndarray, "n size size 3"]:
    """Decode and resize images, as `decode` and `resize` do; a worker process can import this."""
    return np.stack([resize(decode(*image), size, shorter, interpolation) for image in images])


def resize(
    image: Image.Image | UInt8[np.ndarray, "height width 3"],
    size: int,
    shorter: int = 0,
    interpolation: str = "bilinear",
) -> UInt8[np.ndarray, "size size 3"]:
    """Resize an RGB image to size x size pixels by PIL, with antialiasing, rounded to uint8; may return a view.

    shorter: 0 resizes both sides to `size`, without a crop (Wang et al., ICCV 2023). Otherwise, from `size` on, the
    shorter side becomes this long and the centre is cut out: torchvision's Resize(shorter) + CenterCrop(size).
    interpolation: one of INTERPOLATIONS.
    """
    sides = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
    width, height = size, size
    if shorter:  # whole pixels as in torchvision: the longer side is rounded down, half a pixel of offset to even
        width, height = (int(shorter * side / min(sides)) for side in sides)
    if sides != (width, height):
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image = picture.resize((width, height), INTERPOLATIONS[interpolation])
    top, left = round((height - size) / 2), round((width - size) / 2)
    return np.asarray(image)[top : top + size, left : left + size]


def jpeg(image: UInt8[np.ndarray, "height width 3"], quality: int) -> UInt8[np.ndarray, "height width 3"]:
    """Return an image compressed as JPEG of a quality in [1, 95] and decoded again."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def decode(file: str | os.PathLike | bytes, name: str) -> Image.Image:
    """Decode an image (a path, or its bytes) to RGB at its natural size; an EXIF rotation is not applied.

    The result stays a PIL image, which threads resize in parallel: copying it to NumPy and back holds Python's lock.
    Raises InputError, which calls the image `name`, where it does not decode or has over 2 Image.MAX_IMAGE_PIXELS.
    """
    try:
        with open_image(file) as image:
            return to_rgb(image)
    except Exception as error:  # PIL's decoders raise anything on damaged bytes; the cause stays attached.
        raise undecodable(name, one_line(error)) from error


def open_image(file: str | os.PathLike | bytes) -> Image.Image:
    """Open an image, a path or its bytes, without decoding it; Pillow may raise anything.

    A FIFO or a device raises OSError, since opening it could wait for ever.
    """
    if not isinstance(file, bytes) and not stat.S_ISREG(os.stat(file).st_mode):
        raise OSError("it is no regular file")
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMATS)


def undecodable(name: str, cause: str) -> InputError:
    advice = "--config.data.skip_undecodable=True leaves such images out"
    return InputError(f"image {name} does not decode ({cause}); {advice}")


def to_rgb(image: Image.Image) -> Image.Image:
    """Load and convert any mode that PIL decodes to: repeat grey, look up palettes, drop alpha, convert CMYK.

    16-bit grey is scaled by 255/65535 and rounded; PIL alone would clip it at 255.
    """
    if image.mode.startswith("I"):
        grey = np.clip(np.rint(np.asarray(image) / 257), 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB, PIL warns about some transparent palettes
    if image.mode == "RGB":  # convert() would copy
        image.load()
        return image
    return image.convert("RGB")
