"""Paths on a disk, and in stores that fsspec reaches by URL, such as gs:// and s3://."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from upath import UPath

from fsjax.runtime.errors import InputError, one_line

if TYPE_CHECKING:
    from typing_extensions import TypeIs

# Both have pathlib's methods; a file in a store cannot be mapped or locked.
Path = pathlib.Path | UPath

# Protocol -> extra of fsjax that installs its driver.
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}


def path(text: str | Path) -> Path:
    """Return the path that a user wrote; raise InputError for a URL that fsspec or its drivers here do not know."""
    if not isinstance(text, str):
        return text
    protocol, url, rest = text.partition("://")
    if not url or protocol == "file":
        return pathlib.Path(rest if url else text).expanduser()
    try:
        # No cached listings, since other processes write there too.
        place = UPath(text, use_listings_cache=False)
        place.fs  # noqa: B018 (imports the driver)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        advice = f"pip install 'fsjax[{extra}]'" if extra else one_line(error)
        raise InputError(f"{text}: {protocol}:// needs a driver that is not installed: {advice}") from error
    except ValueError as error:
        expected = "expected a local path, gs://, s3://, or what else fsspec reaches"
        raise InputError(f"{text}: got {one_line(error)}; {expected}") from error
    return place


def is_local(where: Path) -> "TypeIs[pathlib.Path]":
    """Return whether a path is on a disk."""
    return isinstance(where, pathlib.Path)


def check_reachable(where: Path, field: str) -> None:
    """Raise InputError if a store does not answer this user; the folder itself need not exist."""
    if is_local(where):
        return
    try:
        where.fs.ls(where.path)
    except FileNotFoundError:
        pass
    except Exception as error:  # each driver has its own errors
        got = f"{where} cannot be reached ({one_line(error)[:300]})"
        raise InputError(f"{field}: {got}; expected a store that answers this machine") from error


@contextlib.contextmanager
def local(where: Path) -> Iterator[pathlib.Path]:
    """Yield a local file: the file itself, or a copy that is deleted when the block ends.

    A memory map of the copy stays valid. An InputError of the block names the original file. Without a file, raise
    FileNotFoundError.
    """
    if is_local(where):
        yield where
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / where.name
        where.fs.get_file(where.path, str(copy))
        try:
            yield copy
        except InputError as error:
            raise InputError(str(error).replace(str(copy), str(where))) from error


def remove(where: Path) -> None:
    """Delete a file, or a folder with its content, if it exists."""
    if is_local(where):
        shutil.rmtree(where, ignore_errors=True) if where.is_dir() else where.unlink(missing_ok=True)
    elif where.exists():
        where.fs.rm(where.path, recursive=True)
