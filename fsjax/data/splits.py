"""Splits for calls from Python: arrays, a folder of class folders, a datasets.Dataset, a sequence of (image, label)."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Num
from PIL import Image

from fsjax.data.dataset import ArrayDataset, Dataset
from fsjax.data.folder import check_folder, read_classes
from fsjax.data.overlap import check_apart
from fsjax.data.source import (
    IMAGE_SIZES,
    LARGEST_LABEL,
    Source,
    check_every_class_has_images,
    check_labels,
    check_names,
)
from fsjax.runtime.config_fields import check_number
from fsjax.runtime.errors import InputError
from fsjax.runtime.image_files import resize, to_rgb

# An array with so many rows, and more columns and channels than any image has, has its channels first.
_CHANNELS = (1, 3)
# Normalised images that are never negative stay below it.
_HIGHEST_NORMALISED = 100


def open_splits(
    splits: Mapping[str, Any],
    *,
    classes: Sequence[str] | None,
    mean_std: tuple[np.ndarray, np.ndarray],
    image_size: int | None,
) -> dict[str, Dataset]:
    """Return the images of each split; all have the same classes, in the same order. Raises InputError.

    Args:
      splits: name for messages -> (images, labels) as arrays; the path of a folder <class>/*.jpg; a datasets.Dataset
        with one column of Image and one of ClassLabel; or a sequence of (image, label) of arrays or PIL images.
      classes: display names in index order, a choice where the split has names; None = its names, or '0', '1', ...
      mean_std: of pixels in [0, 1], per channel; NORMALISED where images are normalised already.
      image_size: folders, datasets.Dataset and other uint8 images are resized to it; None = images keep their size.
    """
    names = check_names(classes.split(",") if isinstance(classes, str) else classes or (), "classes")
    if image_size is not None:
        check_number("image_size", image_size, IMAGE_SIZES, whole=True)
    opened: dict[str, Dataset] = {}
    for field, split in splits.items():
        if (source := _open_source(split, field, names, len(mean_std[0]), image_size)) is not None:
            assert image_size is not None, "_open_source refuses None"
            opened[field], names = Dataset(source, image_size), source.classes
    others = [field for field in splits if field not in opened]
    largest = len(names) - 1 if names else LARGEST_LABEL
    arrays = {field: _arrays(splits[field], field, largest, len(mean_std[0]), image_size) for field in others}
    if not names:
        names = tuple(map(str, range(max(int(labels.max(initial=0)) for _, labels in arrays.values()) + 1)))
    opened |= {field: ArrayDataset(images, labels, names) for field, (images, labels) in arrays.items()}
    if len(names) == 1 and "test" in splits:
        raise InputError(f"classes: got one, {names[0]!r}; expected two or more for verdicts")
    for field in splits:
        check_every_class_has_images(opened[field], f"{field} labels")
    shapes = {field: opened[field].images([0]).shape[1:] for field in splits}
    if len(set(shapes.values())) > 1:
        (first, shape), (second, other), *_ = shapes.items()
        raise InputError(f"{second}: got images of shape {other}; expected {shape}, as {first} has")
    check_apart(opened)
    return {field: opened[field] for field in splits}


def normalised_images(images: Any, field: str) -> Float32[np.ndarray, "images height width channels"]:
    """Return normalised images as float32; raise InputError for pixels, NaN, or channels before height and width."""
    images = _check_shape(np.asarray(images), field)
    if images.dtype.kind != "f":
        expected = "normalised floats, (images / 255 - mean) / std, or with mean_std where that is an argument"
        raise InputError(f"{field}: got {images.dtype}; expected {expected}")
    images = images.astype(np.float32, copy=False)
    finite = np.isfinite(images).all((1, 2, 3))
    if not finite.all():
        raise InputError(f"{field}: got NaN or infinity in image {np.argmin(finite)}; expected finite numbers")
    return images


def _open_source(
    split: Any, field: str, names: tuple[str, ...], channels: int, image_size: int | None
) -> Source | None:
    """Return the source of a folder or a datasets.Dataset; None for another split."""
    is_folder = isinstance(split, str | os.PathLike)
    if not is_folder and type(split).__module__ != "datasets.arrow_dataset":
        return None
    kind = "folder" if is_folder else "datasets.Dataset"
    if image_size is None:
        raise InputError(f"image_size: got nothing; expected the model's, since {field} is a {kind}")
    if not channels:
        expected = "the model's, or ((0, 0, 0), (1, 1, 1)) for pixels in [0, 1]"
        raise InputError(f"mean_std: got nothing; expected {expected}, since {field} is a {kind}")
    if is_folder:
        return read_classes(check_folder(str(split), field, "<class>/"), names)
    from fsjax.data.huggingface import read_dataset  # here, since it needs an extra

    return read_dataset(split, names, field)


def _arrays(
    split: Any, field: str, largest: int, channels: int, image_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels: grey levels in [0, 255], or normalised images where there is no mean and std."""
    images, labels = _read_arrays(split, field, image_size)
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        got = f"{labels.dtype} of shape {labels.shape}"
        raise InputError(f"{field} labels: got {got}; expected {len(images)} whole numbers")
    check_labels(labels, f"{field} labels", largest)
    if not channels:
        images = normalised_images(images, field)
        if images.min() >= 0 and _HIGHEST_NORMALISED < images.max() <= 255:
            got, expected = f"floats from {images.min():g} to {images.max():g}, as of pixels", "normalised floats"
            raise InputError(f"{field}: got {got}; expected {expected}, or uint8 beside mean_std")
        return images, labels
    images = _check_shape(images, field)
    if images.dtype.kind == "f":
        if not (images.min() >= 0 and images.max() <= 1):  # also False for NaN
            got = f"floats from {images.min():g} to {images.max():g} beside mean_std"
            expected = "pixels in [0, 1] or uint8, or no mean_std where images are normalised already"
            raise InputError(f"{field}: got {got}; expected {expected}")
        return images.astype(np.float32) * np.float32(255), labels
    if images.dtype != np.uint8:
        raise InputError(f"{field}: got {images.dtype}; expected uint8, or floats in [0, 1]")
    if channels not in (1, images.shape[3]):
        raise InputError(f"mean_std: got {channels} channels; expected {images.shape[3]}, as {field} has")
    return images, labels


def _read_arrays(split: Any, field: str, image_size: int | None) -> tuple[np.ndarray, np.ndarray]:
    try:
        if isinstance(split, tuple | list) and len(split) == 2 and not all(map(_is_pair, split)):
            images, labels = split
        else:
            images, labels = zip(*(split[index] for index in range(len(split))), strict=True)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        expected = "(images, labels), a folder, a datasets.Dataset, or a sequence of (image, label)"
        raise InputError(f"{field}: got {type(split).__name__}; expected {expected}") from error
    if image_size is not None or isinstance(images, tuple | list):
        images = [_resized(image, image_size) for image in images]
        if len(shapes := sorted({image.shape for image in images})) > 1:
            raise InputError(f"{field}: got images of shapes {shapes[0]} and {shapes[-1]}; expected one, or image_size")
    return np.asarray(images), np.asarray(labels)


def _is_pair(item: Any) -> bool:
    """Return whether an item is (image, label)."""
    return isinstance(item, tuple | list) and len(item) == 2 and np.ndim(item[1]) == 0


def _resized(image: Any, image_size: int | None) -> np.ndarray:
    image = np.asarray(to_rgb(image) if isinstance(image, Image.Image) else image)
    if image_size is None or image.shape[:2] == (image_size, image_size):
        return image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image_size} for an image of {image.dtype} and shape {image.shape}"
        raise InputError(f"image_size: got {got}; expected its own size, or uint8 RGB, which is resized")
    return resize(image, image_size)


def _check_shape(images: np.ndarray, field: str) -> Num[np.ndarray, "images height width channels"]:
    if images.ndim != 4 or not len(images):
        raise InputError(f"{field}: got shape {images.shape}; expected [images, height, width, channels], one or more")
    if images.shape[1] in _CHANNELS and min(images.shape[2:]) > 4:
        expected = "[images, height, width, channels]: images.transpose(0, 2, 3, 1)"
        raise InputError(f"{field}: got shape {images.shape}, channels first; expected {expected}")
    return images
