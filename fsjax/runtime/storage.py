"""Where the files of a run lie: a local folder, or a store that fsspec reaches by URL, such as gs:// and s3://."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from upath import UPath

from fsjax.runtime.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import TypeIs

# Both have pathlib's methods; a file of a store is not an operating system's file, and cannot be mapped or locked.
Path = pathlib.Path | UPath

# Protocol -> the extra of fsjax that installs its driver.
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}


def path(text: str | Path) -> Path:
    """The path that a user wrote: a URL with `://` is one of a store.

    Raises:
      InputError: a protocol that fsspec does not know, or whose driver is not installed.
    """
    if not isinstance(text, str):
        return text
    protocol, url, rest = text.partition("://")
    if not url or protocol == "file":
        return pathlib.Path(rest if url else text).expanduser()
    try:
        # Other processes write there too: what a listing said a while ago is not what is there.
        found = UPath(text, use_listings_cache=False)
        found.fs  # noqa: B018 (looks for the driver)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        advice = f"pip install 'fsjax[{extra}]'" if extra else " ".join(str(error).split())
        raise InputError(f"{text}: {protocol}:// needs a driver that is not installed: {advice}") from error
    except ValueError as error:
        raise InputError(
            f"{text}: got {' '.join(str(error).split())}; "
            "expected a local path, gs://, s3://, or what else fsspec reaches"
        ) from error
    return found


def is_local(where: Path) -> "TypeIs[pathlib.Path]":
    """Whether the operating system itself has the file."""
    return isinstance(where, pathlib.Path)


def check_reachable(where: Path, field: str) -> None:
    """Raises InputError where a store does not answer, or not this user; the folder itself need not be there."""
    if is_local(where):
        return
    try:
        where.fs.ls(where.path)
    except FileNotFoundError:
        pass
    except Exception as error:  # each driver has errors of its own
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{field}: {where} cannot be reached ({reason}); expected a store that answers this machine"
        ) from error


@contextlib.contextmanager
def local(where: Path) -> Iterator[pathlib.Path]:
    """A file as one of the operating system's: itself, or a copy that is gone when the block ends.

    A map of the copy stays whole. An InputError of the block names the file and not the copy.

    Raises:
      FileNotFoundError: there is none.
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


def remove(folder: Path) -> None:
    """Deletes a folder and what is in it, if it is there."""
    if is_local(folder):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        folder.fs.rm(folder.path, recursive=True)
