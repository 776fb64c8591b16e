"""Runs whose model.weights is a model file: up to the page, and one line for what does not fit."""

import html
import json
import logging
import shlex

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import fsjax
from fsjax.experiment import command, runner
from fsjax.experiment.stage import Workspace
from fsjax.experiment.stages import search
from fsjax.models import model_file
from tests.helpers.data_config import save_images
from tests.helpers.refused import refused
from tests.helpers.small_run import small_config

MEAN_STD = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
CLASSES = ("high", "low", "plain", "shape")


class Small(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(3)
        self.conv, self.out = nnx.Conv(3, 6, (5, 5), strides=2, rngs=rngs), nnx.Linear(6, 5, rngs=rngs)

    def __call__(self, images):
        return self.out(nnx.relu(self.conv(images)).max((1, 2)))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A model file whose five outputs have names in another order than the data's classes."""
    file = tmp_path_factory.mktemp("model") / "small.fsjax"
    names = ("low", "other", "high", "plain", "shape")
    fsjax.save_model(file, Small(), image_size=24, classes=names, mean_std=MEAN_STD)
    return file


def of(file, **changes):
    return small_config(
        **{"data__name": "synthetic", "search__shares": (0.1,), "report__share": 0.1, "search__patch": 2} | changes,
        model__weights=str(file),
    )


def test_a_model_file_goes_to_a_page(file, tmp_path, undrawn, caplog, monkeypatch):
    reads, load = [], model_file.load_model
    monkeypatch.setattr(model_file, "load_model", lambda path: reads.append(path) or load(path))
    config = of(file, stages="train,search,evaluate,report")
    with caplog.at_level(logging.INFO):
        runner.run(config, tmp_path)
    assert "weights of small, 5 outputs" in caplog.text and f"weights of {file}" in caplog.text
    assert reads == [file]
    record = json.loads((tmp_path / "weights.json").read_text())
    assert (record["mean"], record["std"], record["outputs"]) == ([0.5] * 3, [0.2] * 3, 5)
    assert "Which frequencies does small lean on?" in (tmp_path / "report/removal/index.html").read_text()
    # Outputs are found by the names of the data's classes.
    classifier = Workspace(config, tmp_path).classifier
    images = np.random.default_rng(0).normal(size=(3, 24, 24, 3)).astype(np.float32)
    found = np.asarray(classifier.apply(classifier.params, jnp.asarray(images)))
    order = [("low", "other", "high", "plain", "shape").index(name) for name in classifier.classes]
    np.testing.assert_allclose(found[:, :4], np.asarray(Small()(images))[:, order], atol=1e-6)


def test_a_first_look_at_a_model_file_and_a_folder_is_one_command(file, tmp_path, undrawn, launch):
    """The folder's images are of 40 pixels, the file's of 24; configs/folder.py alone would choose 32."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 3)):
        for name in CLASSES:
            save_images(tmp_path / "set" / split / name, rng.integers(0, 256, (count, 40, 40, 3), np.uint8))
    words = [f"--config=configs/folder.py:{tmp_path / 'set'}", f"--config.model.weights={file}", "--quick"]
    few = ["--config.evaluate.pairs=2", "--config.search.graft.paths=2", f"--workdir={tmp_path / 'run'}"]
    status, printed = launch(*words, *few)
    said = printed.splitlines()
    full = shlex.join(["python", "launch.py", *words[:2], *few, f"--workdir={tmp_path / 'run'}-full"])
    assert status == 0 and any(line.startswith("First look: ") for line in said) and full in said
    page = (tmp_path / "run/report/graft/index.html").read_text()
    assert "<strong>First look: " in page and html.escape(full, quote=False) in page and "24 x 24 pixels" in page
    config, *_ = command.parse(shlex.split(full)[1:])
    runner.check(config)
    assert (config.data.image_size, config.search.patch, config.evaluate.pairs) == (24, 1, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__image_size": 32}, r"^data.image_size: got 32; expected the images of \S+, 24 x 24 x 3$"),
        ({"data__mean": (0.4,) * 3, "data__std": (0.2,) * 3}, r"^data.mean: got \(0.4, 0.4, 0.4\); expected \(0.5, "),
        ({"search__precision": "tensorfloat32"}, r"^search.precision: got 'tensorfloat32'; expected highest, since "),
        ({"data__frequencies": "low:0.1"}, r"^data.frequencies: got 'low:0.1'; expected '' with a model file$"),
        ({"stages": "export"}, r"^model.weights: got \S+; expected PyTorch weights or a workdir with the stage export"),
        ({"stages": "dynamics"}, r"^model.weights: got \S+; expected '' for the stage dynamics, which trains$"),
        ({"data__name": "syn1"}, r"^model.weights: \S+ has no class '\S+'; expected data of its classes \(low, other,"),
        ({"model__outputs": "1,2"}, r"^model.outputs: got '1,2'; expected 4 different numbers from 0 to 4"),
    ],
)
def test_what_does_not_fit_the_file_is_one_line(file, changes, message, tmp_path):
    refused(message, runner.run, of(file, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "weights.json").exists()


def test_partial_results_of_another_program_are_not_taken(tmp_path):
    """Two programs may hold the same arrays."""
    params = []
    for name, sign in (("one", 1), ("two", -1)):
        file = tmp_path / name / "model.fsjax"
        model = Small()
        fsjax.save_model(file, lambda x, model=model, sign=sign: sign * model(x), image_size=24, mean_std=MEAN_STD)
        config = of(file, stages="train")
        runner.run(config, tmp_path / name)
        workspace = Workspace(config, tmp_path / name)
        with workspace.metrics:
            problem = search.problem(workspace, 0)
            params.append(problem.partial_results({"items": 1}).layout["model"])
    assert params[0] != params[1]
