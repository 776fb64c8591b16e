"""Published pickles in and out, against pickle.load, PyTorch and NumPy."""

import collections
import dataclasses
import functools
import pickle
import re

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from fsjax.fourier import dfm, published_maps, spectrum
from fsjax.runtime import files
from tests.helpers import results
from tests.helpers.refused import refused

SIZE = 8
SHARES = (0.25, 0.05)


def scores(classes=3, size=SIZE, seed=0):
    return np.random.default_rng(seed).normal(size=(classes, size, size)).astype(np.float32)


def masks(classes=3, size=SIZE, seed=0, kept=0.2):
    return np.random.default_rng(seed).random((classes, size, size)) < kept


def written(path, content):
    path.write_bytes(pickle.dumps(content))
    return path


def ours(classes=("a", "b", "c"), with_scores=True, shares=(0.05, 0.25)):
    symmetric = scores(len(classes)) + spectrum.conjugate(scores(len(classes)))
    maps = results.maps(symmetric, shares, classes, provenance={"fsjax": "0"})
    return maps if with_scores else dataclasses.replace(maps, scores=None)


FORMS = {
    "torch": lambda planes: {label: torch.from_numpy(plane) for label, plane in enumerate(planes)},
    "torch views": lambda planes: {label: torch.tensor(plane.T.copy()).T for label, plane in enumerate(planes)},
    "float64": lambda planes: {label: plane.astype(np.float64) for label, plane in enumerate(planes)},
    "lists": lambda planes: {label: plane.tolist() for label, plane in enumerate(planes)},
    "rows of arrays": lambda planes: {label: list(plane) for label, plane in enumerate(planes)},
    "numpy keys, out of order": lambda planes: {np.int64(label): planes[label] for label in (2, 0, 1)},
    "ordered": lambda planes: collections.OrderedDict(enumerate(planes)),
}


@pytest.mark.parametrize("form", FORMS)
def test_scores_become_masks_at_the_published_threshold(tmp_path, form):
    planes = scores()
    file = written(tmp_path / "modelloss1.pkl", FORMS[form](planes))
    maps = published_maps.read_maps(file, classes=None, shares=SHARES)
    np.testing.assert_array_equal(maps.scores, planes)
    assert maps.shares == (0.05, 0.25) and maps.classes == ("0", "1", "2") and not maps.named
    for index, count in enumerate((3, 16)):  # int(X * 64)
        for mask, plane in zip(maps.masks[index], planes, strict=True):
            least = torch.topk(torch.tensor(plane).ravel(), count).values[-1].item()
            np.testing.assert_array_equal(mask, plane >= least)
    assert (maps.method, maps.searched_on) == ("removal", "test")
    assert maps.provenance[dfm.COMPAT] and not maps.images.any()
    assert maps.provenance["file"]["sha256"] == files.sha256(file) and len(files.sha256(file)) == 64


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "kept", "share"),
    [
        *(("resnet18_DFM_0.05", 3, 0.05), ("resnet18_DFM_5", 3, 0.05), ("x_DFM_7_DFM_.25_new", 16, 0.25)),
        *(("x_DFM_1", 1, 0.01), ("x_DFM_1", 60, 1.0), ("x_DFM_0.5", 1, 0.005), ("x_DFM_0.5", 31, 0.5)),
        *(("x_DFM_500", 20, 20 / 64), ("x", 20, 20 / 64)),
    ],
)
def test_masks_are_kept_at_the_share_of_their_name_or_the_smallest_that_allows_them(tmp_path, form, name, kept, share):
    """A name may mean a share or per cent: what the masks keep tells which."""
    planes = np.random.default_rng(0).permuted(np.arange(SIZE**2) < np.array([[kept], [kept - 1], [kept]]), axis=1)
    planes = planes.reshape(3, SIZE, SIZE)
    file = written(tmp_path / f"{name}.pkl", FORMS[form](planes.astype(np.float32)))
    maps = published_maps.read_maps(file, classes=("a", "b", "c"), shares=SHARES)
    np.testing.assert_array_equal(maps.masks[0], planes)
    assert maps.scores is None and maps.classes == ("a", "b", "c")
    assert maps.shares == (share,)


def test_of_several_masks_the_first_is_the_map(tmp_path):
    found = [masks(10, seed=label).astype(np.float64) for label in range(3)]
    for content in ({label: list(of_class) for label, of_class in enumerate(found)}, dict(enumerate(found))):
        maps = published_maps.read_maps(written(tmp_path / "hfss.pkl", content), classes=None, shares=SHARES)
        np.testing.assert_array_equal(maps.masks[0], np.stack([of_class[0] for of_class in found]))
        assert maps.scores is None


class Payload:
    def __reduce__(self):
        return exec, ("raise SystemExit('run')",)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({0: [[1.0, 2.0], [3.0]]}, "class 0: a list that is no plane of numbers"),
        ({0: Payload(), 1: np.ones((2, 2))}, "class 0: an object that is not read (builtins.exec)"),
        ({0: [[1.0, Payload()], [3.0, 4.0]]}, "class 0: a list that is no plane of numbers"),
        ({0: np.array([[1.0, np.nan], [3.0, np.inf]])}, "class 0: 2 values that are not finite"),
        ({0: np.ones((4, 4)), 1: np.ones((6, 6))}, "planes of 4 x 4 and 6 x 6"),
        ({0: np.ones((4, 4)), 2: np.ones((4, 4))}, "the keys [0, 2]"),
        ({"cat": np.ones((4, 4))}, "the keys ['cat']"),
        ({0: np.random.default_rng(0).normal(size=(2, 4, 4))}, "lists of planes that are not of 0 and 1"),
        ({0: np.ones(16)}, "class 0: an array of 16, float64"),
        ({0: "mask"}, "class 0: a str"),
        ({0: []}, "class 0: a list that is no plane of numbers"),
        ({0: np.array([["a", "b"], ["c", "d"]])}, "class 0: an object that is not read"),
        ({0: np.ones((2, 2), complex)}, "class 0: an object that is not read"),
        ({}, "the keys []"),
        (np.ones((2, 4, 4)), "an array of 2 x 4 x 4, float64"),
        (Payload(), "an object that is not read"),
    ],
)
def test_anything_else_is_refused_in_one_line_that_says_what_it_is(tmp_path, content, found):
    file = written(tmp_path / "maps.pkl", content)
    start = f"^{re.escape(f'{file}: got {found}')}"
    message = refused(start, published_maps.read_maps, file, classes=None, shares=SHARES)
    assert "expected a workdir of fsjax or one of its dfm/*.npz, or a pickle of {class index: S x S scores" in message


