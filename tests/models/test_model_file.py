"""A file that holds a model: what is read gives the logits and gradients of what was written, or one line."""

import json
import pathlib
import re

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import fsjax
from fsjax.engine.model import Model
from tests.helpers.refused import refused

SIZE, CLASSES = 12, ("a", "b", "c")
IMAGES = np.random.default_rng(0).normal(size=(5, SIZE, SIZE, 3)).astype(np.float32)
FACTS = {"image_size": SIZE, "classes": CLASSES, "mean_std": ((0.4, 0.5, 0.6), (0.2, 0.2, 0.3))}


class Convolutions(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv, self.norm = nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.out = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, images):
        return self.out(jax.nn.gelu(self.norm(self.conv(images)), approximate=False).mean((1, 2)))


class Dense(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, images):
        return flax.linen.Dense(3, param_dtype=jnp.bfloat16)(images.reshape(len(images), -1))


def nnx_model():
    model = Convolutions()
    model.eval()
    return model, model


def linen_model():
    variables = Dense().init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))
    return (Dense(), variables), lambda images: Dense().apply(variables, images)


def torch_model():
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        nn.Linear(24, 3),
    ).eval()
    return module, fsjax.from_torch(module, torch.zeros(1, 3, SIZE, SIZE))


def callable_model():
    weights, table = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)), jnp.float32), np.arange(6)[::-1].copy()

    def model(images):  # a transform, an integer table, and a loop
        waves = jnp.abs(jnp.fft.rfft2(images, axes=(1, 2)))[:, 1:3, 1:4].mean(-1).reshape(-1, 6)
        return jax.lax.fori_loop(0, 2, lambda _, x: jnp.tanh(x), waves[:, jnp.asarray(table)] @ weights)

    return model, model


KEY = jax.random.key(0)


def draws(images):
    return images.mean((1, 2)) + jax.random.normal(KEY, (3,))


def asks_numpy(images):
    return jax.pure_callback(np.sort, images[:, 0, 0], images[:, 0, 0], vmap_method="expand_dims")


def calls_outside(images):
    """Call a function of the runtime by its name."""
    logits = jax.ShapeDtypeStruct((images.shape[0], 3), jnp.float32)
    return jax.ffi.ffi_call("steal", logits, vmap_method="broadcast_all")(images)


MODELS = {"linen": linen_model, "torch": torch_model, "callable": callable_model}


@pytest.mark.parametrize("kind", MODELS)
def test_logits_and_gradients_are_those_of_the_model(kind, tmp_path):
    model, direct = MODELS[kind]()
    fsjax.save_model(tmp_path / "model.fsjax", model, **FACTS)
    stored = fsjax.load_model(tmp_path / "model.fsjax")

    def loss(function):
        return lambda images: (jax.nn.logsumexp(function(images), axis=1) ** 2).sum()

    with jax.default_matmul_precision("highest"):
        for count in (1, 5):
            np.testing.assert_allclose(stored(IMAGES[:count]), jax.jit(direct)(IMAGES[:count]), rtol=1e-6, atol=1e-6)
        slopes = jax.jit(jax.grad(loss(stored)))(IMAGES)
        np.testing.assert_allclose(slopes, jax.grad(loss(direct))(IMAGES), rtol=1e-5, atol=1e-6)
        # As searches that go step by step map it: over batches, one of which all have in common.
        mapped = jax.vmap(jax.grad(loss(stored)))(np.stack([IMAGES, IMAGES[::-1]]))
        np.testing.assert_allclose(mapped, np.stack([slopes, slopes[::-1]]), rtol=1e-5, atol=1e-6)


def test_the_file_says_what_inputs_and_outputs_mean(tmp_path):
    fsjax.save_model(tmp_path / "model.fsjax", nnx_model()[0], precision="tensorfloat32", **FACTS)
    stored = fsjax.load_model(tmp_path / "model.fsjax")
    assert (stored.image_shape, stored.num_logits, stored.classes) == ((SIZE, SIZE, 3), 4, CLASSES)
    assert stored.matmul_precision == "tensorfloat32"
    np.testing.assert_array_equal(stored.mean_std, FACTS["mean_std"])
    # Weights lie beside the program and not in it, and no file of the author's machine is named.
    assert sum(array.size for array in stored.params["arrays"]) == 3 * 3 * 3 * 4 + 4 + 4 * 4 + 4 * 4 + 4
    with np.load(tmp_path / "model.fsjax") as file:
        program = file["program"].tobytes()
    assert b".py" not in program and str(tmp_path).encode() not in program


