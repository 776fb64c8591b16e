"""A model that PyTorch trained goes through the whole experiment, and gives what PyTorch gives."""

import dataclasses
import pickle
import re

import jax
import numpy as np
import pytest
import torch

from benchmarks.parity import published
from benchmarks.parity.torch_models import randomise, torch_resnet
from configs import common
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.experiment import runner
from fsjax.models import weights_record
from fsjax.models.source import model_source
from fsjax.runtime import files
from tests.helpers.published_resnet import lightning
from tests.helpers.refused import refused
from tests.helpers.undrawn import leave_undrawn

SIZE = 16
MEAN_STD = ((0.5, 0.4, 0.6), (0.25, 0.2, 0.3))
COUNTS = (6, 4, 7, 3)  # of the classes 0 to 3; the models have 10 outputs


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with made images in class order, as the published loader has them."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), COUNTS)
    pixels = rng.integers(0, 256, (len(labels), SIZE, SIZE, 3), np.uint8) // 2 + 30 * labels[:, None, None, None]
    for split in ("train", "test"):
        np.save(root / f"{split}_images.npy", pixels.astype(np.uint8))
        np.save(root / f"{split}_labels.npy", labels)
    return root


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """(our name, the PyTorch model, a file of its weights)."""
    model = torch_resnet("resnet8").eval()
    randomise(model)
    path = tmp_path_factory.mktemp("weights") / "model.ckpt"
    torch.save(lightning(model), path)
    return "resnet8", model, path


def make_config(images, name, weights, **search):
    config = common.base()
    config.data.update({"source": "arrays", "root": str(images), "image_size": SIZE, "classes": "a,b,c,d"})
    config.data.mean, config.data.std = MEAN_STD
    config.model.update({"name": name, "weights": str(weights)})
    config.search.update({"split": "test", "images_per_class": 0, **search})
    config.search.removal.compat = True
    config.search.shares = (0.01, 0.05, 0.1, 0.2)
    config.report.attributions = 0
    return config


@pytest.fixture(scope="module")
def done(foreign, images, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch)
        runner.run(make_config(images, foreign[0], foreign[2]), directory)
    return directory


def torch_data(images):
    pixels, labels = (np.load(images / f"test_{what}.npy") for what in ("images", "labels"))
    return np.array(normalise(pixels, *MEAN_STD)), labels


def test_the_unfiltered_confusion_is_pytorchs(done, foreign, images):
    normalised, labels = torch_data(images)
    with torch.no_grad():
        predicted = foreign[1](torch.from_numpy(normalised).permute(0, 3, 1, 2)).argmax(1).numpy()
    expected = np.zeros((4, 10), int)
    np.add.at(expected, (labels, predicted), 1)
    found = files.read_json(done / "evaluation.json")
    assert found["unfiltered"]["confusion"] == expected[:, :4].tolist()
    assert (done / "report" / "index.html").exists() and not (done / "checkpoints").exists()


def test_what_was_read_is_recorded_and_not_read_for_nothing(done, foreign, images, caplog):
    record = files.read_json(done / "weights.json")
    assert (record["outputs"], record["classes"], record["model"]) == (10, ["a", "b", "c", "d"], foreign[0])
    caplog.set_level("INFO", "fsjax")
    config = make_config(images, *foreign[::2])
    config.train.learning_rate = 7.0  # nothing is trained, so it may be whatever
    runner.run(config, done)
    for stage in ("train", "search", "evaluate", "report"):
        assert f"{stage}: already done" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.classes": "a,b,c,d,e,f,g,h,i,j,k"}, "has 10 outputs; the data has 11 classes"),
        ({"model.outputs": "0,1,2,3", "model.weights": ""}, "expected '' without model.weights"),
        *(
            ({"model.outputs": outputs}, f"model.outputs: got '{outputs}'; expected 4 different numbers from 0 to 9")
            for outputs in ("0,1,2", "0,1,2,2", "0,1,2,10", "0,1,2,x", "0|5,1,2,5", "0|,1,2,5")
        ),
        ({"model.outputs": "imagenet"}, "data.classes: got class 'a'; expected an ImageNet-1k id"),
        ({"model.outputs": "imagenet", "data.classes": "n02391049"}, "with 10 outputs; expected 1000"),
        ({"model.weights": "nothing.pt"}, "model.weights: got nothing.pt, no file; expected PyTorch weights"),
        ({"model.weights": "."}, "model.weights: got ., without a trained model; expected PyTorch weights"),
    ],
)
def test_weights_that_cannot_be_used_are_one_line(foreign, images, tmp_path, changes, message):
    config = make_config(images, *foreign[::2])
    config.update_from_flattened_dict(changes)

    def use():
        model_source(config).check()
        model_source(config).weights_files()
        model_source(config).record(tmp_path, tuple(config.data.classes.split(",")))

    refused(re.escape(message), use)


