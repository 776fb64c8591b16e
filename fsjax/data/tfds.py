"""Source of sets that TensorFlow Datasets prepared as array_record, read without TensorFlow."""

import logging
import os

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int32
from ml_collections import ConfigDict
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.data_sources.base import BaseDataSource

from fsjax.data.source import EncodedSource, check_labels, choose_classes
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.image_files import Encoded

logger = logging.getLogger(__name__)

_AT_ONCE = 1024  # records whose labels are read together


def open_tfds(data_config: ConfigDict, split: str) -> EncodedSource:
    """Open data.name ('cifar10', 'cifar10:3.0.2', 'name/config:1.0.0') under data.root ('' = TFDS's default folder).

    Only the set's prepared files are needed, not its code. split: a name or a slice, 'train[:80%]'. Labels are read
    here, in one pass over the split; images are decoded on access. Raises InputError for a set that is unknown, not
    prepared, or prepared as TFRECORD (with the command that prepares it), for an unknown split, and for features other
    than an 'image' and a 'label' with classes.
    """
    builder = _find_builder(data_config.name, os.path.expanduser(data_config.root))
    features = dict(builder.info.features.items())
    image, label = features.get("image"), features.get("label")
    if not isinstance(image, tfds.features.Image) or not isinstance(label, tfds.features.ClassLabel):
        available = ", ".join(f"{key}: {type(feature).__name__}" for key, feature in sorted(features.items()))
        raise InputError(f"data.name: {data_config.name} has {available}; expected image: Image and label: ClassLabel")
    if image.np_dtype not in (np.uint8, np.uint16):
        raise InputError(f"data.name: {data_config.name} has images of {np.dtype(image.np_dtype)}; expected uint8")
    try:
        records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except ValueError as error:
        expected = ", ".join(sorted(builder.info.splits))
        raise InputError(f"{data_config.name}: got split {split!r} ({one_line(error)}); expected {expected}") from error
    where = f"{data_config.name}, split {split}"
    labels = _read_labels(records, where)
    check_labels(labels, where, label.num_classes - 1)
    choice = choose_classes(data_config.classes, label.names, where)
    rows, labels = choice.relabel(labels)

    def encoded(index: int) -> Encoded:
        row = int(rows[index])
        return Encoded(records[row]["image"], f"{row} of {where}")

    return EncodedSource(choice.display, labels, encoded)


def _find_builder(name: str, root: str) -> read_only_builder.ReadOnlyBuilder:
    place = root or "TFDS's own folder"
    try:
        builder = read_only_builder.builder_from_files(name, **({"data_dir": root} if root else {}))
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(f"data.name: {name} is not prepared in {place}; prepare it {_command(name, root)}") from error
    except Exception as error:  # malformed names, damaged metadata: TFDS raises many types, the cause stays attached
        raise InputError(f"data.name: {name!r} in {place} cannot be opened ({one_line(error)})") from error
    formats = {file_format.value for file_format in builder.info.available_file_formats()}
    if "array_record" not in formats:
        # TFDS does not prepare a second format in the same folder.
        new_root = builder.data_dir.removesuffix(f"/{builder.info.full_name}") + "_array_record"
        raise InputError(
            f"data.name: {name} in {place} is prepared as {', '.join(sorted(formats))}, not array_record; "
            f"prepare it in another folder {_command(name, new_root)} and set --config.data.root={new_root}"
        )
    builder.info.set_file_format("array_record", override=True, override_if_initialized=True)
    return builder


def _command(name: str, root: str) -> str:
    folder = f"data_dir={root!r}, " if root else ""
    return (
        'with: python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder({name!r}, {folder}file_format='array_record').download_and_prepare()\""
    )


def _read_labels(records: BaseDataSource, where: str) -> Int32[np.ndarray, " records"]:
    logger.info("%s: reading the labels of %d images", where, len(records))
    labels = np.empty(len(records), np.int32)
    for start in range(0, len(records), _AT_ONCE):
        part = range(start, min(start + _AT_ONCE, len(records)))
        labels[part.start : part.stop] = [record["label"] for record in records.__getitems__(part)]
    return labels
