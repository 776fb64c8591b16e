"""Source of arrays on disk: images and labels as .npy files, or one .npz with the keys images and labels."""

import dataclasses
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int, Int32, Shaped, UInt8
from ml_collections import ConfigDict

from fsjax.data.source import Source, check_labels, choose_classes
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def open_arrays(data_config: ConfigDict, split: str) -> "ArraysSource":
    """Open data.images and data.labels under data.root, '{split}' in their names replaced; .npy is memory-mapped.

    images: [n,h,w,3], [n,3,h,w], [n,h,w,1], [n,1,h,w] or [n,h,w]; uint8, or floats that are clipped to [0,1], times
    255, cut to uint8 (the published form of the synthetic sets, Wang et al., ICCV 2023). labels: integers >= 0, [n]
    or [n,1]. Classes are called '0', '1', ... up to the largest label; data.classes picks among those ('3=cat,5=dog')
    or names them in order ('plane,car'). Raises InputError for missing files, pickled objects, other types or shapes,
    negative labels, and unequal lengths.
    """
    if not data_config.root:
        raise InputError("data.root: got nothing; expected the folder that holds the arrays")
    root = storage.path(data_config.root)
    storage.check_reachable(root, "data.root")
    images_path = _existing(root / data_config.images.format(split=split))
    if images_path.suffix == ".npz":
        arrays = files.read_npz(images_path, ("images", "labels"))
        images, labels, labels_name = arrays["images"], arrays["labels"], f"labels in {images_path}"
    else:
        labels_path = _existing(root / data_config.labels.format(split=split))
        images, labels, labels_name = files.map_npy(images_path), files.map_npy(labels_path), str(labels_path)
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(labels),), (len(labels), 1)):
        raise InputError(f"{labels_name}: got {labels.dtype} {list(labels.shape)}; expected integers [n] or [n,1]")
    labels, images = np.asarray(labels).reshape(-1), _channels_last(images, str(images_path))
    check_labels(labels, labels_name)
    if len(images) != len(labels):
        expected = f"{len(images)}, as {images_path} has images"
        raise InputError(f"{labels_name}: got {len(labels)} labels; expected {expected}")
    numbers = [str(label) for label in range(int(labels.max(initial=-1)) + 1)]
    choice = choose_classes(data_config.classes, numbers, labels_name)
    rows, labels = choice.relabel(labels)
    return ArraysSource(choice.display, images, rows, labels, str(images_path))


@dataclasses.dataclass
class ArraysSource(Source):
    """A Source of rows of an array; rows: indices of the used images. name: what errors call the array."""

    classes: tuple[str, ...]
    images: Shaped[np.ndarray, "all height width channels"]
    rows: Int[np.ndarray, " images"]
    labels: Int32[np.ndarray, " images"]
    name: str
    planted: dict | None = None

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "height width 3"]:
        row = self.rows[index]
        image = np.asarray(self.images[row])
        if image.dtype != np.uint8:
            if not np.isfinite(image).all():
                raise InputError(f"{self.name}: image {row} has values that are not finite; expected 0 to 1")
            image = (np.clip(image, 0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"data.images, data.labels: no file {path}; expected the names of files under data.root")
    return path


def _channels_last(images: np.ndarray, name: str) -> Shaped[np.ndarray, "all height width channels"]:
    shape = images.shape
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise InputError(f"{name}: got {images.dtype}; expected uint8 in [0,255] or floats in [0,1]")
    if images.dtype != np.uint8 and np.nanmax(images[:16], initial=0) > 16:
        raise InputError(f"{name}: got floats up to {np.nanmax(images[:16]):g}; expected floats in [0,1], or uint8")
    if len(shape) == 3:
        return images[..., None]
    if len(shape) == 4 and shape[3] in (1, 3):
        return images
    if len(shape) == 4 and shape[1] in (1, 3):
        return np.moveaxis(images, 1, 3)
    raise InputError(f"{name}: got shape {list(shape)}; expected [n,h,w,3], [n,3,h,w], [n,h,w,1], [n,1,h,w], [n,h,w]")
