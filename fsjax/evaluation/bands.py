"""Copies of a data set that keep only some radial bands of the Fourier plane.

A copy is named by the bands that it keeps, 1 (lowest) to 4: '1234' is the original, '12' a low-pass, '34' a high-pass,
'14' a band-stop and '2' a band-pass copy. DC belongs to band 1. Images are filtered after normalisation, so a copy
without band 1 gives every image the mean colour of the training images, without its own brightness and hue. The
synthetic sets have no energy at DC.
"""

import re

import numpy as np
from jaxtyping import Bool

from fsjax.fourier import spectrum
from fsjax.runtime.errors import InputError

COUNT = 4
ORIGINAL = "1234"
# The original, each pair of bands, and each single band.
DEFAULT = (ORIGINAL, "12", "34", "13", "14", "23", "24", "1", "2", "3", "4")


def parse(keep: str) -> tuple[str, ...]:
    """Return the copies of a comma-separated list, in its order; DEFAULT for ''.

    Raises:
      InputError: an entry that is not one or more of the digits 1 to 4 in ascending order, a repeated entry, a list
        without the original, or of the original alone.
    """
    if not keep:
        return DEFAULT
    names = tuple(name.strip() for name in keep.split(","))
    for name in names:
        if not (name and re.fullmatch("1?2?3?4?", name)):
            raise InputError(
                f"dynamics.keep: {name!r} in {keep!r}; expected bands that a copy keeps, of the digits 1 to 4, each "
                "once and ascending, such as 1234,12,34"
            )
    if len(set(names)) < max(2, len(names)) or ORIGINAL not in names:
        raise InputError(
            f"dynamics.keep: got {keep!r}; expected two or more different copies, {ORIGINAL} (the original) among them"
        )
    return names


def masks(names: tuple[str, ...], height: int, width: int) -> Bool[np.ndarray, "copies height width"]:
    """Return the mask of each copy on the centred plane."""
    band = spectrum.bands(height, width, COUNT) + 1
    return np.stack([np.isin(band, [int(digit) for digit in name]) for name in names])


def title(name: str) -> str:
    """Return a copy's name for readers, as in 'B1 + B2 (low-pass)'."""
    if name == ORIGINAL:
        return "original"
    if name not in ORIGINAL:
        kind = "band-stop"
    elif name.startswith("1"):
        kind = "low-pass"
    else:
        kind = "high-pass" if name.endswith("4") else "band-pass"
    return f"{' + '.join(f'B{digit}' for digit in name)} ({kind})"
