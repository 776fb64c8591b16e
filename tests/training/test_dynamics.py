"""Learning dynamics: copies by radial bands, F1 and relative confusion, and files that outlive a kill."""

import dataclasses
import json
import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score

from configs import common
from configs import dynamics as dynamics_config
from fsjax import data
from fsjax.data.dataset import Dataset
from fsjax.evaluation import band_dynamics
from fsjax.experiment import runner
from fsjax.fourier import spectrum
from fsjax.models import Network
from fsjax.models.source import model_source
from fsjax.report import dynamics as page
from fsjax.runtime import files, interrupt
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.training.evaluators import dynamics
from fsjax.training.evaluators.evaluator import EvaluatorContext
from tests.helpers.linear_classifier import MEAN_STD, Made
from tests.helpers.refused import refused
from tests.helpers.small_run import lines, training_config


def coloured(counts, size):
    """A source of random images with a colour each, so that DC matters."""
    source = Made(counts, size)
    colours = np.random.default_rng(1).uniform(0.3, 1, (sum(counts), 1, 1, 3))
    source.images = (source.images * colours).astype(np.uint8)
    return source


class Linear(Network):
    """Logits linear in the pixels; counts how often it is traced."""

    traced = 0

    def init(self, seed):
        shape = (self.image_size**2 * 3, self.num_classes)
        return {"params": np.random.default_rng(seed).normal(size=shape).astype(np.float32), "batch_stats": {}}

    def apply(self, variables, images):
        Linear.traced += 1
        return images.reshape(len(images), -1) @ variables["params"]


def watch(directory, source, size, **options):
    config = common.base()
    config.dynamics.update(options)
    dataset = Dataset(source, size)
    network = Linear(lambda: None, len(source.classes), size, np.dtype("float32"))
    return EvaluatorContext(network, MEAN_STD, config, lambda split: dataset, directory)


def plainly_filtered(images, digits, mean_std=MEAN_STD):
    """Normalised images with the other bands set to 0, in float64, by each frequency's radius."""
    vertical, horizontal = (np.fft.fftfreq(side) for side in images.shape[1:3])
    radius = np.hypot(vertical[:, None], horizontal)
    bands = 1 + sum(radius >= edge / 8 for edge in (1, 2, 3))
    keep = np.isin(bands, [int(digit) for digit in digits])
    pixels = (images.astype(float) / 255 - mean_std[0]) / mean_std[1]
    return np.fft.ifft2(np.fft.fft2(pixels, axes=(1, 2)) * keep[None, :, :, None], axes=(1, 2)).real


@pytest.mark.parametrize("size", [(32, 32), (8, 11)])
def test_bands_partition_the_plane_and_a_copy_is_what_numpy_leaves(size):
    names = band_dynamics.parse("")
    masks = dict(zip(names, band_dynamics.masks(names, *size), strict=True))
    np.testing.assert_array_equal(sum(masks[band].astype(int) for band in "1234"), np.ones(size, int))
    assert masks["1234"].all() and masks["1"][size[0] // 2, size[1] // 2], "DC belongs to band 1"
    images = np.random.default_rng(1).integers(0, 256, (2, *size, 3)).astype(np.uint8)
    pixels = ((images / 255 - MEAN_STD[0]) / MEAN_STD[1]).astype(np.float32)
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, np.any([masks[digit] for digit in name], axis=0))
        assert spectrum.is_hermitian(mask)
        found = spectrum.filter_images(jnp.asarray(pixels), jnp.asarray(mask[None]))[0]
        np.testing.assert_allclose(found, plainly_filtered(images, name), atol=1e-5)
    # Images come to have the mean colour of the training images: 0 once normalised.
    np.testing.assert_allclose(plainly_filtered(images, "234").mean((1, 2)), 0, atol=1e-12)


