"""Sources, splits and batches, against PIL, NumPy float64 and explicit counting."""

import io
import logging
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
from PIL import Image

from configs import jpeg
from fsjax import data
from fsjax.data import folder
from fsjax.runtime import image_files, workers
from fsjax.runtime.errors import InputError
from tests.helpers.data_config import data_config, save_images, smooth_images
from tests.helpers.refused import refused


def config(**fields):
    return data_config(**{"source": "folder"} | fields)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save_folder(root, counts, split="train", size=(9, 11), suffix=".png"):
    """<root>/<split>/<class>/i.png, a different noise image each; the images in class then file order."""
    images = []
    for label, (name, count) in enumerate(counts.items()):
        own = [noise(*size, 3, seed=1000 * label + i) for i in range(count)]
        save_images(root / split / name, own, suffix)
        images += own
    return images


def save_arrays(root, images, labels, split="train"):
    np.save(root / f"{split}_images.npy", images)
    np.save(root / f"{split}_labels.npy", labels)


class MemorySource:
    planted = None

    def __init__(self, images, labels=None, classes=("a", "b")):
        self.images, self.classes = images, classes
        self.labels = np.asarray(np.arange(len(images)) % 2 if labels is None else labels, np.int32)
        self.reads, self.lock = np.zeros(len(images), int), threading.Lock()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        with self.lock:
            self.reads[index] += 1
        if self.images[index] is None:
            raise InputError(f"image {index} does not decode")
        return self.images[index]


# --- decoding