def test_another_number_of_classes_a_missing_or_a_damaged_file_is_refused(tmp_path):
    file = written(tmp_path / "maps.pkl", dict(enumerate(scores())))
    read = functools.partial(published_maps.read_maps, shares=SHARES)
    refused("got maps of 3 classes; expected maps of 2 classes", read, file, classes=("a", "b"))
    refused("nothing: not there; expected a workdir", read, tmp_path / "nothing", classes=None)
    file.write_bytes(file.read_bytes()[:-40])
    refused(r"maps.pkl: not a readable pickle", read, file, classes=None)


def test_a_workdir_is_its_only_file_of_maps(tmp_path):
    read = functools.partial(published_maps.read_maps, classes=None, shares=SHARES)
    refused("holds nothing in dfm/; expected a folder with one", read, tmp_path)
    maps = ours()
    maps.save(tmp_path / "dfm" / "removal.npz")
    for path in (tmp_path, tmp_path / "dfm" / "removal.npz", str(tmp_path)):
        found = published_maps.read_maps(path, classes=("x",), shares=(0.5,))
        np.testing.assert_array_equal(found.masks, maps.masks)
        np.testing.assert_array_equal(found.scores, maps.scores)
        assert (found.classes, found.shares, found.searched_on) == (maps.classes, maps.shares, "train") and found.named
        assert found.provenance["fsjax"] == "0" and len(found.provenance["file"]["sha256"]) == 64
    maps.save(tmp_path / "dfm" / "greedy.npz")
    refused(r"holds greedy.npz, removal.npz in dfm/; expected .* or the file itself", read, tmp_path)


@pytest.mark.parametrize("with_scores", [True, False])
def test_what_is_written_is_what_the_published_code_reads_and_we_read_it_back(tmp_path, with_scores):
    maps = ours(with_scores=with_scores)
    files = published_maps.write_maps(maps, tmp_path / "out", "resnet18", patch=2)
    named = ["resnet18loss2.pkl"] * with_scores + ["resnet18_DFM_5.pkl", "resnet18_DFM_25.pkl"]
    assert [file.name for file in files] == named and sorted(tmp_path.joinpath("out").iterdir()) == sorted(files)
    images = torch.randn(2, 3, SIZE, SIZE)
    for file in files:
        with open(file, "rb") as opened:
            content = pickle.load(opened)
        assert list(content) == [0, 1, 2]
        back = published_maps.read_maps(file, classes=maps.classes, shares=(0.05, 0.25))
        if "loss" in file.name:
            assert all(type(plane) is torch.Tensor and plane.dtype == torch.float32 for plane in content.values())
            np.testing.assert_array_equal(torch.stack(list(content.values())).numpy(), maps.scores)
            np.testing.assert_array_equal(back.scores, maps.scores)
        else:
            share = float(file.name.removesuffix(".pkl").rpartition("_")[2]) / 100
            assert all(type(plane) is np.ndarray and plane.dtype == np.float32 for plane in content.values())
            np.testing.assert_array_equal(np.stack(list(content.values())), maps.at(share))
            np.testing.assert_array_equal(back.at(share), maps.at(share))
            # As the published evaluation filters: a tensor of the map times the centred spectrum.
            centred = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1)) * torch.tensor(content[1])
            filtered = torch.fft.ifft2(torch.fft.ifftshift(centred, dim=(-2, -1))).real
            channels_last = jnp.asarray(images.permute(0, 2, 3, 1).numpy())
            found = spectrum.filter_images(channels_last, jnp.asarray(maps.at(share)[1:2]))[0]
            np.testing.assert_allclose(filtered.permute(0, 2, 3, 1).numpy(), found, atol=1e-5)


@pytest.mark.parametrize("form", ["array", "list", "npy"])
def test_an_order_is_one_plane(tmp_path, form):
    order = np.arange(32.0).reshape(4, 8)
    path = tmp_path / ("order.npy" if form == "npy" else "order.pkl")
    if form == "npy":
        np.save(path, order.astype(np.int16))
    else:
        written(path, order if form == "array" else order.tolist())
    found = published_maps.read_order(path)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, order)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (np.ones((2, 4, 4)), "an array of 2 x 4 x 4, float64"),
        ({0: np.ones((4, 4))}, "the keys [0]"),
        (np.array([[1.0, -2.0]]), "an array of 1 x 2, float64;"),
        (np.array([[np.inf, np.nan]]), "an array of 1 x 2, float64;"),
        (np.zeros((2, 2)), "an array of 2 x 2, float64;"),
        (Payload(), "an object that is not read"),
    ],
)
def test_what_is_no_order_is_refused(tmp_path, content, found):
    message = f"{re.escape(f'order.pkl: got {found}')}.*expected a removal order"
    refused(message, published_maps.read_order, written(tmp_path / "order.pkl", content))
