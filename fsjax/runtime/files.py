"""Files of a run: a kill, or a disk that is full, leaves the old file or the new one, and never a part of one."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
import socket
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from fsjax.runtime import npz, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends without an error.

    On a disk it is written under a temporary name and renamed; an object of a store appears at once and whole.

    Raises:
      InputError: it cannot be written, as on a full disk; what was there stays.
    """
    with writing(path):
        if not storage.is_local(path):
            with tempfile.NamedTemporaryFile() as file:
                yield file
                file.flush()
                path.fs.put_file(file.name, path.path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[pathlib.Path]:
    """A folder of this machine that is moved to `path`, where nothing may be, when the block ends without an error.

    Its files come to a store one by one: something that is written there afterwards has to say that all have.
    """
    if not storage.is_local(path):
        with tempfile.TemporaryDirectory() as copy:
            folder = pathlib.Path(copy)
            yield folder
            files = [file for file in folder.rglob("*") if file.is_file()]
            names = [file.relative_to(folder).as_posix() for file in files]
            path.fs.put([str(file) for file in files], [f"{path.path}/{name}" for name in names])
        return
    temporary = temporary_name(path)
    storage.remove(temporary)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            sync(file)
        os.replace(temporary, path)
    finally:
        storage.remove(temporary)
    sync(path.parent)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises InputError, which names the path, for an operating system's error in the block."""
    try:
        yield
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise InputError(f"{path}: cannot be written ({reason}); what was there before is as it was") from error


def temporary_name(path: pathlib.Path) -> pathlib.Path:
    """Beside `path`, for what takes its place; remove_leftovers finds it again."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.tmp")


def sync(path: pathlib.Path) -> None:
    """Returns when what was written to a file, or the names in a folder, would outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(directory: Path) -> None:
    """Deletes the temporary files and folders under a directory whose writers were killed.

    Those are of processes of this machine that are gone; a store has none.
    """
    if not storage.is_local(directory):
        return
    for path in list(directory.rglob(f".*.{_host()}.*.tmp")):
        writer = re.search(r"\.(\d+)\.tmp$", path.name)
        if writer and not _runs(int(writer[1])):
            if path.is_dir():
                storage.remove(path)
            else:
                path.unlink(missing_ok=True)


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


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON atomically: a NaN is an error, so what has no value is None.

    An object gets one more field, the SHA-256 of all others: a flipped bit may leave JSON with another number in it.
    """
    if isinstance(value, dict):
        value = {**value, _CHECKSUM: _checksum(value)}
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON; of an object that has a checksum, the others of its fields.

    Raises:
      InputError: the file is not JSON, or its checksum is not that of what is there.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise InputError(f"{path}: not JSON ({error}); delete it to have it written anew") from error
    if isinstance(value, dict) and value.pop(_CHECKSUM, None) not in (None, _checksum(value)):
        raise InputError(f"{path}: damaged, or changed by hand (its checksum differs); delete it to have it made anew")
    return value


_CHECKSUM = "checksum"


def _checksum(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, allow_nan=False).encode()).hexdigest()


def _finite(digits: str) -> float:
    return float(digits) if math.isfinite(float(digits)) else _refused(digits)


def _refused(constant: str) -> float:
    raise ValueError(f"{constant[:40]} is no number of JSON's")


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Writes a compressed .npz atomically."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # no array is called as one of its options


def read_npz(path: Path, keys: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Reads every array of an .npz, or those of some keys; nothing pickled is accepted.

    Raises:
      InputError: the file is not an .npz, is damaged, lacks a key, holds pickled objects, or unpacks to far
        more than its size.
    """
    with storage.local(path) as copy:
        return npz.read(copy, keys)


def sha256(path: str | Path) -> str:
    """Of a file's content, as hexadecimal digits."""
    with storage.path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # all open files have readinto


def write_npy(path: Path, array: np.ndarray) -> None:
    """Writes an .npy atomically."""
    with replacing(path) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def map_npy(path: Path) -> np.ndarray:
    """An .npy, mapped and not read; that of a store is copied first, into a file without a name.

    Raises:
      InputError: it is missing or damaged.
    """
    try:
        with storage.local(path) as copy:
            npz.check_npy(copy)
            return np.load(copy, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected an .npy of plain numbers") from error