def decoded(image, encoding="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, encoding, **options)
    return np.asarray(image_files.decode(buffer.getvalue(), "it"))


def test_every_mode_becomes_rgb_and_16_bit_grey_is_scaled_not_clipped():
    rgb, grey = noise(5, 6, 3), noise(5, 6)
    three = np.repeat(grey[..., None], 3, -1)
    np.testing.assert_array_equal(decoded(Image.fromarray(grey)), three)
    np.testing.assert_array_equal(decoded(Image.fromarray(np.dstack([rgb, grey]), "RGBA")), rgb)
    np.testing.assert_array_equal(decoded(Image.fromarray(np.dstack([grey, grey[::-1]]), "LA")), three)
    np.testing.assert_array_equal(decoded(Image.fromarray(grey > 127)), np.where(three > 127, 255, 0))
    palette = Image.fromarray(grey // 64, "P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 9, 8, 7])
    looked_up = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 8, 7]])[grey // 64]
    np.testing.assert_array_equal(decoded(palette), looked_up)
    np.testing.assert_array_equal(decoded(palette, transparency=b"\x00\x80\xff\x10"), looked_up)
    cmyk = Image.fromarray(np.full((8, 8, 4), (255, 0, 0, 0), np.uint8), "CMYK")  # all cyan
    np.testing.assert_allclose(decoded(cmyk, "JPEG", quality=100), np.full((8, 8, 3), (0, 255, 255)), atol=3)
    deep = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    expected = np.rint(deep / 65535 * 255)
    np.testing.assert_array_equal(decoded(Image.fromarray(deep)), np.repeat(expected[..., None], 3, -1))


# --- folders


def test_a_folder_gives_its_images_class_by_class_in_sorted_order(tmp_path, monkeypatch):
    listed = SimpleNamespace(scandir=lambda path: sorted(os.scandir(path), key=lambda e: e.name, reverse=True))
    monkeypatch.setattr(folder, "os", listed)  # as a file system may list them
    images = save_folder(tmp_path, {"ant": 2, "bee": 3, "cat": 2})
    (tmp_path / "train" / "bee" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".hidden").mkdir()
    (tmp_path / "train" / "cat" / "001.png").rename(tmp_path / "train" / "cat" / "001.PNG")
    dataset = data.load(config(root=tmp_path), "train", 0)
    assert dataset.classes == ("ant", "bee", "cat") and dataset.planted is None and dataset.image_size == 8
    np.testing.assert_array_equal(dataset.labels, [0, 0, 1, 1, 1, 2, 2])
    assert dataset.labels.dtype == np.int32
    np.testing.assert_array_equal(dataset.images(range(7)), [image_files.resize(image, 8) for image in images])


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp", ".bmp"])
def test_each_kind_of_file_is_read(tmp_path, suffix):
    save_folder(tmp_path, {"a": 1}, suffix=suffix)
    path = tmp_path / "train" / "a" / f"000{suffix}"
    oracle = Image.open(path).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(data.load(config(root=tmp_path), "train", 0)[0], np.asarray(oracle))


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    save_folder(tmp_path, {"ant": 1, "bee": 1})
    (tmp_path / "val").mkdir()
    (tmp_path / "full" / "ant").mkdir(parents=True)

    def load(**fields):
        return data.load(config(**{"root": tmp_path, **fields}), "train", 0)

    refused("^data.root: got ''; expected a folder", load, root="")
    refused("'trian'; expected full, train, val", load, train_split="trian")
    refused("val: got no class folders", load, train_split="val")
    refused("ant: got no images; expected .*jpeg", load, train_split="full")
    refused("data.classes, in .*train: got 'aunt'; expected ant, bee .did you mean ant", load, classes="aunt,bee")
    refused("got 'zebra'; expected ant, bee", load, classes="zebra")
    refused("got class 'ant' 2 times", load, classes="ant,ant")
    refused("got the entry 'ant='; expected", load, classes="ant=")
    refused("got the entry ''; expected", load, classes="ant,,bee")
    refused("train: got class 'ant'; expected an ImageNet-1k id, as n02391049", load, classes="imagenet")
    refused("data.interpolation: got 'nearest'; expected bilinear, bicubic", load, interpolation="nearest")


def test_folders_of_imagenet_are_shown_by_their_names_and_split_test_may_be_val(tmp_path):
    save_folder(tmp_path, {"n02690373": 1, "n01440764": 2}, split="val")
    named = data.load(config(root=tmp_path, classes="imagenet"), "test", 0)
    assert named.classes == ("tench", "airliner") and named.labels.tolist() == [0, 0, 1]
    chosen = data.load(config(root=tmp_path, classes="n02690373,n01440764=fish"), "test", 0)
    assert chosen.classes == ("airliner", "fish") and chosen.labels.tolist() == [0, 1, 1]
    assert data.load(config(root=tmp_path), "test", 0).classes == ("n01440764", "n02690373")


@pytest.mark.parametrize("damage", ["text", "truncated", "bomb", "tiff"])
def test_an_image_that_does_not_decode_is_named_or_left_out(tmp_path, damage, monkeypatch, caplog):
    images = save_folder(tmp_path, {"ant": 3, "bee": 2})
    path = tmp_path / "train" / "ant" / "001.png"
    if damage == "text":
        path.write_text("not an image\nat all")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-60])
    elif damage == "bomb":  # Pillow refuses twice as many pixels
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 125)
        Image.fromarray(noise(20, 13, 3)).save(path)
    else:
        Image.fromarray(noise(9, 11, 3)).save(path, "TIFF")  # a decoder that is not let near files
    dataset = data.load(config(root=tmp_path), "train", 0)
    refused(r"ant.001.png does not decode.*--config.data.skip_undecodable=True", dataset.images, range(5))
    with caplog.at_level(logging.INFO, logger="fsjax"):
        kept = data.load(config(root=tmp_path, skip_undecodable=True), "train", 0)
    assert "left out 1 of 5 images, which do not decode: ant/001.png" in caplog.text
    np.testing.assert_array_equal(kept.images(range(4)), [image_files.resize(images[i], 8) for i in (0, 2, 3, 4)])
    for file in (tmp_path / "train").glob("*/*.png"):
        file.write_bytes(b"no picture")
    message = "split 'train' of data.source folder: got no image that decodes .ant/000.png, .*; expected one or more"
    refused(message, data.load, config(root=tmp_path, skip_undecodable=True), "train", 0)


# --- arrays


