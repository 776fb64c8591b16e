"""Edits of images at painted frequencies, and masks as text."""

import base64
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8
from numpy.typing import ArrayLike
from PIL import Image, UnidentifiedImageError

from fsjax.fourier import spectrum
from fsjax.runtime import image_files
from fsjax.runtime.errors import InputError, check_known, one_line

# Operation -> what it does with the painted frequencies. The first three take a donor.
OPERATIONS = {
    "graft": "take the donor's amplitudes and phases",
    "amplitude": "take the donor's amplitudes",
    "phase": "take the donor's phases",
    "remove": "remove them",
    "keep": "remove all others",
    "wave": "add a cosine at each",
}
TAKE_A_DONOR = tuple(OPERATIONS)[:3]
# A mask's text: numbers in base 36, as a browser reads and writes them.
_RUNS = re.compile(r"([0-9a-z]{1,6}(\.[0-9a-z]{1,6})*)?")


def edit(
    operation: str | Int[np.ndarray, ""] | Int[Array, ""],
    images: Float[ArrayLike, "n height width channels"],
    donors: Float[ArrayLike, "n height width channels"],
    mask: Bool[ArrayLike, "height width"],
    amplitude: float | Float[ArrayLike, " channels"] = 0.0,
) -> Float[Array, "n height width channels"]:
    """Return normalised images with one of OPERATIONS applied at the frequencies of a mask; JAX can trace it.

    Args:
      operation: its name or, in a program that serves all, its `number`.
      mask: on the centred plane, constant on orbits.
      amplitude: A of each added wave A cos(k.x), x from pixel 0, in the images' unit: a number, or one per channel.
    """
    which = number(operation) if isinstance(operation, str) else operation
    images, donors, mask = jnp.asarray(images), jnp.asarray(donors), jnp.asarray(mask)
    height, width = mask.shape
    # F of an impulse is 1 everywhere, and both members of an orbit add half of its wave.
    impulse = jnp.zeros(images.shape).at[:, 0, 0].set(jnp.asarray(amplitude) * height * width)
    halves = (1 / spectrum.orbit_sizes(height, width)[spectrum.orbits(height, width)]).astype(np.float32)
    changes = (
        lambda: (donors - images, mask * 1.0),
        lambda: (spectrum.recombine(donors, images) - images, mask * 1.0),
        lambda: (spectrum.recombine(images, donors) - images, mask * 1.0),
        lambda: (-images, mask * 1.0),
        lambda: (-images, 1.0 - mask),
        lambda: (impulse, mask * halves),
    )
    change, weights = jax.lax.switch(which, changes)
    return images + spectrum.filter_spectra(spectrum.spectra(change), weights[None])[0]


def number(operation: str) -> np.int32:
    """Return the place of one of OPERATIONS; raises InputError for another name."""
    check_known("operation", operation, OPERATIONS)
    return np.int32(list(OPERATIONS).index(operation))


def write_mask(mask: Bool[np.ndarray, "height width"]) -> str:
    """Return a mask as lengths of runs in raster order, False and True in turn, in base 36 with dots between them."""
    flat = np.concatenate([[False], mask.ravel(), [not mask.ravel()[-1]]])
    lengths = np.diff(np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1])]))
    return ".".join(np.base_repr(length, 36).lower() for length in lengths)


def read_mask(text: Any, plane: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Return the mask of a text by `write_mask`, with the conjugate of each position: whole orbits."""
    size, known = plane[0] * plane[1], isinstance(text, str) and _RUNS.fullmatch(text)
    lengths = [int(run, 36) for run in text.split(".") if run] if known else []
    if not known or sum(lengths) > size:
        got, expected = str(text)[:40], f"lengths of runs in base 36, with dots between them, {size} positions at most"
        raise InputError(f"mask: got {got!r}; expected {expected}")
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    mask = np.pad(values, (0, size - len(values))).reshape(plane)
    return mask | spectrum.conjugate(mask)


def read_image(text: Any, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Return an image file in base64, resized to H x W."""
    try:
        with image_files.open_image(base64.b64decode(text, validate=True)) as image:
            return np.asarray(image_files.to_rgb(image).resize(shape[1::-1], Image.Resampling.BILINEAR))
    except Exception as error:  # Pillow may raise anything
        got = "no image" if isinstance(error, UnidentifiedImageError) else one_line(error)
        raise InputError(f"image: got {got}; expected {', '.join(image_files.FORMATS)}, in base64") from error