@pytest.mark.parametrize(
    ("model", "changed", "message"),
    [
        (nnx_model, {"path": "model.bin"}, r"^path: got 'model.bin'; expected a name that ends with .fsjax$"),
        (nnx_model, {"precision": "bfloat16"}, r"^precision: got 'bfloat16'; expected highest, tensorfloat32$"),
        (nnx_model, {"classes": "abcde"}, r"^model: got shape \(4, 4\) for 4 images; expected \[4, K\], K >= 5$"),
        (lambda: (Convolutions(), None), {}, r"^model: got a model in training mode .*expected model.eval\(\)"),
        (nnx_model, {"mean_std": ((0.5,) * 2, (0.2,) * 2)}, r"^mean_std: got 2 channels; expected 3$"),
        (lambda: (draws, None), {}, r"^model: got a model that holds random keys"),
        (lambda: (asks_numpy, None), {}, r"^save_model: got NotImplementedError from jax.export .*callback"),
    ],
)
def test_what_cannot_be_written_is_one_line(model, changed, message, tmp_path):
    given = {"path": "model.fsjax", **FACTS, **changed}
    refused(message, fsjax.save_model, tmp_path / given.pop("path"), model()[0], **given)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The arrays of a file."""
    file = tmp_path_factory.mktemp("model") / "model.fsjax"
    fsjax.save_model(file, nnx_model()[0], **FACTS)
    with np.load(file) as opened:
        return dict(opened)


def write(file, content):
    with file.open("wb") as opened:
        np.savez(opened, **content)


def test_the_page_of_formats_reads_it_without_fsjax(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model.fsjax", content)
    page = (pathlib.Path(__file__).parents[2] / "docs" / "files.md").read_text().partition("## model.fsjax")[2]
    names = {"images": IMAGES}
    exec(re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1], names)
    np.testing.assert_allclose(names["logits"], fsjax.load_model(tmp_path / "model.fsjax")(IMAGES), atol=1e-6)


def changed(content, **changes):
    about = json.loads(str(content["about"])) | changes
    return {**content, "about": np.array(json.dumps(about))}


HOSTILE = {
    "no about": (lambda c: {"program": c["program"]}, "about"),
    "other version": (lambda c: changed(c, version=2), "of version 2; expected 1"),
    "a list": (lambda c: {**c, "about": np.array("[1]")}, "list"),
    "nested": (lambda c: {**c, "about": np.array("[" * 100_000)}, ""),
    "huge image": (lambda c: changed(c, image_shape=[10**9, 1, 3]), "Shape mismatch"),
    "classes": (lambda c: changed(c, classes=["a\x1b[31m", "b"]), "names of classes are not printable"),
    "more classes": (lambda c: changed(c, classes=list("abcde")), "names 5 classes and has 4 outputs"),
    "lacks an array": (lambda c: {name: c[name] for name in list(c)[:-1]}, "array7"),
    "other shape": (lambda c: {**c, "array0": c["array0"][..., :1]}, "Shape mismatch"),
    "program cut off": (lambda c: {**c, "program": c["program"][: len(c["program"]) // 2]}, ""),
    "pickled": (lambda c: {**c, "array0": np.array([Model], object)}, "allow_pickle"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_no_model_is_one_line(kind, content, tmp_path):
    change, message = HOSTILE[kind]
    file = tmp_path / "model.fsjax"
    write(file, change(content))
    assert len(refused(f"^{file}: .*{message}", fsjax.load_model, file)) < 600


def test_a_program_that_calls_functions_outside_it_is_refused(content, tmp_path):
    # jax.export refuses to write one unless its author insists.
    allowed = [jax.export.DisabledSafetyCheck.custom_call("steal")]
    (count,) = jax.export.symbolic_shape("n")
    forward, backward = jax.custom_vjp(calls_outside), jax.custom_vjp(lambda x: x.mean((1, 2)))
    forward.defvjp(lambda x: (forward(x), x), lambda x, _: (x,))
    backward.defvjp(lambda x: (backward(x), x), lambda x, _: (x + calls_outside(x)[:, :1, None, None],))
    for function in (forward, backward):
        jitted = jax.jit(lambda _, x, function=function: function(x))
        exported = jax.export.export(jitted, platforms=("cpu",), disabled_checks=allowed)
        program = exported([], jax.ShapeDtypeStruct((count, SIZE, SIZE, 3), jnp.float32)).serialize(vjp_order=1)
        about = changed(content, classes=[])["about"]
        write(tmp_path / "model.fsjax", {"about": about, "program": np.frombuffer(bytes(program), np.uint8)})
        refused("its program calls functions outside it, which no file may", fsjax.load_model, tmp_path / "model.fsjax")
