"""Arrays in .npz and .npy files of others: what a file says of itself is checked before any of it is unpacked."""

import io
import math
import zipfile
from collections.abc import Sequence
from typing import IO

import numpy as np
from jaxtyping import Shaped

from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# What an .npz may unpack to, in bytes, and in sizes of the file where that is more. Images seldom shrink by half, but
# masks and scores may be nearly constant: those of 1,000 classes at 224 pixels, 225 MB, may be packed into 1 MB.
LARGEST, TIMES = 2**29, 64
_File = io.BufferedIOBase | IO[bytes]
_LONGEST_HEADER = 10_000  # NumPy's own limit, which it looks at once the header is in memory


def read(path: Path, keys: Sequence[str] = ()) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of an .npz, or those of some keys: numbers, booleans and text.

    Raises:
      InputError: no .npz, one that is damaged, lacks a key, holds anything else than plain arrays, or would unpack to
        more than LARGEST bytes and TIMES its own size.
      FileNotFoundError: there is none.
    """
    try:
        with path.open("rb") as file:
            size = _size(file)
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, keys)
                _check(archive, members, size)
                return {key: _array(archive, member) for key, member in members.items()}
    except (InputError, FileNotFoundError):
        raise
    except Exception as error:  # the bytes are a stranger's: zipfile, zlib and NumPy may raise anything
        raise InputError(f"{path}: not a readable .npz of plain arrays ({_cause(error)})") from error


def check_npy(path: Path) -> None:
    """Sees that an .npy is of plain values and as long as its header says, so that it can be mapped.

    Raises:
      InputError: it is missing, damaged, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            size = _size(file)
            if (needed := _bytes(file)) > size:
                raise ValueError(f"{needed} bytes by its header, {size} are there")
    except Exception as error:
        raise InputError(f"{path}: not a readable .npy of plain numbers ({_cause(error)})") from error


def _members(archive: zipfile.ZipFile, keys: Sequence[str]) -> dict[str, zipfile.ZipInfo]:
    found = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    for key in keys:
        if key not in found:
            raise InputError(f"{archive.filename}: no key {key!r}; found: {', '.join(found)[:200] or 'none'}")
    return {key: found[key] for key in keys or found}


def _check(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], size: int) -> None:
    """Raises ValueError where the members are too large together, or not what their headers say."""
    total, most = sum(member.file_size for member in members.values()), max(LARGEST, TIMES * size)
    if total > most:
        raise ValueError(
            f"{total} bytes once unpacked, at most {most} are read; one of np.savez, not compressed, may be of any size"
        )
    for key, member in members.items():
        # What the other kinds of compression ask for to unpack a few bytes has no bound.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{key} is compressed in a way that is not read")
        with archive.open(member) as file:
            if (needed := _bytes(file)) != member.file_size:
                raise ValueError(f"{key} has {needed} bytes by its header, {member.file_size} by the archive")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _bytes(file: _File) -> int:
    """Of an .npy with such a header; raises ValueError for anything but plain values."""
    start = file.read(8)
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(start)
    if width is None:
        raise ValueError("no header of an .npy of plain values")
    length = file.read(width)
    if len(length) < width or (characters := int.from_bytes(length, "little")) > _LONGEST_HEADER:
        raise ValueError("a header that is cut off or too long")
    header = length + file.read(characters)
    parse = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    shape, _, dtype = parse(io.BytesIO(header))
    if dtype.hasobject or dtype.kind == "V":
        raise ValueError("pickled objects are not read, nor are records")
    return len(start) + len(header) + math.prod(shape) * dtype.itemsize


def _size(file: _File) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
