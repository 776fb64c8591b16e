"""Data: sources of images, the model's preprocessing, training batches and augmentation."""

from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from fsjax.data.arrays import open_arrays
from fsjax.data.dataset import Dataset
from fsjax.data.folder import open_folder
from fsjax.data.loader import batches
from fsjax.data.normalisation import measure_mean_std
from fsjax.data.source import Source, check_every_class_has_images
from fsjax.data.synthetic import open_synthetic
from fsjax.runtime.errors import EXTRAS, InputError, require
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
    if split not in SPLITS:
        raise InputError(f"split: got {split!r}; expected {', '.join(SPLITS)}")
    if split == "validation" and data_config.validation_share == 0:
        raise InputError("data.validation_share: got 0; expected above 0 for a validation split")
    split_name = data_config.test_split if split == "test" else data_config.train_split
    source = SOURCES[data_config.source](data_config, split_name)
    check_every_class_has_images(source, f"split {split_name!r} of data.source {data_config.source}")
    rows = np.arange(len(source))
    if split != "test":
        train, validation = split_off_validation(source.labels, data_config.validation_share, seed)
        rows = train if split == "train" else validation
    if len(rows) == 0:
        raise InputError(f"data: split {split_name!r} has no {split} images; expected a class with two images or more")
    return Dataset(source, data_config.image_size, data_config.cache_gib, rows, data_config.resize_shorter)


def check(data_config: ConfigDict) -> None:
    """Raise InputError for a field of config.data that cannot be used; reads no file."""
    if data_config.source not in SOURCES:
        raise InputError(f"data.source: got {data_config.source!r}; expected {', '.join(SOURCES)}")
    if data_config.source in EXTRAS:
        require(data_config.source)
    if data_config.image_size < 1:
        raise InputError(f"data.image_size: got {data_config.image_size}; expected whole numbers from 1")
    shorter = data_config.resize_shorter
    if shorter != 0 and shorter < data_config.image_size:
        raise InputError(
            f"data.resize_shorter: got {shorter}; expected 0 (both sides to data.image_size), or data.image_size, "
            f"{data_config.image_size}, or more"
        )
    if shorter != 0 and data_config.source == "synthetic":  # scaling moves planted orbits
        raise InputError(f"data.resize_shorter: got {shorter}; expected 0 for data.source=synthetic")
    if not 0 <= data_config.validation_share < 1:
        raise InputError(
            f"data.validation_share: got {data_config.validation_share}; expected 0 or more, and less than 1"
        )
    for field in ("mean", "std"):
        values = data_config[field]
        if bool(values) != bool(data_config.mean or data_config.std):
            raise InputError(
                f"data.{field}: got nothing; expected three numbers, as the other of data.mean and data.std"
            )
        if values and not (len(values) == 3 and all(_is_level(value, field) for value in values)):
            raise InputError(
                f"data.{field}: got {tuple(values)}; expected three numbers in [0, 1], a std above 0, or ()"
            )
    if not data_config.cache_gib >= 0:
        raise InputError(f"data.cache_gib: got {data_config.cache_gib}; expected 0 (keep none) or more")


def _is_level(value: object, field: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= 1 and not (field == "std" and value == 0)


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


def _open_tfds(data_config: ConfigDict, split: str) -> Source:
    from fsjax.data.tfds import open_tfds  # on first use, since importing TFDS takes seconds

    return open_tfds(data_config, split)


def _open_huggingface(data_config: ConfigDict, split: str) -> Source:
    from fsjax.data.huggingface import open_huggingface  # on first use, since it needs an extra and takes seconds

    return open_huggingface(data_config, split)


# name -> open(data_config, split name) -> Source
SOURCES: dict[str, Callable[[ConfigDict, str], Source]] = {
    "synthetic": open_synthetic,
    "folder": open_folder,
    "arrays": open_arrays,
    "tfds": _open_tfds,
    "huggingface": _open_huggingface,
}