@pytest.mark.parametrize("layout", ["nhwc", "nchw", "float", "column labels", "npz", "grey", "grey, channels first"])
def test_arrays_of_every_layout_give_the_same_images(tmp_path, layout):
    grey = layout.startswith("grey")
    images, labels = noise(6, 8, 8, 1).repeat(3, -1) if grey else noise(6, 8, 8, 3), np.array([0, 1, 2, 0, 1, 2])
    fields = {"source": "arrays", "root": tmp_path}
    if layout == "npz":
        np.savez(tmp_path / "train.npz", images=images, labels=labels)
        fields["images"] = "{split}.npz"
    else:
        stored = {"nchw": images.transpose(0, 3, 1, 2), "float": (images + 0.5) / 255, "grey": images[..., 0]}
        stored = stored.get(layout, images[:, None, :, :, 0] if grey else images)
        if layout == "float":  # out of range on either side: clipped
            stored = np.where(images == 0, -0.3, np.where(images == 255, 1.2, stored))
        save_arrays(tmp_path, stored, labels[:, None] if layout == "column labels" else labels)
    dataset = data.load(config(**fields), "train", 0)
    assert dataset.classes == ("0", "1", "2")
    np.testing.assert_array_equal(dataset.images(range(6)), images)
    np.testing.assert_array_equal(dataset.labels, labels)


def test_data_classes_picks_labels_or_names_them(tmp_path):
    images = noise(6, 8, 8, 3)
    save_arrays(tmp_path, images, np.array([0, 1, 2, 0, 1, 2]))
    picked = data.load(config(source="arrays", root=tmp_path, classes="2=cat,0=ant"), "train", 0)
    assert picked.classes == ("cat", "ant")
    np.testing.assert_array_equal(picked.labels, [1, 0, 1, 0])
    np.testing.assert_array_equal(picked.images(range(4)), images[[0, 2, 3, 5]])
    named = data.load(config(source="arrays", root=tmp_path, classes="ant,bee,cat"), "train", 0)
    assert named.classes == ("ant", "bee", "cat")
    np.testing.assert_array_equal(named.labels, [0, 1, 2, 0, 1, 2])


def test_arrays_that_cannot_be_used_are_refused(tmp_path):
    images, labels = noise(4, 8, 8, 3), np.array([0, 1, 0, 1])

    def load(images=images, labels=labels, **fields):
        save_arrays(tmp_path, images, labels)
        return data.load(config(**{"source": "arrays", "root": tmp_path, **fields}), "train", 0)

    refused("^data.root: got nothing; expected", load, root="")
    refused("data.images, data.labels: no file .*test_images.npy", load, train_split="test")
    refused("not a readable .np", load, images.astype(object))
    refused("not a readable .np", load, labels=labels.astype(object))
    refused("labels.npy: got 3 labels; expected 4", load, labels=labels[:3])
    refused("got int64; expected uint8", load, images.astype(np.int64))
    refused("got floats up to 2", load, images.astype(np.float32))
    refused(r"got shape \[4, 8, 8, 2\]", load, images[..., :2])
    refused(r"got shape \[4, 24\]", load, images.reshape(4, -1)[:, :24])
    refused("got labels -1 to 0; expected 0 to 99999", load, labels=labels - 1)
    refused(r"got float64 \[4\]; expected integers", load, labels=labels / 2)
    refused(r"got int64 \[4, 2\]; expected integers", load, labels=np.eye(2, dtype=int)[labels])
    refused("no image of class 1", load, labels=labels * 2)
    refused("got 1 names; expected 2", load, classes="ant")
    refused("data.classes, in .*labels.npy: got 'x'; expected 0, 1", load, classes="0,x")
    broken = load(np.where(images == images[2], np.nan, images / 255))
    refused("train_images.npy: image 2 has values that are not finite; expected", broken.images, [2])


def test_archives_that_cannot_be_used_are_refused(tmp_path):
    fields = config(source="arrays", root=tmp_path, images="{split}.npz")
    refused("no file .*train.npz", data.load, fields, "train", 0)
    np.savez(tmp_path / "train.npz", pictures=noise(2, 8, 8, 3), labels=np.arange(2))
    refused("no key 'images'; found: pictures, labels", data.load, fields, "train", 0)
    np.savez(tmp_path / "train.npz", images=np.array([{}, {}], object), labels=np.arange(2))
    refused("not a readable .np", data.load, fields, "train", 0)
    (tmp_path / "train.npz").write_bytes(b"PK\x03\x04 damaged")
    refused("not a readable .npz", data.load, fields, "train", 0)
    np.save(tmp_path / "train_images.npy", noise(2, 8, 8, 3))
    refused("no file .*no.npy", data.load, config(source="arrays", root=tmp_path, labels="no.npy"), "train", 0)