@pytest.mark.parametrize(("size", "group", "per_class"), [(8, 2048, 0), (9, 3, 4)])
def test_confusion_and_f1_are_scikit_learns_on_copies_filtered_alone(tmp_path, monkeypatch, size, group, per_class):
    source, names = coloured((7, 5, 12), size), ("14", "1234", "2", "34")
    monkeypatch.setattr(dynamics, "GROUP", group)
    context = watch(tmp_path, source, size, keep=",".join(names), images_per_class=per_class)
    evaluate = dynamics.DynamicsEvaluator(context)
    of_classes = [np.flatnonzero(source.labels == label)[: per_class or None] for label in range(3)]
    rows = np.sort(np.concatenate(of_classes))
    labels = source.labels[rows]
    for step, seed in ((5, 3), (10, 4)):
        traced, variables = Linear.traced, context.network.init(seed)
        values = dict(evaluate.run(step, variables))
        assert step == 5 or Linear.traced == traced, "other parameters need no other program"
        file = files.read_npz(tmp_path / "dynamics" / f"{step:08d}.npz")
        assert file["keep"].tolist() == list(names) and file["classes"].tolist() == list(source.classes)
        for name, counts in zip(names, file["confusion"], strict=True):
            pixels = plainly_filtered(source.images[rows], name)
            predicted = (pixels.reshape(len(rows), -1) @ variables["params"].astype(float)).argmax(1)
            np.testing.assert_array_equal(counts, confusion_matrix(labels, predicted, labels=range(3)))
            scores = f1_score(labels, predicted, average=None, labels=range(3))
            np.testing.assert_allclose(band_dynamics.f1(counts), scores)
            assert values.pop(f"f1_bands_{name}") == pytest.approx(scores.mean())
            if name == "1234":
                assert [values.pop(f"f1_class_class {label}") for label in range(3)] == pytest.approx(scores.tolist())
        assert not values
    np.testing.assert_array_equal(dynamics.read(tmp_path, [10, 5])[0], file["confusion"])


def random_dynamics(rng, copies=("13", "1234", "4"), classes=3, seeds=2, evaluations=4):
    sizes = rng.integers(3, 9, classes)
    counts = np.zeros((seeds, evaluations, len(copies), classes, classes), int)
    for index in np.ndindex(counts.shape[:4]):
        counts[index] = rng.multinomial(sizes[index[3]], rng.dirichlet(np.ones(classes)))
    names = tuple(f"class {label}" for label in range(classes))
    return band_dynamics.Dynamics(names, copies, tuple(range(seeds)), 5 * np.arange(1, evaluations + 1), counts)


def test_relative_confusion_and_first_steps_are_those_of_a_loop():
    found = random_dynamics(np.random.default_rng(0))
    confused, summary = found.relative_confusion, found.summary()
    for seed, evaluation, copy, i, j in np.ndindex(confused.shape):
        original = found.confusion[seed, evaluation, 1]
        difference = int(found.confusion[seed, evaluation, copy, i, j]) - int(original[i, j])
        assert confused[seed, evaluation, copy, i, j] == pytest.approx(100 * difference / original[i].sum())
    np.testing.assert_allclose(confused.sum(-1), 0, atol=1e-9)
    for threshold in (0.5, 0.8):
        for copy, name in enumerate(found.copies):
            for label, title in enumerate(found.classes):
                for seed in range(2):
                    scores = found.f1[seed, :, copy, label]
                    step = next((5 * (i + 1) for i, score in enumerate(scores) if score >= threshold), None)
                    assert summary["first_step"][f"{threshold:g}"][name][title][seed] == step
    assert any(None in steps for row in summary["first_step"]["0.5"].values() for steps in row.values())
    at_end = found.f1[:, -1, 0]
    assert summary["f1"]["13"]["mean"] == pytest.approx(at_end.mean(0).tolist())
    assert summary["f1"]["13"]["spread"] == pytest.approx((np.abs(at_end[0] - at_end[1]) / np.sqrt(2)).tolist())
    assert summary["images"] == found.confusion[0, 0, 0].sum(1).tolist()


