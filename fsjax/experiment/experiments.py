"""Where experiments are: configs/ of a checkout, or what the wheel has of it."""

import pathlib
import sys

import fsjax

_PACKAGE = pathlib.Path(fsjax.__file__).parent
_SHIPPED = _PACKAGE / "shipped" / "configs"


def folder() -> pathlib.Path:
    """Return the folder of experiments that belongs to this installation of fsjax."""
    return _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parent / "configs"


def file_of(path: str) -> str:
    """Return the file of an experiment: `path` itself, or the shipped one of that name.

    `dfm_vit`, `dfm_vit.py` and `configs/dfm_vit.py` name fsjax's own from any folder where no such file exists. What
    names neither is returned as it is.
    """
    if not path or pathlib.Path(path).is_file():
        return path
    asked = pathlib.PurePath(path)
    shipped = folder() / f"{asked.stem}.py"
    own = asked.parent.as_posix() in (".", "configs") and asked.suffix in ("", ".py")
    return str(shipped) if own and shipped.is_file() and asked.stem != "common" else path


def make_importable() -> None:
    """Let experiments, also a user's own, import fsjax's: `from configs import common`."""
    parent = str(folder().parent)
    if parent not in sys.path:
        sys.path.append(parent)
