"""Data: sources of images, the model's preprocessing, training batches and augmentation."""

import importlib
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from fsjax.data.arrays import open_arrays
from fsjax.data.dataset import Dataset, batches
from fsjax.data.folder import open_folder
from fsjax.data.jpeg import open_jpeg
from fsjax.data.normalisation import measure_mean_std
from fsjax.data.source import Source, check_every_class_has_images, find_decodable
from fsjax.data.synthetic import open_synthetic
from fsjax.runtime import config_fields
from fsjax.runtime.errors import EXTRAS, InputError, check_known, expect, require
from fsjax.runtime.image_files import INTERPOLATIONS
from fsjax.runtime.random_streams import Stream, generator

__all__ = ["SOURCES", "Dataset", "Source", "batches", "load", "measure_mean_std", "split_off_validation"]

SPLITS = ("train", "validation", "test")


def load(data_config: ConfigDict, split: str, seed: int) -> Dataset:
    """Load the images of one split, at the model's size.

    split: 'train', 'validation' or 'test'. Train and validation are a partition of data.train_split drawn by seed,
    data.validation_share of each class; 'test' is data.test_split. data_config: the fields under config.data.
    Raises InputError for a value that is not accepted, data that cannot be read and a class without images.
    """
    check(data_config)
    check_known("split", split, SPLITS)
    if split == "validation" and data_config.validation_share == 0:
        raise InputError("data.validation_share: got 0; expected above 0 for a validation split")
    split_name = data_config.test_split if split == "test" else data_config.train_split
    source = SOURCES[data_config.source](data_config, split_name)
    where = f"split {split_name!r} of data.source {data_config.source}"
    rows = find_decodable(source, where) if data_config.skip_undecodable else np.arange(len(source))
    resizing = data_config.resize_shorter, data_config.interpolation
    whole = Dataset(source, data_config.image_size, data_config.cache_gib, rows, *resizing)
    check_every_class_has_images(whole, where)
    if split == "test":
        return whole
    train, validation = split_off_validation(whole.labels, data_config.validation_share, seed)
    chosen = train if split == "train" else validation
    if len(chosen) == 0:
        raise InputError(f"data: split {split_name!r} has no {split} images; expected a class with two images or more")
    return whole.subset(chosen)


def check(data_config: ConfigDict) -> None:
    """Raise InputError for a field of config.data that cannot be used; reads no file."""
    config_fields.check(data_config, "data.")
    source, size, shorter = data_config.source, data_config.image_size, data_config.resize_shorter
    check_known("data.source", source, SOURCES)
    if source in EXTRAS:
        require(source)
    larger = f"0 (both sides to data.image_size), or data.image_size, {size}, or more"
    levels = "three numbers, or () for both of data.mean and data.std"
    expect(shorter == 0 or shorter >= size, "data.resize_shorter", shorter, larger)
    can_resize = shorter == 0 or source not in ("synthetic", "jpeg")
    expect(can_resize, "data.resize_shorter", shorter, f"0 for data.source={source}")
    check_known("data.interpolation", data_config.interpolation, INTERPOLATIONS)
    expect(len(data_config.mean) in (0, 3), "data.mean", data_config.mean, levels)
    expect(len(data_config.std) == len(data_config.mean), "data.std", data_config.std, levels)


def split_off_validation(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted positions (train, validation) of int labels [images], split class by class by seed.

    A class of n images gives round(share * n) to validation, but at least one, and keeps at least one for training
    first. share 0 gives none.
    """
    rng = generator(seed, Stream.VALIDATION_SPLIT)
    in_validation = np.zeros(len(labels), bool)
    for label in np.unique(labels) if share else ():
        members = np.flatnonzero(labels == label)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        in_validation[rng.permutation(members)[:count]] = True
    return np.flatnonzero(~in_validation), np.flatnonzero(in_validation)


# name -> open(data_config, split name) -> Source; what needs an extra is imported on first use.
SOURCES: dict[str, Callable[[ConfigDict, str], Source]] = {
    "synthetic": open_synthetic,
    "folder": open_folder,
    "arrays": open_arrays,
    "jpeg": open_jpeg,
    "tfds": lambda *arguments: importlib.import_module("fsjax.data.tfds").open_tfds(*arguments),
    "huggingface": lambda *arguments: importlib.import_module("fsjax.data.huggingface").open_huggingface(*arguments),
}
