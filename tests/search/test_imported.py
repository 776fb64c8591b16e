"""Maps of another model, or of the published code, judged on this one: against NumPy's own filtering."""

import html
import json
import logging
import pickle
import re
import shutil

import jax
import numpy as np
import pytest
import torch

from fsjax import data, search
from fsjax.experiment import runner
from fsjax.fourier import dfm, spectrum
from fsjax.models.source import model_source
from fsjax.runtime import files
from tests.helpers import results
from tests.helpers.plane import filtered
from tests.helpers.refused import refused
from tests.helpers.small_run import small_config

SIZE = 24
CLASSES = ("C0", "C1", "C2", "C3")


pytestmark = pytest.mark.usefixtures("undrawn")


def make_config(stages, maps=""):
    fields = {"data__synthetic__train_per_class": 8, "train__steps": 40, "train__batch_size": 8}
    fields |= {"evaluate__pairs": 4, "evaluate__grid": ()}
    fields |= {"search__method": "imported", "search__imported__maps": str(maps)} if maps else {}
    return small_config(stages=stages, **fields)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    runner.run(make_config("train"), directory)
    return directory


@pytest.fixture
def run(trained, tmp_path):
    """Runs search, evaluate and report with imported maps in a copy of the trained workdir."""
    directory = tmp_path / "run"
    shutil.copytree(trained, directory)

    def run(path):
        runner.run(make_config("search,evaluate,report", path), directory)
        maps = dfm.DominantFrequencyMaps.load(directory / "dfm" / "imported.npz")
        evaluation = json.loads((directory / "evaluation.json").read_text())
        page = (directory / "report" / "imported" / "index.html").read_text()
        without_images = re.sub(r'src="[^"]*"', "", page)
        text = html.unescape(re.sub(r"</?(p|em|strong)[^>]*>", "", without_images))
        return maps, evaluation["methods"]["imported"], " ".join(text.split())

    run.directory = directory
    return run


def low_pass(classes=CLASSES, shares=(0.1, 0.3), size=SIZE):
    """A ring of low frequencies more for each class, as maps of another search."""
    radius = spectrum.radius(size, size)
    planes = [-np.abs(radius - 0.03 * label) for label in range(len(classes))]
    return results.maps(planes, shares, classes, provenance={"loss_before_removal": [1.0] * 4})


def rates(directory, masks):
    """TPR and FPR of the test images, filtered by NumPy."""
    config = make_config("train")
    loaded, test = model_source(config).model(directory), data.load(config.data, "test", config.seed)
    images = (test.images(np.arange(len(test))) / 255.0 - loaded.mean_std[0]) / loaded.mean_std[1]
    tpr, fpr = [], []
    for label, mask in enumerate(masks):
        logits = jax.jit(loaded.apply)(loaded.params, filtered(images, mask).astype(np.float32))
        called = np.asarray(logits).argmax(1) == label
        tpr.append(called[test.labels == label].mean())
        fpr.append(called[test.labels != label].mean())
    return tpr, fpr


def test_maps_of_another_workdir_are_judged_on_this_model_and_the_report_says_whose_they_are(run, tmp_path):
    theirs = low_pass()
    theirs.save(tmp_path / "other" / "dfm" / "removal.npz")
    maps, evaluation, page = run(tmp_path / "other")
    np.testing.assert_array_equal(maps.masks, theirs.masks)
    np.testing.assert_array_equal(maps.scores, theirs.scores)
    assert maps.method == "imported" and maps.searched_on == "train" and maps.shares == (0.1, 0.3)
    assert maps.forward_equivalents == 0
    origin = maps.provenance["imported"]
    assert origin["path"] == str(tmp_path / "other" / "dfm" / "removal.npz") and origin["method"] == "removal"
    assert origin["sha256"] == files.sha256(tmp_path / "other" / "dfm" / "removal.npz")
    assert origin["provenance"] == theirs.provenance and "fields" in maps.provenance
    for share in theirs.shares:
        tpr, fpr = rates(run.directory, theirs.at(share))
        np.testing.assert_allclose(evaluation["shares"][f"{share:g}"]["tpr"], tpr, atol=1e-6)
        np.testing.assert_allclose(evaluation["shares"][f"{share:g}"]["fpr"], fpr, atol=1e-6)
    assert len({tpr for share in evaluation["shares"].values() for tpr in share["tpr"]}) > 1, "they tell masks apart"
    # config.report.share, 5 %, is not among theirs: the nearest is shown.
    assert "map of 10 %" in page
    assert f"imported from {origin['path']}" in page and "made by removal" in page
    assert '"name": "score"' in page and evaluation["planted"]["C2"]["planted_orbits"] == 8


