"""Read untrusted .npz and .npy files: headers are checked before anything is unpacked."""

import io
import math
import zipfile
from collections.abc import Sequence
from typing import IO

import numpy as np
from jaxtyping import Shaped

from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.storage import Path

# An .npz may unpack to LARGEST bytes, or to TIMES its own size if that is more. Nearly constant masks and scores of
# 1,000 classes at 224 pixels, 225 MB, may take 1 MB in the file.
LARGEST, TIMES = 2**29, 64
_File = io.BufferedIOBase | IO[bytes]
_LONGEST_HEADER = 10_000  # NumPy's limit, which it checks after reading the header


def read(path: Path, keys: Sequence[str] = ()) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read the arrays of an .npz, all or those of `keys`: numbers, booleans and text.

    Raises:
      InputError: the file is not an .npz, is damaged, lacks a key, holds anything but plain arrays, or would unpack to
        more than both LARGEST bytes and TIMES its own size.
      FileNotFoundError: there is no file.
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
    except Exception as error:  # untrusted input: zipfile, zlib and NumPy may raise anything
        raise InputError(f"{path}: not a readable .npz of plain arrays ({one_line(error)[:300]})") from error


def check_npy(path: Path) -> None:
    """Raise InputError unless an .npy can be mapped: it holds plain values and is as long as its header says."""
    try:
        with path.open("rb") as file:
            size = _size(file)
            if (needed := _bytes(file)) > size:
                raise ValueError(f"got {size} bytes; expected {needed} by its header")
    except Exception as error:
        raise InputError(f"{path}: not a readable .npy of plain numbers ({one_line(error)[:300]})") from error


def _members(archive: zipfile.ZipFile, keys: Sequence[str]) -> dict[str, zipfile.ZipInfo]:
    members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    for key in keys:
        if key not in members:
            raise InputError(f"{archive.filename}: no key {key!r}; found: {', '.join(members)[:200] or 'none'}")
    return {key: members[key] for key in keys or members}


def _check(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], size: int) -> None:
    """Raise ValueError if the members are too large together, or not as their headers say."""
    total, limit = sum(member.file_size for member in members.values()), max(LARGEST, TIMES * size)
    if total > limit:
        raise ValueError(
            f"got {total} bytes once unpacked; expected at most {limit}, or an uncompressed file of np.savez"
        )
    for key, member in members.items():
        # Other kinds of compression may need any amount of memory to unpack a few bytes.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{key}: got zip compression {member.compress_type}; expected none or deflate")
        with archive.open(member) as file:
            if (needed := _bytes(file)) != member.file_size:
                raise ValueError(f"{key}: got {member.file_size} bytes; expected {needed} by its header")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _bytes(file: _File) -> int:
    """Return the size of an .npy by its header; raise ValueError for anything but plain values."""
    start = file.read(8)
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(start)
    if width is None:
        raise ValueError("no header of an .npy")
    length = file.read(width)
    if len(length) < width or (characters := int.from_bytes(length, "little")) > _LONGEST_HEADER:
        raise ValueError("its header is cut off or too long")
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
