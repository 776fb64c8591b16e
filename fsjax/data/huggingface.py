"""Source of sets of the `datasets` library: from the Hugging Face hub, parquet files, or a save_to_disk folder."""

import os
import pathlib
from collections.abc import Sequence

import datasets
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from fsjax.data.source import EncodedSource, check_labels, choose_classes
from fsjax.runtime import storage
from fsjax.runtime.errors import InputError, expect, one_line, unknown
from fsjax.runtime.image_files import Encoded, undecodable

_FILES = "a folder that save_to_disk wrote, or a file or folder of parquet"


def open_huggingface(data_config: ConfigDict, split: str) -> EncodedSource:
    """Open the files of data.root or, where it is '', the set data.name of the Hugging Face hub.

    split: a name or a slice, 'train[:80%]'; a set without splits has the split 'train'. The columns are the only Image
    and the only ClassLabel, or data.huggingface.image and .label; a label may also be a whole number, with classes '0',
    '1', ..., or a string. Labels are read here, in one pass; images are decoded on access. Raises InputError for a set
    that cannot be opened, an unknown split, columns that are missing or ambiguous, and labels missing or negative.
    """
    splits, name = _open(data_config)
    records, where = _choose_split(splits, split, name, data_config), f"{name}, split {split}"

    def column(field: str, feature: type) -> str:
        named = data_config.huggingface[field]
        if named and named not in records.features:
            raise unknown(f"data.huggingface.{field}", named, records.features)
        return named or _only_column(records, feature, where, f", or --config.data.huggingface.{field}=NAME")

    image, label = column("image", datasets.Image), column("label", datasets.ClassLabel)
    # A row may name any file of this machine.
    root = os.path.abspath(data_config.root)
    caches = [str(getattr(datasets.config, name)) for name in ("HF_CACHE_HOME", "HF_DATASETS_CACHE")]
    folders = [os.path.dirname(root) if os.path.isfile(root) else root] if data_config.root else caches
    return _read(records, image, label, data_config.classes, where, folders)


def read_dataset(records: datasets.Dataset, classes: Sequence[str], where: str) -> EncodedSource:
    """Return the images of an opened set with one column of Image and one of ClassLabel; messages call it `where`.

    classes: the used classes in index order; () = all. Raises InputError for other columns and for missing labels.
    """
    advice = ": cast_column makes a column one, remove_columns leaves one"
    image, label = (_only_column(records, kind, where, advice) for kind in (datasets.Image, datasets.ClassLabel))
    return _read(records, image, label, classes, where)


def _open(data_config: ConfigDict) -> tuple[dict[str, datasets.Dataset], str]:
    """Return the splits of a set by name, and what messages call the set."""
    root = data_config.root
    field, got = ("data.root", root) if root else ("data.name", data_config.name)
    expected = _FILES if root else f"'OWNER/SET' or 'OWNER/SET:CONFIG' of the hub, or data.root={_FILES}"
    path = storage.path(root)
    is_here = not root or (storage.is_local(path) and path.exists())
    expect(is_here, "data.root", root, f"{expected}, on this machine")
    try:
        if not root:
            name, _, config = got.partition(":")
            opened = datasets.load_dataset(name, config or None)
        elif path.is_file():
            opened = datasets.load_dataset("parquet", data_files=str(path))
        elif (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            opened = datasets.load_from_disk(str(path))
        else:
            opened = datasets.load_dataset(str(path))
    except Exception as error:  # of the hub, of files, of Arrow: many types; the cause stays attached
        cause = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else None
        reason = one_line(cause or error)
        raise InputError(f"{field}: got {got!r}, which cannot be opened ({reason}); expected {expected}") from error
    return opened if isinstance(opened, dict) else {str(opened.split or "train"): opened}, got


def _choose_split(
    splits: dict[str, datasets.Dataset], split: str, name: str, data_config: ConfigDict
) -> datasets.Dataset:
    if split in splits:
        return splits[split]
    try:
        parts = datasets.ReadInstruction.from_spec(split).to_absolute({key: len(part) for key, part in splits.items()})
        rows = [splits[part.splitname].select(range(part.from_, part.to)) for part in parts]
        return datasets.concatenate_datasets(rows)
    except Exception as error:  # an unknown name, a malformed or empty slice; the cause stays attached
        field = "data.test_split" if split == data_config.test_split else "data.train_split"
        expected = f"{', '.join(splits)}, or a part of one, such as {next(iter(splits))}[:80%]"
        raise InputError(f"{field}: got {split!r} of {name} ({one_line(error)}); expected {expected}") from error


def _only_column(records: datasets.Dataset, feature: type, where: str, advice: str) -> str:
    named = [name for name, kind in records.features.items() if isinstance(kind, feature)]
    if len(named) == 1:
        return named[0]
    got = ", ".join(f"{name}: {_kind(records, name)}" for name in records.features)
    raise InputError(f"{where}: got the columns {got}; expected one column of {feature.__name__}{advice}")


def _kind(records: datasets.Dataset, column: str) -> str:
    kind = records.features[column]
    return kind.dtype if isinstance(kind, datasets.Value) else type(kind).__name__


def _read(
    records: datasets.Dataset, image: str, label: str, classes: str | Sequence[str], where: str, folders: Sequence = ()
) -> EncodedSource:
    """Return the images of a set; those that are files have to lie in one of the folders, if any are given."""
    records = records.with_format(None)  # else a set's format or transform changes its rows
    labels, names = _read_labels(records, label, where)
    choice = choose_classes(classes, names, where)
    try:
        images = records.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    except Exception as error:  # Arrow's, where the column holds no images; the cause stays attached
        raise InputError(f"{where}: got {_kind(records, image)} in column {image!r}; expected images") from error
    rows, labels = choice.relabel(labels)

    def encoded(index: int) -> Encoded:
        row = int(rows[index])
        stored = images[row][image] or {}
        if content := stored.get("bytes"):
            return Encoded(content, f"{row} of {where}")
        if not (file := stored.get("path")):
            raise undecodable(f"{row} of {where}", "it is empty")
        if folders and not any(pathlib.Path(os.path.abspath(file)).is_relative_to(folder) for folder in folders):
            raise InputError(f"{row} of {where}: got the file {file}; expected one in {folders[0]}")
        return Encoded(file, f"{row} of {where}")

    return EncodedSource(choice.display, labels, encoded)


def _read_labels(records: datasets.Dataset, column: str, where: str) -> tuple[Int[np.ndarray, " all"], list[str]]:
    """Return the labels of all rows, and the names of the classes."""
    kind, where = records.features[column], f"{where}: column {column!r}"
    values = records.select_columns([column]).with_format("arrow")[:].column(0)
    if values.null_count:
        raise InputError(f"{where}: got {values.null_count} rows without a label; expected one a row")
    dtype = _kind(records, column)
    if "string" in dtype:
        names, labels = np.unique(np.array(values.to_pylist(), object), return_inverse=True)
        return labels, names.tolist()
    if dtype != "ClassLabel" and "int" not in dtype:
        raise InputError(f"{where}: got {dtype}; expected ClassLabel, whole numbers or strings")
    labels = values.to_numpy()
    if isinstance(kind, datasets.ClassLabel):
        check_labels(labels, where, kind.num_classes - 1)
        return labels, list(kind.names)
    check_labels(labels, where)
    return labels, [str(number) for number in range(int(labels.max(initial=-1)) + 1)]