def test_a_published_pickle_of_half_masks_is_judged_without_scores(run, tmp_path):
    masks = np.random.default_rng(0).random((4, SIZE, SIZE)) < 0.3
    file = tmp_path / "resnet_DFM_0.3.pkl"
    file.write_bytes(pickle.dumps({label: torch.tensor(mask).float() for label, mask in enumerate(masks)}))
    maps, evaluation, page = run(file)
    assert not spectrum.is_hermitian(maps.at(0.3)) and maps.classes == CLASSES and maps.searched_on == "test"
    tpr, fpr = rates(run.directory, masks)
    np.testing.assert_allclose(evaluation["shares"]["0.3"]["tpr"], tpr, atol=1e-6)
    np.testing.assert_allclose(evaluation["shares"]["0.3"]["fpr"], fpr, atol=1e-6)
    assert evaluation["planted"] == {} and "made by published" in page
    assert "imported, on test images, 0 forward passes" in page


def test_a_file_that_has_changed_is_imported_anew(run, tmp_path, caplog):
    file = tmp_path / "loss1.pkl"
    caplog.set_level(logging.INFO, "fsjax.experiment.pipeline")
    for seed, already in ((0, False), (0, True), (1, False)):
        planes = 2 + np.random.default_rng(seed).random((4, SIZE, SIZE))
        file.write_bytes(pickle.dumps(dict(enumerate(planes))))
        caplog.clear()
        runner.run(make_config("search", file), run.directory)
        assert ("search: already done" in caplog.text) == already
        maps = dfm.DominantFrequencyMaps.load(run.directory / "dfm" / "imported.npz")
        np.testing.assert_allclose(maps.scores, planes, rtol=1e-6)
        assert maps.classes == CLASSES, "numbered maps take the names of the model"
        assert maps.shares == (0.01, 0.05, 0.1, 0.2)
    page = run(file)[2]
    assert "Loss without a frequency, less the median" in page and "made by removal" in page


@pytest.mark.parametrize(
    ("classes", "size", "message"),
    [
        ("abcd", SIZE, "with maps of a, b, c, d, ... (4); expected the model's classes, C0, C1, C2"),
        ("012", SIZE, "with maps of 0, 1, 2, ... (3); expected the model's classes, C0, C1"),
        ("0123", 8, "with maps of 8 x 8; expected 24 x 24, the size of the images"),
    ],
)
def test_maps_of_other_classes_or_of_another_plane_are_refused(run, tmp_path, classes, size, message):
    low_pass(tuple(classes), size=size).save(tmp_path / "maps.npz")
    refused(re.escape(message), run, tmp_path / "maps.npz")
    assert not (run.directory / "dfm").exists()


def test_a_missing_file_is_refused_before_anything_runs(tmp_path):
    for path, found in (("", "nothing"), (str(tmp_path / "nothing"), "/nothing, which does not exist")):
        config = small_config(stages="search", search__method="imported", search__imported__maps=path)
        refused(f"imported.maps: got .*{found}; expected a workdir with maps", runner.run, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert search.used("imported.maps", "imported") and not search.used("imported.maps", "removal")
