"""fsjax.analyse: verdicts on planted classes, equal to launch.py on the same data, and the parts of a result."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import fsjax
from configs import dfm_vit
from fsjax import search as searches
from fsjax.data.dataset import Dataset
from fsjax.evaluation import evaluate as evaluation
from fsjax.evaluation import first_look
from fsjax.evaluation.results import read_evaluation
from fsjax.experiment.stage import Workspace
from fsjax.experiment.stages import search as search_stage
from fsjax.runtime import interrupt, progress
from tests.helpers.data_config import save_images
from tests.helpers.linear_classifier import MEAN_STD, Made, make_classifier, predictions
from tests.helpers.refused import refused

NAMES = ["plain", "wave", "bright"]
# Of 12 x 12 frequencies 1 % is one, without its conjugate.
SHARES = (0.02, 0.05)


def planted(seed, count=72, size=12):
    """Grey noise; class 1 has the wave of 3 x 2 cycles in any phase, class 2 is brighter."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 3
    rows, columns = np.mgrid[:size, :size]
    waves = np.cos(2 * np.pi * (3 * rows + 2 * columns) / size + rng.uniform(0, 2 * np.pi, (count, 1, 1)))
    images = rng.normal(size=(count, size, size)) + 0.8 * waves * (labels == 1)[:, None, None]
    images += 0.6 * (labels == 2)[:, None, None]
    return images[..., None].astype(np.float32), labels


def model(images):
    wave = jnp.abs(jnp.fft.rfft2(images, axes=(1, 2))[:, 3, 2, 0]) / 72
    return jnp.stack([0.4 + 0 * wave, wave, 1.4 * images.mean((1, 2, 3))], 1)


@pytest.fixture(scope="module")
def result():
    return fsjax.analyse(model, train=planted(0), test=planted(1), classes=NAMES, shares=SHARES)


def test_a_planted_wave_is_a_shortcut_and_brightness_is_none(result):
    of = {verdict.name: verdict for verdict in result.verdicts}
    assert list(of) == NAMES and of["wave"].kind == "shortcut" and of["wave"].by == "amplitude"
    assert of["bright"].kind == "coarse" and of["plain"].kind != "shortcut"
    low, high = of["wave"].psi_ci
    assert 0.5 < low <= of["wave"].psi <= high and of["wave"].share == pytest.approx(2 / 144, abs=1e-4)
    # Of 12 x 12 positions DC is (6, 6): the wave and its conjugate.
    assert result.maps.at(0.05)[1][3, 4] and result.maps.at(0.05)[1][9, 8]
    assert "wave: shortcut by amplitude" in of["wave"].sentence
    table = result.table()
    assert table.startswith("1 of 3 classes is a frequency shortcut: wave.") and "TPR at 5 %" in table
    assert repr(result.maps) == "<fsjax maps of graft, 3 classes at 12 x 12, shares 0.02, 0.05>"
    assert repr(result).startswith("<fsjax.Result of graft, 3 classes: 1 of 3 classes is") and len(repr(result)) < 300
    assert result._repr_html_().count("<tr") == 4 and "shortcut by amplitude" in result._repr_html_()


def test_verdicts_are_those_of_launch_on_the_same_data_and_model(tmp_path):
    """The stages search and evaluate, of a linear classifier that is always right."""
    sources, classifier = {}, make_classifier(3)
    for seed, split in enumerate(("train", "test")):
        source = sources[split] = Made((14, 15, 13), seed=seed)
        source.labels = predictions(classifier, source.images, np.ones((8, 8))).astype(np.int32)
    config = dfm_vit.get_config()
    changes = {"data.image_size": 8, "search.shares": (0.05, 0.2), "report.share": 0.2, "seed": 3}
    changes |= {"search.method": "graft", "search.images_per_class": 6, "search.resamples": 4}
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    workspace = Workspace(config, tmp_path / "run")
    workspace.classifier = classifier
    workspace._datasets |= {split: Dataset(source, 8) for split, source in sources.items()}
    maps = searches.run(search_stage.problem(workspace, config.seed))
    evaluation.run(config, workspace.directory, classifier, maps, workspace.dataset("test"))
    workspace.metrics.close()
    expected = read_evaluation(workspace.directory / "evaluation.json")
    splits = {split: (source.images, source.labels) for split, source in sources.items()}
    options = {"shares": (0.05, 0.2), "mean_std": MEAN_STD, "seed": 3, "images_per_class": 6, "resamples": 4}
    result = fsjax.analyse(classifier, **splits, classes=classifier.classes, **options)
    np.testing.assert_array_equal(result.maps.scores, maps.scores)
    assert result.evaluation.to_json() == expected.to_json()
    assert result.verdicts == list(expected.methods["graft"].grafts.verdicts) and len(result.verdicts) == 3


