"""Images decoded and resized once, in a memory-mapped file that later epochs, runs and other processes read.

Each image has a checksum, written after its pixels: what a kill left half-written, or a disk damaged, is decoded again.

Examples:
  >>> prepared = PreparedImages(pathlib.Path("prepared"), b"these files", 5, 8)
  >>> prepared.missing(np.arange(5)).tolist()
  [0, 1, 2, 3, 4]
  >>> prepared.images[2] = 7
  >>> prepared.keep(np.array([2]))
  >>> PreparedImages(pathlib.Path("prepared"), b"these files", 5, 8).missing(np.arange(5)).tolist()
  [0, 1, 3, 4]
"""

import hashlib
import os
import pathlib
import zlib

import numpy as np
from jaxtyping import Int

from fsjax.data.source import Source
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError, one_line

FIELD = "data.prepare"
_GIB = 2**30


class PreparedImages:
    """A file of images, and one of their checksums.

    Args:
      folder: where the files are; made if need be.
      identity: of the images and of how they are decoded and resized; other images have other files.
      count: of images.
      size: their side in pixels.

    Attributes:
      images: uint8 [count, size, size, 3], mapped; to be written before `keep`.

    Raises:
      InputError: the files cannot be made, or the disk has no room for all images.
    """

    def __init__(self, folder: pathlib.Path, identity: bytes, count: int, size: int):
        name, pixels = hashlib.sha256(identity).hexdigest()[:24], 3 * size**2
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for suffix, bytes_each in ((".images", pixels), (".sums", 4)):
                _reserve(folder / f"{name}{suffix}", count * bytes_each)
            self.images = np.memmap(folder / f"{name}.images", np.uint8, "r+", shape=(count, size, size, 3))
            self._sums = np.memmap(folder / f"{name}.sums", np.uint32, "r+", shape=(count,))
        except OSError as error:
            room = f"{count * pixels / _GIB:.2g} GiB"
            raise InputError(
                f"{FIELD}: {folder}: {one_line(error)}; expected a local folder with {room} of room"
            ) from error

    def missing(self, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " missing"]:
        """Return those of some images that are not in the file whole."""
        return rows[[self._sums[row] != self._sum(row) for row in rows.tolist()]]

    def keep(self, rows: Int[np.ndarray, " n"]) -> None:
        """Write the checksums of images that have been written."""
        for row in rows.tolist():
            self._sums[row] = self._sum(row)

    def _sum(self, row: int) -> int:
        # Never 0, which stands where nothing was written.
        return zlib.crc32(self.images[row]) or 1


def open_prepared(folder: str, source: Source, size: int, shorter: int) -> PreparedImages:
    """Open the prepared images of all files of a folder's source.

    A file is known by its path, its size and the time of its change.

    Raises:
      InputError: files in a store, a folder in one, or as `PreparedImages`.
    """
    where, files = storage.path(folder), getattr(source, "files", [])
    if not storage.is_local(where):
        raise InputError(f"{FIELD}: got {folder!r}; expected a local folder")
    if not storage.is_local(storage.path(files[0])):
        raise InputError(f"data.root: got {files[0]!r} in it; expected local files, or {FIELD}=''")
    lines = [f"{size} {shorter}"]
    for file in files:
        status = os.stat(file)
        lines.append(f"{file} {status.st_size} {status.st_mtime_ns}")
    return PreparedImages(where, "\n".join(lines).encode(errors="surrogateescape"), len(source), size)


def _reserve(file: pathlib.Path, length: int) -> None:
    """Give a file its length, with room on the disk, for a mapped file cannot report a full one; keep what is in it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, length)
        else:
            os.ftruncate(descriptor, length)
    finally:
        os.close(descriptor)
