"""Atomic file writes, and readers of JSON, .npz and .npy that check untrusted files.

A kill or a full disk leaves the old file or the new file.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
from jaxtyping import Shaped

from fsjax.runtime import storage
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.storage import Path

_CHECKSUM = "checksum"  # a field of JSON objects


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that replaces `path` when the block ends without an error.

    On a disk it is written under a temporary name, synced and renamed; a store's object appears whole. Where it cannot
    be written, as on a full disk, raise InputError; the old file stays.
    """
    with writing(path):
        if not storage.is_local(path):
            with tempfile.NamedTemporaryFile() as file:
                yield file
                file.flush()
                path.fs.put_file(file.name, path.path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")  # which remove_leftovers recognises
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[pathlib.Path]:
    """Yield a local folder that is moved to `path`, which must not exist, when the block ends without an error.

    A store receives its files one by one: the caller has to write a marker afterwards.
    """
    if not storage.is_local(path):
        with tempfile.TemporaryDirectory() as copy:
            folder = pathlib.Path(copy)
            yield folder
            files = [file for file in folder.rglob("*") if file.is_file()]
            targets = [f"{path.path}/{file.relative_to(folder).as_posix()}" for file in files]
            path.fs.put([str(file) for file in files], targets)
        return
    temporary = path.with_name(f".{path.name}.tmp")
    storage.remove(temporary)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        os.replace(temporary, path)
    finally:
        storage.remove(temporary)
    _sync(path.parent)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into an InputError that names the path."""
    try:
        yield
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise InputError(f"{path}: cannot be written ({reason}); the previous file is unchanged") from error


def remove_leftovers(directory: Path) -> None:
    """Delete temporary files that killed writers left under a local directory, while nobody writes there."""
    if storage.is_local(directory):
        for path in list(directory.rglob(".*.tmp")):
            storage.remove(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON atomically. NaN is an error; use None.

    An object also gets the SHA-256 of its fields, since a flipped bit may leave valid JSON with another number.
    """
    if isinstance(value, dict):
        value = {**value, _CHECKSUM: _checksum(value)}
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON, without an object's checksum; raise InputError for anything but JSON, or for a wrong checksum."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise InputError(f"{path}: not JSON ({error}); delete it, and it is written again") from error
    if isinstance(value, dict) and value.pop(_CHECKSUM, None) not in (None, _checksum(value)):
        raise InputError(f"{path}: damaged, or changed by hand (its checksum differs); delete it, and it is made again")
    return value


def read_known(path: Path) -> dict[str, Any]:
    """Return a JSON object; {} where the file is missing, damaged or holds something else."""
    with contextlib.suppress(FileNotFoundError, InputError):
        value = read_json(path)
        return value if isinstance(value, dict) else {}
    return {}


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write a compressed .npz atomically."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # no array has the name of an option


def read_npz(path: Path, keys: Sequence[str] = ()) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read the arrays of an .npz, all or only `keys`.

    Raises InputError where it is damaged, lacks a key or holds anything but plain arrays; FileNotFoundError without it.
    """
    try:
        with storage.local(path) as copy, zipfile.ZipFile(copy) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            for key in keys:
                if key not in members:
                    raise InputError(f"{path}: no key {key!r}; found: {', '.join(members)[:200] or 'none'}")
            return {key: _read_member(archive, members[key]) for key in keys or members}
    except (InputError, FileNotFoundError):
        raise
    except Exception as error:  # untrusted input: zipfile, zlib and NumPy may raise anything
        raise InputError(f"{path}: not a readable .npz of plain arrays ({one_line(error)[:300]})") from error


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write an .npy atomically."""
    with replacing(path) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def map_npy(path: Path) -> np.ndarray:
    """Memory-map an .npy, or a temporary copy of a store's; raise InputError where it is missing or damaged."""
    try:
        with storage.local(path) as copy:
            return np.lib.format.open_memmap(copy, mode="r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected an .npy of plain numbers") from error
    except Exception as error:  # untrusted input
        raise InputError(f"{path}: not a readable .npy of plain numbers ({one_line(error)[:300]})") from error


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    with storage.path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # all open files have readinto


def _sync(path: pathlib.Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, allow_nan=False).encode()).hexdigest()


def _finite(digits: str) -> float:
    return float(digits) if math.isfinite(float(digits)) else _refuse(digits)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant[:40]} is not a JSON number")


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # at its end, zipfile checks the member's checksum
            raise ValueError(f"{name} is longer than its header says")
    return array