def test_what_is_saved_is_loaded_and_has_the_page_of_a_run(result, tmp_path, undrawn):
    page = result.report(tmp_path / "out")
    text = page.read_text()
    assert page == tmp_path / "out" / "report" / "graft" / "index.html" and "12 x 12 pixels" in text
    assert "wave: shortcut by amplitude" in text and "with the graft" in text and "image/webp" in text
    loaded = fsjax.load_result(tmp_path / "out")
    assert loaded.verdicts == result.verdicts and loaded.table() == result.table()
    assert loaded.evaluation.to_json() == result.evaluation.to_json() and loaded.figures == result.figures
    np.testing.assert_array_equal(loaded.maps.masks, result.maps.masks)
    assert loaded.save(tmp_path / "again") and fsjax.load_result(tmp_path / "again").verdicts == result.verdicts
    refused("report: got a result read from files; expected", loaded.report, tmp_path / "again")
    dataclasses.replace(result.maps, method="learned").save(tmp_path / "other" / "dfm" / "learned.npz")
    refused(r"save: got .*, which holds maps of learned; expected another folder", result.save, tmp_path / "other")
    (tmp_path / "again" / "stages").mkdir()
    refused(r"save: got .*, the workdir of a run", result.save, tmp_path / "again")


def test_figures_have_names_and_a_frame_has_a_row_for_each_class(result):
    assert result.figures[0] == "psi" and {"maps", "scores", "rates", "radial_profiles"} < set(result.figures)
    assert [axis.get_title() for axis in result.plot().axes[:3]] == NAMES
    assert result.plot("maps").axes[1].get_title().startswith("wave (")
    refused(r"plot: got 'mapps'; expected psi, .* \(did you mean maps\?\)", result.plot, "mapps")

    table = result.to_frame()
    assert table["name"].tolist() == NAMES and table["psi_low"][1] == result.verdicts[1].psi_ci[0]
    assert table["sentence"].tolist() == [verdict.sentence for verdict in result.verdicts]


def test_a_killed_call_goes_on_and_other_test_images_have_outcomes_of_their_own(result, tmp_path, monkeypatch):
    def analyse(**changes):
        splits = {"train": planted(0), "test": planted(1)} | changes
        return fsjax.analyse(result.model, **splits, classes=NAMES, shares=SHARES, directory=tmp_path / "partial")

    def stored(folder):
        return {file: file.stat().st_mtime_ns for file in (tmp_path / "partial" / folder).rglob("*.npz")}

    checks = []
    for folder, last in (("search", 3), ("grafts", 30)):  # killed in each
        with monkeypatch.context() as patch:
            patch.setattr(interrupt, "requested", lambda: checks.append(folder) or checks.count(folder) > last)  # noqa: B023
            with pytest.raises(interrupt.Terminated):
                analyse()
    kept = stored("search") | stored("grafts")
    assert stored("search") and stored("grafts")
    swapped = analyse(test=(planted(1)[0][::-1].copy(), planted(1)[1]))
    assert swapped.verdicts != result.verdicts and swapped.maps.positions.tolist() == result.maps.positions.tolist()
    assert kept.items() <= (stored("search") | stored("grafts")).items()
    assert analyse().evaluation.to_json() == result.evaluation.to_json()
    refused("partial results of another search", analyse, train=planted(2))


def test_the_model_of_a_result_is_not_compiled_again(result):
    images, labels = planted(2)
    waves, others = images[labels == 1], images[labels == 0]
    few = {"steps": 2, "refinements": 2}
    found = fsjax.attribute(result.model, waves, **few)
    grafts = fsjax.graft(result.model, others, waves, result.maps.at(0.05)[1])
    np.testing.assert_array_equal(found.predicted, model(waves).argmax(1))
    np.testing.assert_allclose(grafts.before, model(others), atol=1e-6)
    before = progress.compiled()[0]
    fsjax.attribute(result.model, waves + 1, **few)
    fsjax.graft(result.model, waves, others, result.maps.at(0.05)[1])
    fsjax.evaluate(result.model, result.maps, planted(1))
    assert progress.compiled()[0] == before