def test_weights_that_change_are_noticed(foreign, images, tmp_path):
    name, model, _ = foreign
    weights = tmp_path / "model.pt"
    torch.save(model.state_dict(), weights)
    config = make_config(images, name, weights)
    config.stages = "train"
    runner.run(config, tmp_path / "run")
    first = files.read_json(tmp_path / "run" / "weights.json")
    with torch.no_grad():
        changed = {key: value * 1.5 for key, value in model.state_dict().items()}
    torch.save(changed, weights)
    config.stages = "search"
    refused("has changed since; run the stage train again", runner.run, config, tmp_path / "run")
    config.stages = "train"
    runner.run(config, tmp_path / "run")
    assert files.read_json(tmp_path / "run" / "weights.json")["sha256"] != first["sha256"]


def with_outputs(foreign, images, directory, outputs):
    """A run's config with these outputs, its images, PyTorch's logits of all outputs, the run's model and logits."""
    name, model, weights = foreign
    config = make_config(images, name, weights)
    config.stages, config.model.outputs = "train", outputs
    runner.run(config, directory)
    normalised, _ = torch_data(images)
    with torch.no_grad():
        theirs = model(torch.from_numpy(normalised).permute(0, 3, 1, 2)).double()
    found = model_source(config).model(directory)
    return config, normalised, theirs, found, np.asarray(jax.jit(found.apply)(found.params, normalised), np.float64)


def test_classes_may_be_any_of_the_outputs(foreign, images, tmp_path):
    config, normalised, theirs, _, logits = with_outputs(foreign, images, tmp_path, "7, 2,9,0")
    expected = theirs.numpy()[:, [7, 2, 9, 0, 1, 3, 4, 5, 6, 8]]
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    config.search.precision = "bfloat16"
    found = model_source(config).model(tmp_path).at("bfloat16")
    np.testing.assert_allclose(jax.jit(found.apply)(found.params, normalised), expected, atol=0.05 * np.ptp(expected))


def test_a_class_of_several_outputs_has_the_sum_of_their_probabilities(foreign, images, tmp_path):
    _, _, theirs, found, logits = with_outputs(foreign, images, tmp_path, "7, 2|4|5,9,0|1")
    groups = ([7], [2, 4, 5], [9], [0, 1], [3], [6], [8])
    expected = np.stack([theirs.softmax(1).numpy()[:, group].sum(1) for group in groups], axis=1)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), expected, atol=1e-5)
    assert files.read_json(tmp_path / "weights.json")["outputs"] == len(groups)
    # A prediction that is no class of the data is named by the network's own output.
    assert [found.output_name(output) for output in range(4, 7)] == ["output 3", "output 6", "output 8"]


def test_other_outputs_have_imagenet_s_names_or_those_of_the_model_file():
    config = common.base()
    config.data.classes, config.model.outputs = "n02391049,n02690373", "imagenet"
    model = Model(lambda params, images: images.reshape(len(images), -1) @ params, np.eye(1000), (10, 10, 10))
    found = weights_record.order_outputs(config, model, ("zebra", "airliner"))
    assert [found.output_name(output) for output in (0, 2, 258)] == ["zebra", "tench", "Newfoundland"]
    named = dataclasses.replace(model, params=np.eye(1000)[:, :3], classes=("ox", "airliner", "zebra"))
    config.model.outputs = ""
    found = weights_record.order_outputs(config, named, ("zebra", "airliner"))
    assert [found.output_name(output) for output in range(3)] == ["zebra", "airliner", "ox"]


def test_weights_and_maps_go_back_to_pytorch(done, foreign, images):
    name, model, weights = foreign
    config = make_config(images, name, weights)
    config.stages = "export"
    runner.run(config, done)
    checkpoint = done / "export" / f"{name}.ckpt"
    assert not checkpoint.exists()
    config.export.lightning = True
    runner.run(config, done)
    content = torch.load(checkpoint, weights_only=True)
    stored = torch.load(done / "export" / f"{name}.pt", weights_only=True)
    # The names of the published ResNet: its `fc` is `classifier`, and its stem stands twice.
    names = {key.removeprefix("backbone_model.") for key in content["state_dict"]}
    assert {"classifier.weight", "features.0.weight"} <= names and "fc.weight" in stored
    assert content["hyper_parameters"].items() >= {"num_class": 10, "image_size": SIZE, "lr": 0.1, "p": 0.3}.items()
    again = torch_resnet(name)
    again.load_state_dict(torch.load(done / "export" / f"{name}.pt", weights_only=True), strict=True)
    tensors = torch.from_numpy(torch_data(images)[0]).permute(0, 3, 1, 2)
    with torch.no_grad():
        assert torch.equal(again.eval()(tensors), model(tensors))
    losses = pickle.loads((done / "export" / f"{name}loss1.pkl").read_bytes())
    kept = pickle.loads((done / "export" / f"{name}_DFM_5.pkl").read_bytes())
    for label in range(4):
        np.testing.assert_array_equal(kept[label], published.at_threshold(losses[label].numpy(), 0.05))
