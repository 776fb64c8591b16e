"""Band-limited images: data.frequencies keeps the same frequencies in training and test images (arXiv 2606.03493).

A network begins with this fixed filter, so training, searches, evaluation and attacks all go through it.
"""

import math

import numpy as np
from jaxtyping import Bool

from fsjax.fourier import spectrum
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

FIELD = "data.frequencies"
_ACCEPTED = (
    "expected '' (all), 'low:A' (up to A cycles per pixel from DC), 'high:A' (from A on), 'band:A:B', or an .npy of "
    "bool [data.image_size, data.image_size], centred, True where a frequency is kept"
)
# Kind of range -> how many numbers it has.
_VALUES = {"low": 1, "high": 1, "band": 2}
# A radius that is a boundary in exact arithmetic is kept.
_ROUNDING = 1e-9


def read(text: str, size: int, field: str = FIELD) -> Bool[np.ndarray, "{size} {size}"] | None:
    """Return the frequencies of size x size images that a field keeps, centred; None = all.

    Ranges include their boundaries; the largest radius is sqrt(0.5), in the plane's corners. DC has radius 0: where
    A > 0, 'high:A' and 'band:A:B' remove the mean of every channel. A file can keep it. Raises InputError for a
    malformed text, for nothing kept, and for a file that is missing, has another size or type, or keeps a frequency
    without its conjugate.
    """
    if not text:
        return None
    if file := file_of(text):
        mask = from_file(file, size, field)
    else:
        kind, *values = text.split(":")
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            numbers = []
        if len(numbers) != _VALUES.get(kind) or not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise InputError(f"{field}: got {text!r}; {_ACCEPTED}")
        least, most = {"low": (0, numbers[0]), "high": (numbers[0], math.inf), "band": (numbers[0], numbers[-1])}[kind]
        radius = spectrum.radius(size, size)
        mask = (radius >= least - _ROUNDING) & (radius <= most + _ROUNDING)
    if not mask.any():
        raise InputError(f"{field}: {text!r} keeps nothing of {size} x {size} frequencies; {_ACCEPTED}")
    return mask


def are_named(text: str) -> bool:
    """Return whether a text has the form of a range or a file of frequencies."""
    return file_of(text) is not None or text.partition(":")[0] in _VALUES


def file_of(text: str) -> Path | None:
    """Return the .npy file that a field names, None for a range."""
    return storage.path(text) if text.endswith(".npy") else None


def from_file(file: Path, size: int, field: str) -> Bool[np.ndarray, "{size} {size}"]:
    """Return the frequencies of a file, possibly none; raise InputError as `read` does."""
    mask = np.array(files.map_npy(file))
    if mask.dtype != bool or mask.shape != (size, size):
        shape = " x ".join(map(str, mask.shape)) or "one number"
        raise InputError(f"{field}: {file} holds {mask.dtype} {shape}; expected bool {size} x {size}")
    if not spectrum.is_hermitian(mask):
        alone = int((mask & ~spectrum.conjugate(mask)).sum())
        raise InputError(f"{field}: {file} keeps {alone} frequencies without their conjugates; expected neither")
    return mask