# --- splits


def test_train_and_validation_partition_every_class_by_the_seed(tmp_path):
    counts = {"a": 40, "b": 20, "c": 2, "d": 1}
    labels = np.repeat(np.arange(4), list(counts.values()))
    images = np.arange(63, dtype=np.uint8)[:, None, None, None] + np.zeros((63, 8, 8, 3), np.uint8)
    save_arrays(tmp_path, images, labels)
    fields = config(source="arrays", root=tmp_path, validation_share=0.1)

    def ids(split, seed):
        dataset = data.load(fields, split, seed)
        found = dataset.images(range(len(dataset)))[:, 0, 0, 0]
        np.testing.assert_array_equal(dataset.labels, labels[found])
        return found

    train, validation = ids("train", 1), ids("validation", 1)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(63))
    np.testing.assert_array_equal(np.bincount(labels[validation], minlength=4), [4, 2, 1, 0])
    np.testing.assert_array_equal(ids("validation", 1), validation)
    assert set(ids("validation", 2)) != set(validation)


def test_config_values_that_are_not_accepted_are_refused(tmp_path):
    save_folder(tmp_path, {"a": 1})

    def load(split="train", **fields):
        return data.load(config(**{"root": tmp_path, **fields}), split, 0)

    refused("data.source: got 'foldr'; expected synthetic, folder, arrays, jpeg, tfds, hugging", load, source="foldr")
    refused("split: got 'val'; expected train, validation, test", load, "val")
    refused("data.resize_shorter: got 7; expected 0 .*, or data.image_size", load, resize_shorter=7)
    refused("data.resize_shorter: got 40; expected 0 for data", load, source="synthetic", resize_shorter=40)
    half, third = (0.5, 0.5, 0.5), (0.3, 0.3, 0.3)
    for mean, std, message in (
        ((), half, r"std: got \(.*; expected three numbers, or"),
        (half, (0.5, 0, 0.5), "std: got 0; expected above 0 and up to 1"),
        ((0.5, 2.0, 0.5), third, "mean: got 2.0; expected 0 or more and up to 1"),
        ((0.5, 0.5), third, r"mean: got \(.*; expected three numbers, or"),
    ):
        refused(f"data.{message}", load, mean=mean, std=std)
    assert load(mean=half, std=third).classes == ("a",)
    refused("has no validation images; expected", load, "validation", validation_share=0.5)


# --- the dataset


def test_images_are_read_once_where_they_fit_and_each_time_where_not():
    images = [noise(5 + i % 3, 6, 3, seed=i) for i in range(12)]
    expected = np.stack([image_files.resize(image, 4) for image in images])
    for cache_gib, reads in ((12 * 48 / 2**30, 1), (11 * 48 / 2**30, 3)):
        source = MemorySource(images)
        dataset = data.Dataset(source, 4, cache_gib)
        np.testing.assert_array_equal(dataset.images(np.arange(12)), expected)
        dataset.images([3, 3, 1])[:] = 0  # a copy: the cache stays as it is
        half = dataset.subset([1, 3, 5]).subset([2, 1])
        np.testing.assert_array_equal(half.images([0, 1]), expected[[5, 3]])
        np.testing.assert_array_equal(half.labels, source.labels[[5, 3]])
        np.testing.assert_array_equal(dataset[3], expected[3])
        assert source.reads[5] == (1 if reads == 1 else 2) and (source.reads[3] == 1) == (reads == 1)


def test_threads_reading_at_once_see_whole_images_only():
    images = [noise(30, 30, 3, seed=i) for i in range(64)]
    expected = np.stack([image_files.resize(image, 16) for image in images])
    dataset = data.Dataset(MemorySource(images), 16)

    def read(seed):
        for i in np.random.default_rng(seed).permutation(64).reshape(8, 8):
            np.testing.assert_array_equal(dataset.images(i), expected[i])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))


