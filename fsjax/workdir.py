"""Files of a run: each is written to a temporary name and renamed, so that a kill leaves the old one or the new one."""

import contextlib
import hashlib
import json
import os
import re
import socket
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from fsjax.errors import InputError
from fsjax.storage import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Deletes the temporary files under a directory whose writers were killed: processes of this machine, now gone."""
    for file in directory.rglob(f".*.{_host()}.*.tmp"):
        writer = re.search(r"\.(\d+)\.tmp$", file.name)
        if writer and not _runs(int(writer[1])):
            file.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process of this number, other than this one, is there."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _host() -> str:
    return re.sub(r"\W", "-", socket.gethostname())


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON atomically: a NaN is an error, so what has no value is None."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
      InputError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error}); delete it to have it written anew") from error


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Writes a compressed .npz atomically."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads every array of an .npz; nothing pickled is accepted.

    Raises:
      InputError: the file is not an .npz, is damaged, or holds pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: a single .npy array; an .npz is expected")
            return {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError | FileNotFoundError):
            raise
        raise InputError(f"{path}: not a readable .npz of plain arrays ({error})") from error


def sha256(path: str | Path) -> str:
    """Of a file's content, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_npy(path: Path, array: np.ndarray) -> None:
    """Writes an .npy atomically."""
    with replacing(path) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def map_npy(path: Path) -> np.ndarray:
    """An .npy, mapped and not read.

    Raises:
      InputError: it is missing or damaged.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not a readable .npy of plain numbers ({error})") from error
