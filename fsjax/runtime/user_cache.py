"""The folder of a user's cache, where files that can be made again are kept for later runs."""

import os
import pathlib
import tempfile


def folder(name: str) -> pathlib.Path:
    """Return $XDG_CACHE_HOME/fsjax/`name` or ~/.cache/fsjax/`name`, made where it is missing.

    XDG_CACHE_HOME is read by the XDG Base Directory Specification, which ignores relative paths.

    Raises:
      OSError: it cannot be written.
      RuntimeError: there is no home folder.
    """
    named = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    place = (named if named.is_absolute() else pathlib.Path.home() / ".cache") / "fsjax" / name
    place.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=place).close()
    return place
