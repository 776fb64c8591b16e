"""Sets of the library `datasets`, written here: the images of a folder, read by the features of their columns."""

import io
import logging

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from fsjax import data
from fsjax.data import source, splits
from fsjax.runtime.image_files import decode, resize
from tests.helpers.data_config import data_config
from tests.helpers.refused import refused

NAMES = ["cat", "dog", "emu, large"]
FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """What the library copies of parquet goes to this test's folder, and nothing is asked of the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def pixels(row):
    return np.random.default_rng(row).integers(0, 256, (7 + row % 2, 9, 3), np.uint8)


def pets(count=12, features=FEATURES, **columns):
    """Labels 0, 1, 2 in turn; each image is other noise."""
    rows = range(count)
    own = {"image": [pixels(row) for row in rows], "label": [row % 3 for row in rows]}
    return datasets.Dataset.from_dict(own | columns, features)


def config(**fields):
    columns = {name: fields.pop(name, "") for name in ("image", "label")}
    return data_config("huggingface", **{"huggingface": columns} | fields)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def write(form, root):
    """A set with 12 images in train and 6 in test, as people keep them."""
    both = datasets.DatasetDict(train=pets(), test=pets(6))
    if form == "saved":
        both.save_to_disk(str(root))
        return root
    root.mkdir()
    for split, records in both.items():
        place = root / split if form == "folders of parquet" else root
        place.mkdir(exist_ok=True)
        records.to_parquet(str(place / f"{split}-00000-of-00001.parquet"))
    return root


@pytest.mark.parametrize("form", ["saved", "parquet", "folders of parquet"])
def test_a_set_gives_its_images_labels_and_class_names(form, tmp_path, monkeypatch):
    root = write(form, tmp_path / "set")
    decoded = []
    monkeypatch.setattr(source, "decode", lambda *encoded: (decoded.append(encoded[1]), decode(*encoded))[1])
    dataset = data.load(config(root=root), "train", 0)
    assert dataset.classes == tuple(NAMES) and dataset.planted is None and not decoded
    np.testing.assert_array_equal(dataset.labels, np.arange(12) % 3)
    np.testing.assert_array_equal(dataset[5], resize(pixels(5), 8))
    assert decoded == [f"5 of {root}, split train"]
    np.testing.assert_array_equal(dataset.images(range(12)), [resize(pixels(row), 8) for row in range(12)])
    assert len(data.load(config(root=root), "test", 0)) == 6


def test_slices_and_chosen_classes_and_a_set_without_splits(tmp_path):
    write("saved", tmp_path / "set")
    chosen = data.load(config(root=tmp_path / "set", classes="dog=Dog,cat", train_split="train[:75%]"), "train", 0)
    assert chosen.classes == ("Dog", "cat")
    np.testing.assert_array_equal(chosen.labels, [1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(chosen.images([1, 4]), [resize(pixels(row), 8) for row in (1, 6)])
    pets().save_to_disk(str(tmp_path / "alone"))
    pets().to_parquet(str(tmp_path / "alone.parquet"))
    for root in (tmp_path / "alone", tmp_path / "alone.parquet"):
        fields = config(root=root, train_split="train[:6]", test_split="train[6:]")
        np.testing.assert_array_equal(data.load(fields, "test", 0)[1], resize(pixels(7), 8))
        assert len(data.load(fields, "train", 0)) == len(data.load(fields, "test", 0)) == 6
    both = data.load(config(root=tmp_path / "set", test_split="test+train[:3]"), "test", 0)
    np.testing.assert_array_equal(both.images([5, 8]), [resize(pixels(row), 8) for row in (5, 2)])


@pytest.mark.parametrize(
    ("features", "labels", "classes", "expected"),
    [
        ({"label": datasets.Value("int32")}, [2, 0, 1, 2], "", ("0", "1", "2")),
        ({"label": datasets.Value("int32")}, [2, 0, 1, 2], "cat,dog,emu", ("cat", "dog", "emu")),
        ({"label": datasets.ClassLabel(num_classes=3)}, [2, 0, 1, 2], "cat,dog,emu", ("cat", "dog", "emu")),
        ({"label": datasets.Value("string")}, ["emu", "cat", "dog", "emu"], "", ("cat", "dog", "emu")),
    ],
)
def test_labels_may_be_numbers_or_strings_in_a_column_that_is_named(tmp_path, features, labels, classes, expected):
    records = pets(4, datasets.Features({"image": datasets.Image(), **features}), label=labels)
    records.save_to_disk(str(tmp_path / "set"))
    dataset = data.load(config(root=tmp_path / "set", label="label", classes=classes), "train", 0)
    assert dataset.classes == expected and dataset.labels.tolist() == [2, 0, 1, 2]


def test_columns_are_named_where_several_are_possible_and_bytes_without_a_feature_are_images(tmp_path):
    rows = range(6)
    columns = {
        "photo": [encoded(Image.fromarray(pixels(row))) for row in rows],
        "thumb": [encoded(Image.fromarray(pixels(row)[:2])) for row in rows],
        "raw": [encoded(Image.fromarray(pixels(row + 50)))["bytes"] for row in rows],
        "kind": [row % 2 for row in rows],
        "colour": [row // 3 for row in rows],
    }
    features = {"photo": datasets.Image(), "thumb": datasets.Image(), "raw": datasets.Value("binary")}
    kinds = {name: datasets.ClassLabel(names=[f"{name} 0", f"{name} 1"]) for name in ("kind", "colour")}
    records = datasets.Dataset.from_dict(columns, datasets.Features(features | kinds))
    records.save_to_disk(str(tmp_path / "set"))

    def load(**names):
        return data.load(config(root=tmp_path / "set", **names), "train", 0)

    dataset = load(image="photo", label="colour")
    assert dataset.classes == ("colour 0", "colour 1") and dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(dataset[3], resize(pixels(3), 8))
    np.testing.assert_array_equal(load(image="raw", label="kind")[3], resize(pixels(53), 8))
    listed = "photo: Image, thumb: Image, raw: binary, kind: ClassLabel, colour: ClassLabel"
    said = refused(f"split train: got the columns {listed}; expected one column of Image, or", load, label="kind")
    assert said.endswith("or --config.data.huggingface.image=NAME")
    refused("expected one column of ClassLabel, or --config.data.huggingface.label=NAME", load, image="photo")
    refused("data.huggingface.image: got 'photos'; expected photo, .* .did you mean photo.", load, image="photos")
    refused("data.huggingface.label: got 'x'; expected photo, thumb", load, image="photo", label="x")
    refused("got ClassLabel in column 'kind'; expected images", load, image="kind", label="kind")
    refused("column 'photo': got Image; expected ClassLabel, whole", load, image="photo", label="photo")


def test_an_image_that_does_not_decode_is_named_or_left_out(tmp_path, caplog):
    images = [encoded(Image.fromarray(pixels(row))) for row in range(6)]
    images[1]["bytes"] = images[1]["bytes"][:-90]
    images[3] = None
    pets(6, image=images).save_to_disk(str(tmp_path / "set"))
    dataset = data.load(config(root=tmp_path / "set"), "train", 0)
    for row in (1, 3):
        message = f"image {row} of .*set, split train does not decode .*--config.data.skip_undecodable=True"
        refused(message, dataset.images, [0, row])
    with caplog.at_level(logging.INFO, logger="fsjax"):
        kept = data.load(config(root=tmp_path / "set", skip_undecodable=True), "train", 0)
    assert "left out 2 of 6 images, which do not decode: 1, 3" in caplog.text
    assert kept.labels.tolist() == [0, 2, 1, 2]
    np.testing.assert_array_equal(kept.images(range(4)), [resize(pixels(row), 8) for row in (0, 2, 4, 5)])


def test_sets_that_cannot_be_used_are_one_line(tmp_path):
    def load(root="", split="train", **fields):
        return data.load(config(root=root, **fields), split, 0)

    write("saved", tmp_path / "set")
    split = "data.test_split: got 'test' of .*set2 .*; expected train, validation, or a part of one, such as train.:80"
    datasets.DatasetDict(train=pets(), validation=pets(6)).save_to_disk(str(tmp_path / "set2"))
    refused(split, load, tmp_path / "set2", "test")
    assert len(load(tmp_path / "set2", "test", test_split="validation")) == 6
    refused("data.train_split: got 'tr ain' of", load, tmp_path / "set", train_split="tr ain")
    refused("data.train_split: got 'train.20:.' of", load, tmp_path / "set", train_split="train[20:]")
    refused("data.root: got '.*sets'; expected a folder that save_to_disk wrote, or", load, tmp_path / "sets")
    refused("data.root: got 'memory://set'; expected .*, on this machine", load, "memory://set")
    refused("data.name: got 'a/b', which cannot be opened .*; expected 'OWNER/SET' or", load, name="a/b")
    refused("data.name: got '', which cannot be opened", load, name="")
    refused("data.name: got 'a b!', which cannot be opened", load, name="a b!")
    (tmp_path / "empty").mkdir()
    refused("data.root: got '.*empty', which cannot be opened .*; expected a folder", load, tmp_path / "empty")
    (tmp_path / "text.parquet").write_text("no parquet\nat all")
    refused(r"got '.*text.parquet', which cannot be opened \(Parquet magic", load, tmp_path / "text.parquet")
    refused("data.classes, in .*: got 'dgo'; .*did you mean dog", load, tmp_path / "set", classes="dgo")
    for name, columns, message in (
        ("unlabelled", {"label": [-1] * 12}, "column 'label': got labels -1 to -1; expected 0 to 2 .is the split unl"),
        ("missing", {"label": [None] + [1] * 11}, "column 'label': got 1 rows without a label; expected one a row"),
        ("one class", {"label": [1] * 12}, "got no image of class cat, emu, large; expected one or more"),
    ):
        pets(**columns).save_to_disk(str(tmp_path / name))
        refused(message, load, tmp_path / name)
    for name, kind, labels, message in (
        ("plain", "int64", [1, 0], "got the columns image: Image, label: int64; expected one column of ClassLabel, or"),
        ("identities", "int64", [10**9, 0], "got labels 0 to 1000000000; expected 0 to 99999"),
        ("parts", "float32", [0.5, 1], "column 'label': got float32; expected ClassLabel, whole numbers or strings"),
    ):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Value(kind)})
        pets(2, features, label=labels).save_to_disk(str(tmp_path / name))
        refused(message, load, tmp_path / name, label="" if name == "plain" else "label")


def test_a_row_names_no_file_outside_the_folder_of_the_set(tmp_path):
    """Such a row would show any picture of this machine on a page."""
    Image.fromarray(pixels(0)).save(tmp_path / "secret.png")
    (tmp_path / "set").mkdir()
    Image.fromarray(pixels(1)).save(tmp_path / "set" / "own.png")
    paths = (tmp_path / "set" / "own.png", tmp_path / "secret.png", tmp_path / "set" / ".." / "secret.png")
    rows = [[{"bytes": None, "path": str(path)} for path in paths], [0, 1, 2]]
    schema = pets().data.schema
    table = pyarrow.table([pyarrow.array(rows[0], schema.field("image").type), rows[1]], schema=schema)
    pyarrow.parquet.write_table(table, tmp_path / "set" / "train.parquet")
    dataset = data.load(config(root=tmp_path / "set" / "train.parquet"), "train", 0)
    np.testing.assert_array_equal(dataset[0], resize(pixels(1), 8))
    for row in (1, 2):
        refused(rf"{row} of .*: got the file .*secret.png; expected one in .*/set$", dataset.images, [row])


def test_a_set_of_the_hub_is_asked_for_by_its_name_and_config(tmp_path, monkeypatch):
    asked = []
    both = datasets.DatasetDict(train=pets(), test=pets(6))
    monkeypatch.setattr(datasets, "load_dataset", lambda *arguments: (asked.append(arguments), both)[1])
    assert len(data.load(config(name="zoo/pets"), "test", 0)) == 6
    assert len(data.load(config(name="zoo/pets:small"), "train", 0)) == 12
    assert asked == [("zoo/pets", None), ("zoo/pets", "small")]


def test_a_set_that_is_open_is_a_split_for_calls_from_python():
    given = {"classes": None, "mean_std": (np.zeros(3), np.ones(3)), "image_size": 8}
    transformed = pets().with_transform(lambda rows: {"image": rows["label"]})
    others = pets(18).select(range(12, 18))
    opened = splits.open_splits({"train": transformed, "test": others}, **given)
    assert opened["train"].classes == opened["test"].classes == tuple(NAMES)
    np.testing.assert_array_equal(opened["train"].images([4]), [resize(pixels(4), 8)])
    assert opened["test"].labels.tolist() == [0, 1, 2, 0, 1, 2]
    same = {"train": pets(), "test": pets(6)}
    refused("test images: got 6, all of them training images too", splits.open_splits, same, **given)
    chosen = splits.open_splits({"test": pets(6)}, **given | {"classes": ("emu, large", "cat")})
    assert chosen["test"].classes == ("emu, large", "cat") and chosen["test"].labels.tolist() == [1, 0, 1, 0]

    def opening(split, **changes):
        return splits.open_splits({"test": split}, **given | changes)

    size = "image_size: got nothing; expected the model's, since test is a datasets.Dataset"
    refused(size, opening, pets(), image_size=None)
    column = "test: got the columns image: Image; expected one column of ClassLabel: cast_column"
    refused(column, opening, pets().remove_columns("label"))
    refused("test labels: got no image of class emu, large; expected", opening, pets(2))
    refused("data.classes, in test: got 'pig'; expected", opening, pets(), classes=("pig",))
    streamed = datasets.IterableDataset.__new__(datasets.IterableDataset)  # to_iterable_dataset imports PyTorch
    refused("test: got IterableDataset; expected", opening, streamed)
    refused("test: got DatasetDict; expected", opening, datasets.DatasetDict(test=pets()))
