"""Source of two classes from any folder of photographs: `real`, as they are, and `fake`, compressed as JPEG.

Each photograph is in both classes, so a network that learns them is a detector of JPEG. Photographs of twice
data.image_size or more lose their own 8 x 8 blocks when they are resized.
"""

import zlib
from collections.abc import Iterator
from typing import SupportsIndex

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from fsjax.data.folder import EXTENSIONS, check_folder, class_folders, image_files
from fsjax.data.source import Source, choose_classes
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError, check_known
from fsjax.runtime.image_files import decode, jpeg, resize
from fsjax.runtime.storage import Path

CLASSES = ("real", "fake")


def open_jpeg(data_config: ConfigDict, split: str) -> "JpegSource":
    """List all images under data.root, in folders or not: about a quarter for 'test', the others for 'train'.

    The path under data.root decides about the split, so more photographs move none. Raises InputError for a missing
    folder, no images, and another split.
    """
    check_known("data.train_split, data.test_split", split, ("train", "test"))
    root = check_folder(data_config.root, "data.root", "photographs, or")
    files = list(_images_under(root))
    if not files:
        raise InputError(f"data.root: got no images in {root}; expected {', '.join(EXTENSIONS)}")
    tested = [zlib.crc32(file.removeprefix(str(root)).encode()) % 4 == 0 for file in files]
    files = [file for file, in_test in zip(files, tested, strict=True) if in_test == (split == "test")]
    choice = choose_classes(data_config.classes, CLASSES, "data.source jpeg")
    qualities = [data_config.quality if CLASSES[index] == "fake" else 0 for index in choice.indices]
    return JpegSource(choice.display, files, qualities, data_config.image_size)


class JpegSource(Source):
    """Images of `size` x `size` pixels, all files of a class after those of another.

    qualities: of JPEG, for each class, 0 = not compressed.
    """

    def __init__(self, classes: tuple[str, ...], files: list[str], qualities: list[int], size: int):
        self.classes, self.files, self.size = classes, files * len(classes), size
        self.labels = np.repeat(np.arange(len(classes), dtype=np.int32), len(files))
        self.qualities = np.repeat(qualities, len(files))

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "size size 3"]:
        file, quality = self.files[int(index)], int(self.qualities[int(index)])
        where = storage.path(file)
        image = resize(decode(file if storage.is_local(where) else where.read_bytes(), file), self.size)
        return jpeg(image, quality) if quality else image


def _images_under(folder: Path) -> Iterator[str]:
    yield from image_files(folder)
    for name in class_folders(folder):
        yield from _images_under(folder / name)