def test_mean_and_std_equal_numpy_in_float64_and_a_constant_channel_is_refused():
    scale = np.array([1, 2, 3], np.uint8)
    images = [noise(300, 300, 3, seed=i) // scale for i in range(70)]  # two chunks, and sums beyond 2**32
    mean, std = data.measure_mean_std(data.Dataset(MemorySource(images), 300, cache_gib=0.0))
    pixels = np.stack(images).reshape(-1, 3) / 255
    # Ours are sums of integers; NumPy's errors add up along the pixels.
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-9)
    np.testing.assert_allclose(std, pixels.std(0), rtol=1e-9)
    images = [noise(4, 4, 3) * np.array([1, 0, 1], np.uint8)] * 3
    refused("constant colour channel", data.measure_mean_std, data.Dataset(MemorySource(images), 4))


# --- batches


def numbered(count, size=2):
    """A dataset in which every pixel of image i is i."""
    images = [np.full((size, size, 3), i, np.uint8) for i in range(count)]
    return data.Dataset(MemorySource(images), size)


def run(dataset, **arguments):
    batches = list(data.batches(dataset, **arguments))
    for batch in batches:
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["index"])
        np.testing.assert_array_equal(batch["label"], dataset.labels[batch["index"]])
        dtypes = {name: str(batch[name].dtype) for name in batch}
        assert dtypes == {"image": "uint8", "label": "int32", "index": "int32", "epoch": "int32"}
    return batches


def joined(batches, name):
    return np.concatenate([batch[name] for batch in batches])


