"""Where files lie changes nothing: a run in a store finds what one on a disk finds, and goes on as that does."""

import io
import itertools
import json
import os
import pathlib
import pickle
import re
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from upath import UPath

from fsjax import data
from fsjax.experiment import runner
from fsjax.fourier import dfm, published_maps
from fsjax.models.source import model_source
from fsjax.runtime import files, interrupt, storage
from tests.helpers.places import store
from tests.helpers.refused import refused
from tests.helpers.small_run import losses_of, small_config
from tests.helpers.undrawn import leave_undrawn


def make_config(**changes):
    fields = {"data__synthetic__train_per_class": 12, "data__synthetic__test_per_class": 4, "train__steps": 6}
    fields |= {"run__checkpoint_every": 1, "run__log_every": 1, "run__save_seconds": 0.0}
    return small_config(**fields, search__patch=2, search__shares=(0.05, 0.2), evaluate__pairs=2, **changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run on a disk and in a store, where it is stopped in the middle of training, search and evaluation."""
    disk, place = tmp_path_factory.mktemp("disk") / "run", store()
    with pytest.MonkeyPatch.context() as undrawn, pytest.MonkeyPatch.context() as patch:
        leave_undrawn(undrawn)
        runner.run(make_config(), disk, command=["python", "launch.py"])
        asked = itertools.count(1)
        searched = place / "search" / "removal" / "class00001"
        grafted = place / "grafts"
        for stop in (lambda: next(asked) == 2, searched.exists, lambda: any(grafted.rglob("*.npz"))):
            patch.setattr(interrupt, "requested", stop)
            with pytest.raises(interrupt.Terminated):
                runner.run(make_config(), place)
            steps = {file.name.split(".")[0] for file in (place / "checkpoints").glob("*.json")}
            assert ("6" in steps) == searched.exists(), steps
            assert (place / "dfm").exists() == grafted.exists()
        assert not (place / "evaluation.json").exists()
        patch.undo()
        runner.run(make_config(), place, command=["python", "launch.py"])
    return disk, place


def test_a_run_in_a_store_that_was_stopped_finds_what_one_on_a_disk_finds(runs):
    disk, place = runs
    maps = [dfm.DominantFrequencyMaps.load(run / "dfm" / "removal.npz") for run in runs]
    np.testing.assert_array_equal(maps[0].scores, maps[1].scores)
    np.testing.assert_array_equal(maps[0].masks, maps[1].masks)
    assert files.read_json(disk / "evaluation.json") == files.read_json(place / "evaluation.json")
    variables = [model_source(make_config()).model(run).params for run in runs]
    for one, other in zip(*map(jax.tree.leaves, variables), strict=True):
        np.testing.assert_array_equal(one, other)
    assert losses_of(disk) == losses_of(place) and len(losses_of(disk)) == 6
    assert (place / "report" / "removal" / "index.html").read_text().count("data:image/webp;base64,") >= 5


def test_both_leave_the_same_files_without_a_lock_in_the_store_where_nothing_is_done_again(runs):
    def files(run):
        names = [str(path).removeprefix(f"{run}/") for path in run.rglob("*") if path.is_file()]
        return {name for name in names if not name.startswith(("checkpoints", "tensorboard", "search"))} | {
            name for name in names if name.endswith("sha256.json")
        }

    disk, place = runs
    assert files(disk) == files(place) | {".lock"}
    assert "config.json" in files(place) and "stages/report-removal.json" in files(place)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    runner.run(make_config(), place)
    after = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    changed = {str(path) for path in after if before.get(path) != after[path]}
    assert all("tensorboard" in name for name in changed), changed


def test_a_run_in_a_store_serves_as_weights_and_as_maps(runs, tmp_path):
    _, place = runs
    config = make_config(model__weights=str(place), search__method="imported")
    config.search.imported.maps, config.search.resamples = str(place), 0
    config.stages = "train,search"
    runner.run(config, tmp_path)
    images = jax.random.normal(jax.random.key(0), (3, 24, 24, 3))
    one, other = model_source(config).model(tmp_path), model_source(make_config()).model(place)
    np.testing.assert_array_equal(one.apply(one.params, images), other.apply(other.params, images))
    imported = dfm.DominantFrequencyMaps.load(tmp_path / "dfm" / "imported.npz")
    np.testing.assert_array_equal(imported.masks, dfm.DominantFrequencyMaps.load(place / "dfm" / "removal.npz").masks)
    assert json.loads((tmp_path / "weights.json").read_text())["file"] == str(place)


@pytest.fixture(scope="module")
def images():
    """Two classes of images of odd sizes, in two splits: path -> content of a PNG or JPEG file."""
    rng = np.random.default_rng(0)
    found = {}
    for split, name, count in (("train", "b&", 3), ("train", "a", 2), ("test", "a", 1), ("test", "b&", 1)):
        for index in range(count):
            content = io.BytesIO()
            pixels = rng.integers(0, 256, (9 + index, 7, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(content, format=("PNG", "JPEG")[index % 2])
            found[f"{split}/{name}/{index}.{('png', 'JPG')[index % 2]}"] = content.getvalue()
    return found | {"train/a/notes.txt": b"no image", "train/.hidden/x.png": b"", "train/list.png": b""}


def folder_config(root, **fields):
    return make_config(data__source="folder", data__root=str(root), data__image_size=5, **fields)


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def test_a_folder_of_images_in_a_store_is_read_as_one_on_a_disk(tmp_path, images):
    sources = []
    for root in (tmp_path, store()):
        write(root, images)
        config = folder_config(root, data__skip_undecodable=True)
        sources.append(data.load(config.data, "train", 0))
    disk, place = sources
    assert disk.classes == place.classes == ("a", "b&") and len(place) == 3
    np.testing.assert_array_equal(disk.labels, place.labels)
    np.testing.assert_array_equal(disk.images(range(3)), place.images(range(3)))


def test_a_store_that_lists_a_folder_in_itself_has_no_class_of_that_name(images, monkeypatch):
    """As stores do where somebody made the folder first: an object of its name."""
    root = store()
    write(root, images)
    listed = type(root.fs).ls

    def ls(self, path, detail=True):
        return [{"name": path, "size": 0, "type": "directory"}, *listed(self, path, detail=detail)]

    monkeypatch.setattr(type(root.fs), "ls", ls)
    config = folder_config(root)
    assert data.load(config.data, "test", 0).classes == ("a", "b&")


def test_what_is_missing_or_damaged_in_a_store_is_named(images):
    root = store()
    write(root, images)
    root = str(root)
    config = folder_config(root, data__test_split="val")
    refused(r"has no folder for split 'val'; expected test, train", data.load, config.data, "test", 0)
    config.data.test_split = "test"
    storage.path(f"{root}/test/a/0.png").write_bytes(b"damaged")
    refused(r"image memory://\w+/test/a/0.png does not decode", data.load(config.data, "test", 0).images, [0])
    config.data.root = root + "x"
    refused(r"data\.root: got .*; expected a folder", data.load, config.data, "test", 0)


@pytest.mark.parametrize("packed", [True, False])
def test_arrays_in_a_store_are_read_as_those_on_a_disk(tmp_path, packed):
    rng, sources = np.random.default_rng(0), []
    arrays = {"images": rng.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8), "labels": np.array([0, 1, 2, 0, 1, 2])}
    for root in (tmp_path, store()):
        config = make_config(data__source="arrays", data__root=str(root), data__image_size=5)
        if packed:
            files.write_npz(root / "test.npz", **arrays)
            config.data.images = "{split}.npz"
        else:
            for name, array in arrays.items():
                files.write_npy(root / f"test_{name}.npy", array)
        sources.append(data.load(config.data, "test", 0))
    np.testing.assert_array_equal(sources[0].images(range(6)), sources[1].images(range(6)))
    np.testing.assert_array_equal(sources[1].labels, arrays["labels"])


def test_arrays_of_a_store_are_mapped_and_not_held_in_memory():
    array = np.arange(10**6)
    files.write_npy(place := store() / "a.npy", array)
    mapped = files.map_npy(place)
    assert isinstance(mapped, np.memmap) and not os.path.exists(mapped.filename)
    np.testing.assert_array_equal(mapped, array)


def test_maps_and_published_pickles_lie_in_stores_too_and_an_error_names_the_file_there_and_not_its_copy():
    rng, place = np.random.default_rng(0), store()
    scores = {0: rng.normal(size=(5, 5)), 1: rng.normal(size=(5, 5))}
    (place / "maps.pkl").write_bytes(pickle.dumps(scores))
    maps = published_maps.read_maps(str(place / "maps.pkl"), classes=None, shares=(0.2, 0.4))
    np.testing.assert_array_equal(maps.scores, np.stack([scores[0], scores[1]]).astype(np.float32))
    maps.save(place / "own.npz")
    loaded = dfm.DominantFrequencyMaps.load(str(place / "own.npz"))
    np.testing.assert_array_equal(loaded.scores, maps.scores)
    np.testing.assert_array_equal(loaded.masks, maps.masks)
    (place / "maps.pkl").write_bytes(b"damaged")
    refused(rf"^{place}/maps\.pkl: ", published_maps.read_maps, str(place / "maps.pkl"), classes=None, shares=(0.2,))
    refused(rf"^{place}/none: not there", published_maps.read_maps, str(place / "none"), classes=None, shares=(0.2,))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/a", pathlib.Path("runs/a")),
        ("~/a", pathlib.Path.home() / "a"),
        ("file:///tmp/a", pathlib.Path("/tmp/a")),
        ("a:b/c", pathlib.Path("a:b/c")),
        ("memory://a/b", UPath("memory://a/b", use_listings_cache=False)),
    ],
)
def test_a_path_is_local_unless_it_is_a_url(text, expected):
    assert storage.path(text) == expected and type(storage.path(text)) is type(expected)
    assert storage.path(expected) is expected


@pytest.mark.parametrize(
    ("text", "driver", "advice"),
    [
        ("gs://bucket/run", "gcsfs", "gs:// needs a driver that is not installed: pip install 'fsjax[gcs]'"),
        ("s3://bucket/run", "s3fs", "s3:// needs a driver that is not installed: pip install 'fsjax[s3]'"),
        ("nothing://a", None, "expected a local path, gs://, s3://, or what else fsspec reaches"),
    ],
)
def test_a_store_that_cannot_be_reached_from_here_is_one_line(monkeypatch, text, driver, advice):
    if driver:
        monkeypatch.setitem(sys.modules, driver, None)
    refused(f"^{text}: .*{re.escape(advice)}", storage.path, text)


def test_a_store_that_does_not_answer_is_one_line(monkeypatch):
    def ls(self, path, **options):
        raise RuntimeError("no credentials\nfor this bucket")

    place = store()
    monkeypatch.setattr(type(place.fs), "ls", ls)
    message = rf"{place} cannot be reached \(no credentials for this bucket\); expected a store that answers"
    refused(rf"^--workdir: {message}", runner.run, make_config(), place)
    for source in ("folder", "arrays"):
        config = make_config(data__source=source, data__root=str(place))
        refused(rf"^data\.root: {message}", data.load, config.data, "test", 0)