def test_the_original_is_learned_from_where_its_mean_f1_stays_above():
    right, wrong = np.diag([4, 4]), np.array([[4, 0], [4, 0]])
    history = np.stack([wrong, right, wrong, right, right])[None, :, None]
    found = band_dynamics.Dynamics(("a", "b"), ("1234",), (7,), np.arange(1, 6) * 10, history)
    assert found.learned == 3 and found.shown == [3, 4]
    assert dataclasses.replace(found, confusion=history[:, ::-1]).learned is None
    summary = found.summary()
    assert list(summary["relative_confusion"]) == ["40", "50"] and summary["f1"]["1234"]["spread"] == [None, None]
    assert page.by_first_step(found) == [("a", 20.0, 1), ("b", 20.0, 1)]


def test_the_class_that_more_seeds_learn_comes_first_and_then_the_earlier(tmp_path):
    right, wrong = np.diag([4, 4, 4]), np.array([[4, 0, 0], [4, 0, 0], [4, 0, 0]])
    b_alone, a_alone = np.array([[0, 0, 4], [0, 4, 0], [4, 0, 0]]), np.array([[4, 0, 0], [0, 0, 4], [0, 4, 0]])
    history = np.stack([[wrong, b_alone, right, right], [wrong, wrong, a_alone, a_alone]])
    history = np.repeat(history[:, :, None], 2, axis=2)
    found = band_dynamics.Dynamics(("a", "b", "c"), ("1234", "2"), (0, 1), np.arange(1, 5) * 10, history)
    assert found.first_reached(0.5)[0, 0].tolist() == [10.0, 20.0, 30.0], "an F1 of just 0.5 counts"
    assert page.by_first_step(found) == [("a", 30.0, 2), ("b", 20.0, 1), ("c", 30.0, 1)]
    page.write(tmp_path, found, found.summary())
    text = " ".join((tmp_path / "report" / "dynamics.html").read_text().split())
    assert "<strong>a is the first to reach an F1 of 0.8</strong>, at iteration 30 (mean of 2 of 2 seeds)" in text
    assert "; c is the last, at 30 (mean of 1 of 2 seeds)." in text
    assert "<td>original</td><td>30, 30</td><td>20, –</td><td>30, –</td>" in text


def test_the_curves_show_mean_and_range_of_the_seeds():
    found = random_dynamics(np.random.default_rng(1), seeds=3)
    figure = page.f1_curves(found)
    for copy, axis in enumerate(figure.axes[:3]):
        assert axis.get_title() == band_dynamics.title(found.copies[copy])
        lines = [line for line in axis.lines if line.get_label() in found.classes]
        for label, (line, area) in enumerate(zip(lines, axis.collections, strict=True)):
            scores = found.f1[:, :, copy, label]
            np.testing.assert_allclose(line.get_ydata(), scores.mean(0))
            edge = area.get_paths()[0].vertices
            for step, column in zip(found.steps, scores.T, strict=True):
                heights = edge[edge[:, 0] == step, 1]
                np.testing.assert_allclose([heights.min(), heights.max()], [column.min(), column.max()])
    figure = page.confusion_grid(found, 2)
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == [band_dynamics.title("13"), band_dynamics.title("4")]
    np.testing.assert_allclose(shown[1].images[0].get_array(), found.relative_confusion[:, 2, 2].mean(0))


