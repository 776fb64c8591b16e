"""Band-limited models: what they do not see changes nothing, in training, on reloading and in a search."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from fsjax.data import frequencies
from fsjax.experiment.stage import Workspace
from fsjax.experiment.stages import train as train_stage
from fsjax.models import Network, build, state_dict
from fsjax.models.naming import OURS
from fsjax.models.network import fold
from fsjax.models.resnet import BasicBlock, ResNet
from fsjax.models.source import model_source
from fsjax.runtime import files
from fsjax.runtime.torch_files import tensor
from tests.helpers.plane import filtered
from tests.helpers.refused import refused
from tests.helpers.small_run import small_config, train

SIZE = 9
CLASSES = 3


def filtered_by_numpy(images, kept):
    return filtered(images, kept).astype(np.float32)


def random_images(count, size=SIZE, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize("size", [8, 9])
def test_ranges_are_of_the_radius_in_cycles_per_pixel_with_their_boundaries(size):
    steps = np.fft.fftshift(np.fft.fftfreq(size))
    radius = np.hypot(steps[:, None], steps)
    low, high, band = (frequencies.read(text, size) for text in ("low:0.25", "high:0.25", "band:0.125:0.3"))
    np.testing.assert_array_equal(low, radius <= 0.25)
    np.testing.assert_array_equal(high, radius >= 0.25)
    np.testing.assert_array_equal(band, (radius >= 0.125) & (radius <= 0.3))
    assert low[size // 2, size // 2] and not high[size // 2, size // 2] and not band[size // 2, size // 2]
    assert frequencies.read("high:0", size).all() and frequencies.read("low:0", size).sum() == 1
    assert frequencies.read("", size) is None


UNREADABLE = ("0.125", "low", "low:a", "band:0.1", "low:-0.1", "low:nan", "notch:0.1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, f"data.frequencies: got '{text}'; expected ''") for text in UNREADABLE),
        ("high:0.8", "'high:0.8' keeps nothing of 8 x 8 frequencies"),
        ("band:0.3:0.1", "'band:0.3:0.1' keeps nothing"),
        ("none.npy", "none.npy: no such file"),
        ("size.npy", "size.npy holds bool 9 x 9; expected bool 8 x 8"),
        ("numbers.npy", "numbers.npy holds float64 8 x 8; expected bool 8 x 8"),
        ("half.npy", "half.npy keeps 1 frequencies without their conjugates"),
        ("empty.npy", "empty.npy' keeps nothing"),
    ],
)
def test_frequencies_that_cannot_be_read_or_keep_nothing_are_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    half = np.zeros((8, 8), bool)
    half[2, 3] = True
    files = {"size": np.ones((9, 9), bool), "numbers": np.ones((8, 8)), "half": half}
    for name, content in {**files, "empty": np.zeros((8, 8), bool)}.items():
        np.save(f"{name}.npy", content)
    config = common.base()
    config.data.image_size, config.data.frequencies = 8, text
    config.model.name, config.train.steps = "resnet20", 1
    refused(re.escape(message), train_stage.check, config)


@pytest.fixture(scope="module")
def model():
    """(network with a filter, without, arrays, frequencies kept)."""
    builder = functools.partial(ResNet, BasicBlock, (1, 1), (4, 8), imagenet_stem=False)
    whole = Network(builder, CLASSES, SIZE, jnp.dtype("float32"))
    kept = frequencies.read("band:0.1:0.4", SIZE)
    return whole.limited_to(kept), whole, jax.device_get(whole.init(0)), kept


def test_logits_are_those_of_the_filtered_image_and_of_any_image_that_differs_elsewhere_only(model):
    limited, whole, variables, kept = model
    images = random_images(6)
    expected = np.asarray(jax.jit(whole.apply)(variables, filtered_by_numpy(images, kept)))
    others = images + filtered_by_numpy(5 * random_images(6, seed=1), ~kept)
    folded, params = fold(limited, variables)
    assert np.abs(np.asarray(jax.jit(whole.apply)(variables, images)) - expected).max() > 0.01
    for seen in (images, others, filtered_by_numpy(images, kept)):
        np.testing.assert_allclose(jax.jit(limited.apply)(variables, seen), expected, atol=2e-5)
        np.testing.assert_allclose(jax.jit(folded)(params, seen), expected, atol=2e-5)


def test_training_sees_the_same_frequencies(model):
    limited, whole, variables, kept = model
    images = random_images(4)

    def in_training(network, images):
        step = jax.pmap(network.apply_train, "devices", in_axes=(None, 0), devices=jax.local_devices()[:1])
        return jax.tree.map(lambda value: np.asarray(value)[0], step(variables, images[None]))

    for found, expected in zip(
        jax.tree.leaves(in_training(limited, images)),
        jax.tree.leaves(in_training(whole, filtered_by_numpy(images, kept))),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, atol=5e-5)


def make_config(text="low:0.2"):
    mean_std = {"data__mean": (0.5, 0.5, 0.5), "data__std": (0.2, 0.2, 0.2)}
    return small_config(data__frequencies=text, train__steps=2, **mean_std)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a training on a file's frequencies, 'low:0.2', that file, and its config."""
    directory = tmp_path_factory.mktemp("trained")
    file = directory / "kept.npy"
    np.save(file, frequencies.read("low:0.2", 24))
    config = make_config(str(file))
    train(config, directory)
    return directory, file, config


def blind_outside(apply, params, kept):
    """Whether logits follow the frequencies kept and no others."""
    images = random_images(3, 24)
    logits, others, inside = (
        np.asarray(jax.jit(apply)(params, seen))
        for seen in (images, filtered_by_numpy(images, kept), filtered_by_numpy(images, ~kept))
    )
    return np.abs(logits - others).max() < 2e-5 < 1e-3 < np.abs(logits - inside).max()


def test_a_checkpoint_is_restored_with_its_filter_and_with_no_other(trained):
    directory, file, config = trained
    kept = np.load(file)
    found = model_source(config).model(directory)
    assert blind_outside(found.apply, found.params, kept)
    assert train_stage.STAGE.reads(Workspace(config, directory)) == [file]
    # The same frequencies by another name are the same model.
    assert model_source(make_config("low:0.2")).trained_network(directory).network.packed_frequencies
    for other in ("", "low:0.3", "high:0.2"):
        message = rf"^data\.frequencies: got '{other}'; expected the frequencies"
        refused(message, model_source(make_config(other)).model, directory)


def test_pytorch_weights_get_the_filter_too(tmp_path):
    import torch

    network = build("vit_nano_patch8", num_classes=4, image_size=24)
    state = state_dict.from_variables(jax.device_get(network.init(3)), OURS, False)
    torch.save({name: tensor(np.asarray(value)) for name, value in state.items()}, tmp_path / "model.pt")
    np.save(tmp_path / "kept.npy", frequencies.read("low:0.2", 24))
    config = make_config(str(tmp_path / "kept.npy"))
    config.model.weights = str(tmp_path / "model.pt")
    model_source(config).record(tmp_path, ("a", "b", "c", "d"))
    found = model_source(config).model(tmp_path)
    assert blind_outside(found.apply, found.params, np.load(tmp_path / "kept.npy"))
    np.save(tmp_path / "kept.npy", frequencies.read("low:0.4", 24))
    refused(r"^data\.frequencies: .*kept\.npy' has changed since; run", model_source(config).model, tmp_path)
    config.data.frequencies = ""
    model_source(config).record(tmp_path, ("a", "b", "c", "d"))
    assert files.read_json(tmp_path / "weights.json")["data.frequencies"] == ""
