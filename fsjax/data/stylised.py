"""Stylised copies of the training images, in a folder of their own, trained on beside them (SIN)."""

import logging
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int, Int32, UInt8
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.folder import EXTENSIONS, FolderSource, decodable, image_files
from fsjax.data.source import parse_classes
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)


class JoinedDataset:
    """Two data sets of the same classes as one; the images of the second follow those of the first."""

    def __init__(self, first: Dataset, second: Dataset):
        self._first, self._second = first, second
        self.classes: tuple[str, ...] = first.classes
        self.image_size: int = first.image_size
        self.labels: Int32[np.ndarray, " images"] = np.concatenate([first.labels, second.labels])

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: Iterable[int] | Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n size size 3"]:
        """As Dataset.images."""
        indices = np.asarray(indices, int)
        later = indices >= len(self._first)
        images = np.empty((len(indices), self.image_size, self.image_size, 3), np.uint8)
        images[~later] = self._first.images(indices[~later])
        images[later] = self._second.images(indices[later] - len(self._first))
        return images


def join_stylised(training: Dataset, root: str, data_config: ConfigDict) -> JoinedDataset:
    """Join the training images and all images of <root>/<class>/, resized alike.

    Folders are named as data.classes names the data's classes, or where it is '' as the data does; others are not read.
    data.cache_gib holds for the training images and, once more, for these.
    Raises InputError where the root is not a folder, or a class has no folder or no image there.
    """
    folder = check(root)
    names = [name for name, _ in parse_classes(data_config.classes)] or training.classes
    missing = [name for name in names if not (folder / name).is_dir()]
    files = [image_files(folder / name) for name in names if name not in missing]
    if data_config.skip_undecodable:
        files = decodable(files, folder)
    if missing := missing or [name for name, paths in zip(names, files, strict=True) if not paths]:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(
            f"train.stylised: {root} has no images of class {', '.join(missing[:5])}{more}; "
            f"expected <train.stylised>/<class>/*{EXTENSIONS[0]} for each class of the data"
        )
    source = FolderSource(training.classes, files)
    logger.info("train: %d stylised images beside %d", len(source), len(training))
    shorter = data_config.resize_shorter
    copies = Dataset(source, data_config.image_size, data_config.cache_gib, resize_shorter=shorter)
    return JoinedDataset(training, copies)


def check(root: str) -> Path:
    """Return the folder that train.stylised names; raise InputError where it is not one."""
    folder = storage.path(root)
    if not folder.is_dir():
        raise InputError(f"train.stylised: got {root!r}; expected a folder with <class>/ folders in it")
    return folder
