"""Where the files of a run lie: a local folder, or a store that fsspec reaches by URL, such as gs:// and s3://."""

import pathlib

from upath import UPath

# Both have pathlib's methods; a file of a store is not an operating system's file, and cannot be mapped or locked.
Path = pathlib.Path | UPath


def path(text: str) -> Path:
    """The path that a user wrote: a URL with `://` is one of a store."""
    return UPath(text) if "://" in text else pathlib.Path(text).expanduser()


def is_local(where: Path) -> bool:
    """Whether the operating system itself has the file."""
    return isinstance(where, pathlib.Path)
