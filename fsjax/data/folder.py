"""Source of image folders: <root>/<split>/<class>/*.jpg."""

import logging
import os
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from fsjax.data.source import EncodedSource, choose_classes
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError, expect, printable
from fsjax.runtime.image_files import Encoded
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
# Names of the folder of test images.
_TEST = ("test", "val", "valid", "validation")


def open_folder(data_config: ConfigDict, split: str) -> "FolderSource":
    """List <data.root>/<split>/<class>/ as `read_classes` does; raise InputError for a missing root or split.

    Where there is no folder test, the split test is in val, valid or validation.
    """
    root = check_folder(data_config.root, "data.root", "<split>/<class>/")
    names = _TEST if split == _TEST[0] else (split,)
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        available = ", ".join(_folders(root)) or "a folder for each split"
        raise InputError(f"data.root: {root} has no folder for split {split!r}; expected {available}")
    return read_classes(folder, data_config.classes)


def check_folder(text: str, field: str, layout: str) -> Path:
    """Return the folder that a field names; raise InputError where it is none. layout: of its subfolders."""
    folder = storage.path(text)
    if text:
        storage.check_reachable(folder, field)
    expect(bool(text) and folder.is_dir(), field, text, f"a folder with {layout} folders in it")
    return folder


def read_classes(folder: Path, classes: str | Sequence[str]) -> "FolderSource":
    """List the images of <folder>/<class>/, class by class in index order and sorted by name in each class.

    classes: as `choose_classes` reads it; '' or () = all class folders, sorted. Raises InputError for no class folders,
    a class that is missing, or a class without images.
    """
    names = class_folders(folder)
    if not names:
        raise InputError(f"{folder}: got no class folders; expected <class>/*{EXTENSIONS[0]} in it")
    choice = choose_classes(classes, names, str(folder))
    files = [image_files(folder / names[index]) for index in choice.indices]
    for index, paths in zip(choice.indices, files, strict=True):
        if not paths:
            expected = f"one or more for each class, {', '.join(EXTENSIONS)}"
            raise InputError(f"{folder / names[index]}: got no images; expected {expected}")
    return FolderSource(choice.display, files)


class FolderSource(EncodedSource):
    """A Source of image files; files: the paths of each class's images."""

    def __init__(self, classes: tuple[str, ...], files: Sequence[Sequence[str]]):
        labels = np.repeat(np.arange(len(files), dtype=np.int32), [len(paths) for paths in files])
        super().__init__(classes, labels, self._read, [path for paths in files for path in paths])

    def _read(self, index: int) -> Encoded:
        file = self.files[index]
        where = storage.path(file)
        return Encoded(file if storage.is_local(where) else where.read_bytes(), file)


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder; log those that no class has, hidden ones and __MACOSX."""
    names = _folders(folder)
    if stray := [name for name in names if name.startswith(".") or name == "__MACOSX"]:
        logger.info("%s: left out the folders %s", folder, ", ".join(map(printable, stray)))
    return [name for name in names if name not in stray]


def image_files(folder: Path) -> list[str]:
    """Return the sorted paths of the images in a folder, without its subfolders."""
    names = [name for name, is_folder in _listed(folder) if not is_folder and name.lower().endswith(EXTENSIONS)]
    return sorted(f"{folder}/{name}" for name in names)


def _folders(folder: Path) -> list[str]:
    return sorted(name for name, is_folder in _listed(folder) if is_folder)


def _listed(folder: Path) -> list[tuple[str, bool]]:
    """Return the names in a folder and whether each is a folder; a store gets one request."""
    if storage.is_local(folder):
        try:
            return [(entry.name, entry.is_dir()) for entry in os.scandir(folder)]
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error.strerror}); expected a folder of images") from error
    entries = [(entry["name"].strip("/"), entry["type"]) for entry in folder.fs.ls(folder.path, detail=True)]
    # Some stores list the folder itself.
    return [(path.rpartition("/")[2], kind == "directory") for path, kind in entries if path != folder.path.strip("/")]
