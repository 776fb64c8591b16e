"""Library calls: any JAX callable, its lifted arrays, and clear refusals."""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import fsjax
from fsjax.fourier import spectrum
from fsjax.models.callables import convert_closure
from tests.helpers.plane import filtered, real, spectra
from tests.helpers.refused import refused

SHAPE = (6, 10, 1)


class Model(nnx.Module):
    """A Flax model that fsjax does not know, for grey images that are not square."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.out = nnx.Linear(4 * 60, 5, rngs=rngs)

    def __call__(self, x):
        return self.out(jax.nn.gelu(self.conv(x)).reshape(len(x), -1))


@pytest.fixture(scope="module")
def made():
    model = Model(nnx.Rngs(0))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(14, *SHAPE)).astype(np.float32)
    return model, images, np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 2, 2])


def test_scores_of_any_callable_are_the_rise_in_loss_by_the_definition(made):
    model, images, labels = made
    maps = fsjax.dominant_frequencies(model, images, labels, search="removal", shares=[0.1])
    orbits = spectrum.orbits(6, 10)

    def loss(kept, label):
        logits = np.asarray(model(jnp.asarray(filtered(images[labels == label], kept), jnp.float32)), float)
        return np.mean(np.log(np.exp(logits).sum(1)) - logits[:, label])

    for label in range(3):
        for orbit in range(orbits.max() + 1):
            rise = loss(orbits != orbit, label) - loss(np.ones((6, 10)), label)
            np.testing.assert_allclose(maps.scores[label][orbits == orbit], rise, atol=4e-6)
    assert maps.classes == ("0", "1", "2") and maps.images.tolist() == [4, 4, 6]
    assert maps.masks.shape == (1, 3, 6, 10) and maps.positions.max() <= 6


def example(page):
    """What the first Python block of a page defines."""
    names = {}
    text = (pathlib.Path(__file__).parent.parent / page).read_text()
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    return names


def test_the_readmes_five_lines_say_what_they_print(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = example("README.md")["result"]
    assert [verdict.kind for verdict in result.verdicts][1:] == ["shortcut", "coarse"]
    sentence = "wave: shortcut by amplitude: 0.78 % of the plane control it (psi 1.00)"
    assert result.verdicts[1].sentence.startswith(sentence)
    assert (tmp_path / "psi.png").exists() and fsjax.load_result(tmp_path / "result").verdicts == result.verdicts


def test_the_guides_example_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    maps = example("docs/guide/your_model.md")["maps"]
    assert maps.scores.shape == (2, 16, 16)
    assert (tmp_path / "maps.npz").exists() and list((tmp_path / "partial").rglob("*.npz"))
    # The example's classifier reads one orbit and nothing else.
    for scores in maps.scores:
        assert np.argwhere(scores > 0.01).tolist() == [[5, 6], [11, 10]]


@pytest.mark.parametrize("kind", ["plain", "jitted", "jitted inside", "in a loop"])
def test_the_arrays_that_a_callable_closes_over_are_arguments_of_the_compiled_program(kind):
    big, small = jnp.arange(60.0).reshape(60, 1) * jnp.ones((60, 3)) / 60, np.array([1.0, 2.0, 3.0])
    inner = jax.jit(lambda x: jax.nn.relu(x) @ big)

    def function(images):
        flat = images.reshape(len(images), -1)
        if kind == "in a loop":
            return jax.lax.fori_loop(0, 2, lambda _, x: x * small, flat @ big)
        return (inner(flat) if kind == "jitted inside" else jax.nn.relu(flat) @ big) * small * small

    function = jax.jit(function) if kind == "jitted" else function
    apply, arrays = convert_closure(function, SHAPE)
    assert {array.shape for array in arrays} == {(60, 3), (3,)}
    images = jnp.asarray(np.random.default_rng(0).normal(size=(7, *SHAPE)), jnp.float32)
    np.testing.assert_allclose(jax.jit(apply)(arrays, images), function(images), rtol=1e-6)
    lowered = jax.jit(apply).lower(arrays, images).as_text()
    assert "tensor<60x3xf32>" in lowered and not re.search(r'dense<[\["]', lowered)  # scalars are the only constants
    assert all("60x3" not in line for line in lowered.splitlines() if "constant" in line)
    doubled = [2 * array for array in arrays]
    assert not np.allclose(jax.jit(apply)(doubled, images), function(images)), "the arrays given are those used"


def test_a_directory_goes_on_and_is_tied_to_images_labels_and_weights(made, tmp_path):
    model, images, labels = made
    again_with = functools.partial(fsjax.dominant_frequencies, directory=tmp_path, shares=[0.1])
    first = again_with(model, images, labels, save_seconds=0)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    again = fsjax.dominant_frequencies(model, images, labels, directory=tmp_path, shares=[0.2])
    assert files and {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == files
    np.testing.assert_array_equal(first.scores, again.scores)
    for other in ((images + 1, labels), (images, labels[::-1])):
        refused("partial results of another search", again_with, model, *other)
    refused("partial results of another model", again_with, Model(nnx.Rngs(1)), images, labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(3, int)}, r"labels: got int64 of shape \(3,\); expected 14 whole numbers"),
        ({"labels": np.zeros(14, int) - 1}, r"labels: got labels -1 to -1; expected 0 to 2 \(is the split unlabelled"),
        ({"labels": np.arange(14) % 4}, r"labels: got labels 0 to 3; expected 0 to 2 \(labels count"),
        ({"labels": (np.arange(14) % 2).tolist()}, "labels: got no image of class c; expected"),
        ({"images": np.zeros((14, 6, 10, 1), np.uint8)}, "images: got uint8; expected normalised floats"),
        ({"images": np.zeros((14, 1, 6, 10))}, r"images: got shape \(14, 1, 6, 10\), channels first; expected"),
        ({"images": np.full((14, *SHAPE), np.nan)}, "images: got NaN or infinity in image 0; expected finite"),
        ({"patch": 3}, "search.patch: got 3; expected a divisor of the image size 6 x 10: 1, 2"),
        ({"shares": [0.0]}, "search.shares: got 0.0; expected above 0 and up to 1"),
        ({"precision": "bfloat16"}, "precision: got 'bfloat16', .*; expected highest, tensorfloat32"),
        ({"classes": ["a"]}, "images labels: got labels 0 to 2; expected 0 to 0"),
        ({"model": lambda images: images[:, 0, :2, 0]}, r"model: got shape \(4, 2\) for 4 images"),
        ({"search": "removal", "compat": True}, "search.removal.compat: got images of 6 x 10; expected square ones"),
        ({"search": "guess"}, "search: got 'guess'; expected .*removal"),
        ({"compat": True}, "compat: got a field that 'graft' lacks; expected paths, steps, patch"),
        ({"memory_mib": -1}, "memory_mib: got -1; expected 0 or more"),
    ],
)
def test_what_cannot_be_used_is_named(made, changes, message):
    model, images, labels = made
    arguments = {"model": model, "images": images, "labels": labels, "classes": ["a", "b", "c"], "shares": [0.1]}
    refused(message, fsjax.dominant_frequencies, **arguments | changes)


def test_grafts_and_filters_are_those_of_the_definition(made):
    model, images, _ = made
    mask = np.random.default_rng(2).random((6, 10)) < 0.4
    recipients, donors = images[:5], images[5:10]
    expected = real(np.where(mask[..., None], spectra(donors), spectra(recipients)))
    found = fsjax.graft(model, recipients, donors, mask)
    np.testing.assert_allclose(found.images, expected, atol=1e-5)
    np.testing.assert_allclose(found.logits, model(jnp.asarray(expected, jnp.float32)), atol=1e-4)
    np.testing.assert_allclose(found.before, model(recipients), atol=1e-5)
    np.testing.assert_allclose(fsjax.filter(images, mask), filtered(images, mask), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda images: fsjax.filter(images, np.ones((6, 9), bool)), r"mask: got bool of shape \(6, 9\); expected"),
        (lambda images: fsjax.filter(images, np.ones((6, 10))), r"mask: got float64 of shape \(6, 10\); expected bool"),
        (lambda images: fsjax.graft(jnp.sum, images, images[:3], np.ones((6, 10), bool)), "donors: got shape"),
        (lambda images: fsjax.graft(jnp.sum, images, images, np.ones((6, 10), bool)), r"model: got shape \(\) for 14"),
    ],
)
def test_masks_and_donors_that_do_not_fit_are_named(made, call, message):
    refused(message, call, made[1])