def test_graft_is_searched_where_it_serves_and_removal_elsewhere(result, caplog):
    images, labels = planted(0)
    few = np.sort(np.concatenate([np.flatnonzero(labels != 1), [1]]))  # one image of the class wave
    for chosen, fields in ((few, {}), (slice(None), {"images_per_class": 1})):
        caplog.clear()
        maps = fsjax.dominant_frequencies(result.model, images[chosen], labels[chosen], shares=(0.05,), **fields)
        assert maps.method == "removal"
        assert caplog.text.count("search: removal, as graft needs two or more classes of two or more images") == 1
    given, message = (result.model, images[few], labels[few]), "search.method: got graft with 3 classes, the smallest"
    refused(f"{message} of 1 images", fsjax.dominant_frequencies, *given, search="graft", shares=(0.05,))
    assert result.method == "graft"


def test_a_first_look_says_so_names_the_full_call_and_leaves_given_fields(result, tmp_path, undrawn):
    options = {"quick": True, "pairs": 9, "paths": 5, "seed": 3}
    look = fsjax.analyse(result.model, train=planted(0), test=planted(1, 150), classes=NAMES, **options)
    fields, preset = look.config, {name: value for name, (value, _) in first_look.PRESET.items()}
    assert (fields["evaluate"]["pairs"], fields["search"]["graft"]["paths"]) == (9, 5)
    assert fields["search"]["graft"]["steps"] == preset["search.graft.steps"] and fields["evaluate"]["grid"] == ()
    assert look.evaluation.images.tolist() == [preset["evaluate.images_per_class"]] * 3
    full = "fsjax.analyse(model, train=..., test=..., classes=['plain', 'wave', 'bright'], pairs=9, seed=3, paths=5)"
    assert str(look).startswith("First look: ") and str(look).endswith(f"The full answer:\n{full}")
    page = look.report(tmp_path).read_text()
    assert "<strong>First look: " in page and full.replace("'", "&#39;") in page
    assert "First look" not in str(result) and str(fsjax.load_result(tmp_path)) == str(look)


def test_maps_are_evaluated_by_themselves(result):
    judged = fsjax.evaluate(result.model, result.maps, planted(1))
    assert judged.evaluation.to_json() == result.evaluation.to_json()
    few = fsjax.evaluate(result.model, result.maps, planted(1), pairs=9, grid=(0.3,)).evaluation.methods["graft"]
    assert few.grafts.baseline.pairs.tolist() == [9, 9, 9] and list(few.grid) == ["0.3"]
    none = fsjax.evaluate(result.model, result.maps, planted(1), pairs=0, grid=())
    assert none.evaluation.methods["graft"].grid == {} and none.verdicts == []
    searched = dataclasses.replace(result.maps, searched_on="test", method="mine", scores=None)
    judged = fsjax.evaluate(result.model, searched, planted(1))
    assert {verdict.kind for verdict in judged.verdicts} == {"undecided"}
    assert "not searched" in judged.table() + str(judged.verdicts)
    message, others = "maps: got planes of 12 x 12; expected 8 x 8, as the images of test have", planted(1)
    refused(message, fsjax.evaluate, model, result.maps, (others[0][:, :8, :8], others[1]))


def test_arrays_pairs_and_folders_give_the_same_result(tmp_path):
    sources = {split: Made((9, 8), seed=seed) for seed, split in enumerate(("train", "val"))}
    params = jnp.asarray(make_classifier(2).params)
    for split, source in sources.items():
        for label, name in enumerate(source.classes):
            save_images(tmp_path / split / name, source.images[source.labels == label])

    def analyse(classifier, form, **options):
        splits = {"train": form("train"), "test": form("val")}
        fields = {"mean_std": MEAN_STD, "resamples": 0, "shares": SHARES[1:]}
        return fsjax.analyse(classifier, **splits, **fields, **options)

    def sorted_arrays(split):
        order = np.argsort(sources[split].labels, kind="stable")
        return sources[split].images[order], sources[split].labels[order]

    def sorted_pairs(split):
        return [(Image.fromarray(image), int(label)) for image, label in zip(*sorted_arrays(split), strict=True)]

    arrays = analyse(lambda images: images.reshape(len(images), -1) @ params, sorted_arrays)
    assert arrays.classes == ("0", "1")
    pairs = analyse(arrays.model, sorted_pairs)
    folders = analyse(arrays.model, lambda split: tmp_path / split, image_size=8)
    assert folders.classes == ("class 0", "class 1") and folders.config["data"]["source"] == "folder"
    expected = json.dumps(arrays.evaluation.to_json())
    for other in (pairs, folders):
        np.testing.assert_array_equal(other.maps.scores, arrays.maps.scores)
        assert json.dumps(other.evaluation.to_json()).replace("class ", "") == expected