def small_config(**changes):
    fields = {"stages": "dynamics", "train__evaluators": "dynamics", "train__evaluate_every": 2}
    fields |= {"dynamics__seeds": "0,3", "dynamics__images_per_class": 6, "dynamics__keep": "1234,24,1"}
    return training_config(**fields | {"run__checkpoint_every": 3} | changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dynamics")
    runner.run(small_config(), directory)
    return directory


def seed_config(seed, **changes):
    return small_config(seed=seed, stages="train", **changes)


def variables_of(directory):
    network = model_source(seed_config(0)).trained_network(directory)
    return jax.tree.leaves(network.variables)


def evaluated(directory):
    return {file.name: files.read_npz(file) for file in sorted((directory / "dynamics").iterdir())}


def assert_same_files(left, right):
    assert left.keys() == right.keys()
    for name in left:
        for array in left[name]:
            np.testing.assert_array_equal(left[name][array], right[name][array])


def test_the_stage_joins_what_was_measured_of_the_trained_network_of_each_seed(done):
    found, summary = files.read_npz(done / "dynamics.npz"), json.loads((done / "dynamics.json").read_text())
    assert found["steps"].tolist() == summary["steps"] == [2, 4, 6] and summary["seeds"] == [0, 3]
    assert found["confusion"].shape == (2, 3, 3, 4, 4) and summary["images"] == [6] * 4
    test = data.load(small_config().data, "test", 0)
    rows = np.sort(np.concatenate([np.flatnonzero(test.labels == label)[:6] for label in range(4)]))
    for index, seed in enumerate((0, 3)):
        np.testing.assert_array_equal(found["confusion"][index], dynamics.read(done / f"seed-{seed}", [2, 4, 6]))
        trained = model_source(seed_config(seed)).trained_network(done / f"seed-{seed}")
        pixels = plainly_filtered(test.images(rows), "24", trained.mean_std).astype(np.float32)
        predicted = np.asarray(trained.network.apply(trained.variables, jnp.asarray(pixels))).argmax(1)
        truth = confusion_matrix(test.labels[rows], predicted, labels=range(4))
        np.testing.assert_array_equal(found["confusion"][index, -1, 1], truth)
    np.testing.assert_allclose(found["f1"], band_dynamics.f1(found["confusion"]))
    arrays = [variables_of(done / f"seed-{seed}") for seed in (0, 3)]
    assert not all(np.array_equal(*pair) for pair in zip(*arrays, strict=True)), "seeds differ"
    at_end = next(line for line in lines(done / "seed-3") if line["step"] == 6 and "f1_bands_24" in line)
    assert at_end["f1_bands_24"] == pytest.approx(found["f1"][1, 2, 1].mean())
    assert at_end["f1_class_C2"] == pytest.approx(found["f1"][1, 2, 0, 2])


def test_the_page_opens_from_disk_and_says_what_was_found(done):
    text = (done / "report" / "dynamics.html").read_text()
    assert text.count("<img") == text.count('src="data:image/webp;base64,') == 1 + text.count("<h3>") >= 2
    assert "://" not in text and "<script" not in text
    found = files.read_npz(done / "dynamics.npz")
    for value in found["f1"][:, -1].mean(0).ravel():
        assert f"<td>{value:.3f} <span" in text
    assert (done / "report" / "figures" / "f1_curves.png").stat().st_size
    assert (done / "report" / "figures" / "relative_confusion_6.png").stat().st_size


def test_another_seed_is_added_and_what_is_done_is_neither_trained_nor_evaluated_again(done, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "fsjax")
    runner.run(small_config(), done)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["dynamics"]
    caplog.clear()
    before = evaluated(done / "seed-0")
    runner.run(small_config(dynamics__seeds="0,3,4"), done)
    already = [record.getMessage() for record in caplog.records if "already done" in record.getMessage()]
    assert already == [f"train: already done in {done / f'seed-{seed}'}" for seed in (0, 3)]
    assert json.loads((done / "dynamics.json").read_text())["seeds"] == [0, 3, 4]
    assert_same_files(evaluated(done / "seed-0"), before)
    refused(r"dynamics\.keep was '1234,24,1', now '1234,24'", runner.run, small_config(dynamics__keep="1234,24"), done)
    message = r"holds a train result .*dynamics\.keep was '1234,24,1', now '1234,24'"
    refused(message, runner.run, seed_config(3, dynamics__keep="1234,24"), done / "seed-3")
    monkeypatch.setattr(dynamics, "make_counter", lambda *args: pytest.fail("evaluated again"))
    files = {file: file.stat().st_mtime_ns for file in (done / "seed-0" / "dynamics").iterdir()}
    (done / "seed-0" / "stages" / "train.json").unlink()
    runner.run(seed_config(0), done / "seed-0")
    assert {file: file.stat().st_mtime_ns for file in (done / "seed-0" / "dynamics").iterdir()} == files


def test_watching_changes_no_weight(done, tmp_path):
    runner.run(seed_config(0, train__evaluators=""), tmp_path)
    assert not (tmp_path / "dynamics").exists()
    for evaluated_too, alone in zip(variables_of(done / "seed-0"), variables_of(tmp_path), strict=True):
        np.testing.assert_array_equal(evaluated_too, alone)


class Killed(Exception):
    """Stands for kill -9: no safe point, nothing saved."""


def test_killed_and_started_again_leaves_the_files_of_an_uninterrupted_training(done, tmp_path, monkeypatch):
    seen = []

    def requested():
        seen.append(1)
        if len(seen) == 6:  # the start asks once, and each step
            raise Killed
        return False

    monkeypatch.setattr(interrupt, "requested", requested)
    with pytest.raises(Killed):
        runner.run(seed_config(0), tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").newest() == 3
    # The evaluation of step 4 lies beyond the checkpoint; so does one of a schedule that is no more.
    assert (tmp_path / "dynamics" / "00000004.npz").exists()
    (tmp_path / "dynamics" / "00000004.npz").write_bytes(b"half")
    (tmp_path / "dynamics" / "00000005.npz").write_bytes(b"stale")
    monkeypatch.setattr(interrupt, "requested", lambda: False)
    runner.run(seed_config(0), tmp_path)
    assert_same_files(evaluated(tmp_path), evaluated(done / "seed-0"))


def test_missing_files_test_sets_of_other_classes_and_too_few_steps_are_named(tmp_path):
    refused(r"00000002\.npz: missing; delete the folder", dynamics.read, tmp_path, [2])
    refused(r"dynamics: missing; delete the folder", dynamics.last_step, tmp_path)
    config = small_config(train__epochs=1.0, train__steps=0, train__evaluate_every=50)
    refused(r"train\.evaluate_every: got 50; expected 1 to 5 steps", runner.run, config, tmp_path)
    assert not list(tmp_path.glob("seed-*"))
    sets = {"train": Dataset(Made((3, 3), 8), 8), "test": Dataset(Made((3, 3, 3), 8), 8)}
    context = dataclasses.replace(watch(tmp_path, Made((3, 3), 8), 8), dataset=sets.get)
    refused(r"data\.test_split: 'test' has other classes", dynamics.DynamicsEvaluator, context)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dynamics__keep": "1234,15"}, "dynamics.keep: got '1234,15'; expected two or more different copies, 1234"),
        ({"dynamics__keep": "1234,2,2"}, "dynamics.keep: got '1234,2,2'; expected two or more different copies, 1234"),
        ({"dynamics__keep": "12,34"}, "dynamics.keep: got '12,34'; expected two or more different copies, 1234 (the"),
        ({"dynamics__seeds": ""}, "dynamics.seeds: got ''; expected different whole numbers"),
        ({"dynamics__seeds": "1,01"}, "dynamics.seeds: got '1,01'; expected"),
        ({"train__evaluate_every": 7}, "train.evaluate_every: got 7; expected 1 to 6 steps"),
        ({"train__evaluate_every": 0}, "train.evaluate_every: got 0; expected 1 to 6 steps"),
        ({"model__weights": "a.pt"}, "model.weights: got 'a.pt'; expected ''"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_before_anything_is_trained(tmp_path, changes, message):
    refused(re.escape(message), runner.run, small_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_data_set_of_the_config_passes_its_checks():
    for name in ("syn1", "syn2", "syn3", "syn4", "cifar10", "imagenet10"):
        config = dynamics_config.get_config(name)
        assert runner.check(config) == ["dynamics"] and config.arg == name
        assert config.data.name == name or name == "imagenet10"
    for name in ("synthetic", "syn5", "imagenet1k"):
        refused(f"--config: got the data set '{name}'; expected syn1, syn2", dynamics_config.get_config, name)