@pytest.mark.parametrize(("processes", "images", "batch_size"), [(2, 30, 8), (4, 32, 8), (4, 5, 12)])
def test_each_epoch_holds_each_image_once_on_any_number_of_processes(processes, images, batch_size):
    dataset, steps = numbered(images), 15
    parts = [
        run(dataset, batch_size=batch_size, seed=3, num_steps=steps, process_index=p, process_count=processes)
        for p in range(processes)
    ]
    whole = run(dataset, batch_size=batch_size, seed=3, num_steps=steps)
    for name in ("index", "epoch", "label", "image"):
        for step in range(steps):
            rows = [part[step][name] for part in parts]
            assert all(len(r) == batch_size // processes for r in rows)
            np.testing.assert_array_equal(np.concatenate(rows), whole[step][name])
    index, epoch = joined(whole, "index"), joined(whole, "epoch")
    np.testing.assert_array_equal(epoch, np.arange(steps * batch_size) // images)
    orders = [index[epoch == e] for e in range(epoch[-1])]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(images))
    if images > 5:  # few enough orders of five to draw one twice
        assert len({tuple(order) for order in orders}) == len(orders)


def test_a_restart_at_any_step_on_other_processes_goes_on_with_the_same_batches_and_neighbouring_seeds_share_no_epoch():
    dataset = numbered(21)
    whole = joined(run(dataset, batch_size=8, seed=1, num_steps=12), "index").reshape(12, 8)
    for step in (0, 1, 5, 11):
        again = {"batch_size": 8, "seed": 1, "start_step": step, "num_steps": 12 - step}
        np.testing.assert_array_equal(joined(run(dataset, **again), "index").reshape(-1, 8), whole[step:])
        second = run(dataset, **again, process_index=1, process_count=2)
        np.testing.assert_array_equal(joined(second, "index").reshape(-1, 4), whole[step:, 4:])
    orders = [joined(run(numbered(20), batch_size=20, seed=s, num_steps=5), "index").reshape(5, 20) for s in range(5)]
    assert len(np.unique(np.concatenate(orders), axis=0)) == 25


def test_an_image_that_does_not_decode_stops_the_batches_with_its_own_error():
    images = [np.zeros((2, 2, 3), np.uint8)] * 5 + [None]
    dataset = data.Dataset(MemorySource(images), 2)
    refused("image 5 does not decode", list, data.batches(dataset, batch_size=2, seed=0, num_steps=20))


# --- in processes


@pytest.fixture
def called(monkeypatch):
    """Processes and images of each call; there are two processes."""
    calls, call = [], workers.call

    def counted(processes, name, function, arguments):
        calls.extend((processes, len(images)) for images, *_ in arguments)
        return call(processes, name, function, arguments)

    monkeypatch.setattr(workers, "call", counted)
    monkeypatch.setattr(workers, "most_processes", lambda: 2)
    return calls


@pytest.mark.parametrize("form", ["folder", "parquet"])
@pytest.mark.parametrize("shorter", [0, 10])
def test_processes_decode_what_threads_decode(form, shorter, tmp_path, called):
    images = save_folder(tmp_path, {"cat": 18}, size=(13, 11))
    fields = {"image_size": 8, "resize_shorter": shorter, "root": tmp_path}
    if form == "parquet":
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat"])})
        records = datasets.Dataset.from_dict({"image": images, "label": [0] * 18}, features=features)
        records.to_parquet(str(tmp_path / "train.parquet"))
        fields |= {"source": "huggingface", "root": tmp_path / "train.parquet"}
    dataset = data.load(config(**fields, cache_gib=0.0), "train", 0)
    rows = [*range(18), 3]
    expected = np.stack([image_files.resize(images[row], 8, shorter) for row in rows])
    np.testing.assert_array_equal(dataset.images(rows), expected)
    assert sorted(called) == [(2, 9), (2, 10)]
    np.testing.assert_array_equal(dataset.subset([7, 2]).images([1, 0]), expected[[2, 7]])
    np.testing.assert_array_equal(data.load(config(**fields), "train", 0).images(rows), expected)
    assert len(called) == 2, "few images, and those that stay in memory, are decoded in threads"


def test_an_image_that_does_not_decode_is_named_after_all_others_are_done(tmp_path, called):
    save_folder(tmp_path, {"cat": 18})
    dataset = data.load(config(root=tmp_path, cache_gib=0.0), "train", 0)
    (tmp_path / "train" / "cat" / "000.png").write_bytes(b"no picture")
    refused(r"cat/000\.png does not decode .*=True leaves such images out$", dataset.images, range(18))
    assert len(called) == 2
    assert dataset.images(range(1, 18)).shape[0] == 17


# --- photographs as they are and compressed


def test_each_photograph_is_real_as_it_is_and_fake_compressed_and_never_in_both_splits(tmp_path):
    (tmp_path / "deep" / "down").mkdir(parents=True)
    names = [*(f"{row:02}.png" for row in range(20)), *(f"deep/down/{row:02}.png" for row in range(20))]
    photographs = dict(zip(names, smooth_images(40, 32), strict=True))
    for name, image in photographs.items():
        Image.fromarray(image).save(tmp_path / name)
    config = data_config("jpeg", root=tmp_path, image_size=16, quality=20, skip_undecodable=True)
    shown = {}
    for split in ("train", "test"):
        dataset = data.load(config, split, 0)
        real, fake = (np.flatnonzero(dataset.labels == label) for label in range(2))
        shown[split] = [dataset.files[row].removeprefix(f"{tmp_path}/") for row in real]
        assert dataset.classes == ("real", "fake") and np.array_equal(fake, real + len(real)) and len(real) > 3
        for row, name in zip(real, shown[split], strict=True):
            small = Image.fromarray(photographs[name]).resize((16, 16), Image.Resampling.BILINEAR)
            small.save(stored := io.BytesIO(), "JPEG", quality=20)
            np.testing.assert_array_equal(dataset[row], np.asarray(small))
            np.testing.assert_array_equal(dataset[row + len(real)], np.asarray(Image.open(stored)))
    assert sorted(shown["train"] + shown["test"]) == sorted(names)
    config.classes = "fake=compressed"
    assert data.load(config, "test", 0).classes == ("compressed",)
    np.testing.assert_array_equal(data.load(config, "test", 0).images(real), dataset.images(fake))


def test_a_folder_without_photographs_and_another_split_are_refused(tmp_path):
    config = jpeg.get_config().data
    config.root = str(tmp_path)
    refused(re.escape(f"data.root: got no images in {tmp_path}; expected .jpg"), data.load, config, "test", 0)
    config.test_split = "val"
    refused("data.test_split: got 'val'; expected train, test", data.load, config, "test", 0)
    config.resize_shorter = 40
    refused("data.resize_shorter: got 40; expected 0 for data.source=jpeg", data.load, config, "test", 0)
