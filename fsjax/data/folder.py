"""Source of image folders: <root>/<split>/<class>/*.jpg."""

import os
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int32
from ml_collections import ConfigDict

from fsjax.data.source import EncodedSource, choose_classes, find_decodable
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.image_files import Encoded, decode
from fsjax.runtime.storage import Path

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def open_folder(data_config: ConfigDict, split: str) -> "FolderSource":
    """List <data.root>/<split>/<class>/, class by class in index order, files in plain sorted order.

    Classes are the sorted folder names, or those that data.classes names. With data.skip_undecodable every file is
    decoded once here and those that fail are left out. Raises InputError for a missing root or split, a class that
    is not there and a class without images; reading an image that does not decode raises InputError too.
    """
    folder = _split_folder(data_config.root, split)
    names = [name for name in _folders(folder) if not name.startswith(".")]
    if not names:
        raise InputError(f"{folder}: got no class folders; expected <data.root>/<split>/<class>/*{EXTENSIONS[0]}")
    choice = choose_classes(data_config.classes, names, str(folder))
    class_folders = [folder / names[i] for i in choice.indices]
    files = [image_files(class_folder) for class_folder in class_folders]
    if data_config.skip_undecodable:
        files = decodable(files, folder)
    for class_folder, paths in zip(class_folders, files, strict=True):
        if not paths:
            kind = "that decode" if data_config.skip_undecodable else f"({', '.join(EXTENSIONS)})"
            raise InputError(f"{class_folder}: got no images {kind}; expected one or more for each class")
    return FolderSource(choice.display, files)


class FolderSource(EncodedSource):
    """A Source of image files; files: the paths of each class's images."""

    def __init__(self, classes: tuple[str, ...], files: Sequence[Sequence[str]]):
        self.classes = classes
        self.files = [path for paths in files for path in paths]
        self.labels: Int32[np.ndarray, " images"] = np.repeat(
            np.arange(len(files), dtype=np.int32), [len(paths) for paths in files]
        )

    def encoded(self, index: SupportsIndex) -> Encoded:
        return _encoded(self.files[index], "; --config.data.skip_undecodable=True leaves such images out")


def _split_folder(root: str, split: str) -> Path:
    if not root:
        raise InputError("data.root: got nothing; expected a folder with <split>/<class>/ folders in it")
    folder = storage.path(root)
    storage.check_reachable(folder, "data.root")
    if not folder.is_dir():
        raise InputError(f"data.root: got {root!r}; expected a folder with <split>/<class>/ folders in it")
    if not (folder / split).is_dir():
        available = ", ".join(_folders(folder)) or "a folder for each split"
        raise InputError(f"data.root: {root} has no folder for split {split!r}; expected {available}")
    return folder / split


def image_files(folder: Path) -> list[str]:
    """Return the sorted paths of the images in a folder, but not in its subfolders."""
    names = [name for name, is_folder in _listed(folder) if not is_folder and name.lower().endswith(EXTENSIONS)]
    return sorted(f"{folder}/{name}" for name in names)


def _folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder."""
    return sorted(name for name, is_folder in _listed(folder) if is_folder)


def _listed(folder: Path) -> list[tuple[str, bool]]:
    """Return the names in a folder and whether each is a folder, of a store in one request."""
    if storage.is_local(folder):
        try:
            return [(entry.name, entry.is_dir()) for entry in os.scandir(folder)]
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error.strerror}); expected a folder of images") from error
    entries = [(entry["name"].strip("/"), entry["type"]) for entry in folder.fs.ls(folder.path, detail=True)]
    # Some stores list the folder itself.
    return [(path.rpartition("/")[2], kind == "directory") for path, kind in entries if path != folder.path.strip("/")]


def _encoded(file: str, advice: str = "") -> Encoded:
    where = storage.path(file)
    return Encoded(file if storage.is_local(where) else where.read_bytes(), file, advice)


def decodable(files: list[list[str]], folder: Path) -> list[list[str]]:
    """Return the files of each class that decode; `folder` is what the log calls the set."""
    every = [path for paths in files for path in paths]
    names = ["/".join(path.rsplit("/", 2)[-2:]) for path in every]
    good = iter(find_decodable(lambda index: decode(*_encoded(every[index])), names, str(folder)))
    return [[path for path in paths if next(good)] for paths in files]
