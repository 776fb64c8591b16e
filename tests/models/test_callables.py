"""Models as people hold them: the same logits through each way in, and one line for each that cannot be used."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

from fsjax import from_torch
from fsjax.models.callables import as_model
from tests.helpers.refused import refused

SHAPE, CLASSES = (6, 5, 3), 4
WEIGHTS = np.random.default_rng(0).normal(size=(90, CLASSES)).astype(np.float32)
IMAGES = np.random.default_rng(1).normal(size=(9, *SHAPE)).astype(np.float32)
EXPECTED = IMAGES.reshape(9, -1).astype(float) @ WEIGHTS


class Nnx(nnx.Module):
    def __init__(self, *layers):
        self.layers = nnx.List(layers)
        self.out = nnx.Linear(90, CLASSES, use_bias=False, rngs=nnx.Rngs(0))
        self.out.kernel[...] = jnp.asarray(WEIGHTS)

    def __call__(self, images):
        for layer in self.layers:
            images = layer(images)
        return self.out(images.reshape(len(images), -1))


def nnx_in_evaluation():
    model = Nnx(nnx.BatchNorm(3, epsilon=0, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(1)))
    model.eval()
    return model


class Linen(linen.Module):
    @linen.compact
    def __call__(self, images, train: bool = False):
        images = linen.BatchNorm(use_running_average=not train, epsilon=0, use_bias=False, use_scale=False)(images)
        return linen.Dense(CLASSES, use_bias=False)(images.reshape(len(images), -1))


VARIABLES = {
    "params": {"Dense_0": {"kernel": jnp.asarray(WEIGHTS)}},
    "batch_stats": {"BatchNorm_0": {"mean": jnp.zeros(3), "var": jnp.ones(3)}},
}


NESTED = {collection: {"Linen_0": of} for collection, of in VARIABLES.items()}


class LinenInTraining(linen.Module):
    @linen.compact
    def __call__(self, images, train: bool = True):
        return Linen()(images, train)


def plain(images):
    return images.reshape(len(images), -1) @ WEIGHTS


def equinox_model(first):
    """An Equinox module of one image, with channels first where `first` says so."""

    class Module(equinox.Module):
        weights: jax.Array
        drop: equinox.nn.Dropout

        def __call__(self, image, key=None):
            if first:
                assert image.shape == (3, 6, 5)
                image = jnp.moveaxis(image, 0, -1)
            return self.drop(image.ravel(), key=key) @ self.weights

    return Module(jnp.asarray(WEIGHTS), equinox.nn.Dropout(0.5))


def evaluated(first):
    return equinox.nn.inference_mode(equinox_model(first))


def keras_model():
    """A model as Keras makes it: called with `training`, of a class of a module keras."""
    kind = type("Sequential", (), {"__module__": "keras.src.models.sequential"})
    kind.__call__ = lambda self, images, training: plain(images) if training is False else plain(images[::-1])
    return kind()


KINDS = {
    **{"function": lambda: plain, "jitted": lambda: jax.jit(plain), "linen": lambda: (Linen(), VARIABLES)},
    **{"nnx": lambda: Nnx(), "nnx in evaluation": nnx_in_evaluation, "keras": keras_model},
    **{"equinox": lambda: evaluated(False), "equinox, channels first": lambda: evaluated(True)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_logits_of_its_weights(kind):
    found = as_model(KINDS[kind](), IMAGES, CLASSES)
    assert found.image_shape == SHAPE and found.num_logits == CLASSES
    np.testing.assert_allclose(found.apply(found.params, jnp.asarray(IMAGES)), EXPECTED, atol=2e-5)
    if kind != "keras":
        assert any(np.shape(array) == (90, CLASSES) for array in jax.tree.leaves(found.params)), "weights are arguments"


def test_a_module_is_taken_with_its_weights_of_now_and_a_converted_model_as_it_is():
    module = Nnx()
    as_model(module, IMAGES, CLASSES)
    module.out.kernel[...] = -2 * module.out.kernel[...]
    np.testing.assert_allclose(as_model(module, IMAGES, CLASSES)(IMAGES), -2 * EXPECTED, atol=4e-5)
    found = as_model(plain, IMAGES, CLASSES)
    assert as_model(found, IMAGES[:2], CLASSES - 1) is found
    message = r"^model: got a model of images \(6, 5, 3\); expected \(5, 6, 3\)$"
    refused(message, as_model, found, IMAGES.swapaxes(1, 2), CLASSES)
    refused(r"^model: got 4 logits; expected 5 or more$", as_model, found, IMAGES, CLASSES + 1)


def test_probabilities_are_refused_and_their_logarithms_are_logits():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(90, CLASSES), torch.nn.Softmax(1)).eval()
    refused(r"^from_torch: got probabilities", from_torch, module, np.moveaxis(IMAGES, -1, 1))
    message = r"^model: got probabilities, whose sum is 1 for every image; expected logits"
    refused(message, as_model, lambda images: jax.nn.softmax(plain(images)), IMAGES, CLASSES)
    as_model(lambda images: jax.nn.log_softmax(plain(images)), IMAGES, CLASSES)


def beside_others(images):
    return plain(images - images.mean(0))


def dropped(images):
    keep = jax.random.bernoulli(jax.random.key(0), 0.5, images.shape)
    return plain(images * keep)


CALLS = iter(range(1000))


def drifting(images):
    return plain(images) * jax.pure_callback(lambda: np.float32(next(CALLS)), jax.ShapeDtypeStruct((), jnp.float32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: beside_others, "other logits for an image alone than beside others .* expected a function of each"),
        (lambda: dropped, "other logits for an image alone than beside others .* as in training mode"),
        (lambda: drifting, "other logits for an image (alone|when called again)"),
        (lambda: Nnx(nnx.Dropout(0.5, rngs=nnx.Rngs(1))), r"training mode .*expected model.eval\(\) before the call"),
        (lambda: (LinenInTraining(), NESTED), r"training mode .*for evaluation: .*variables, images, train=False\)"),
        (lambda: Linen(), r"expected \(module, variables\) for a Linen module"),
        (lambda: (Linen(),), r"expected \(module, variables\) for a Linen module"),
        (lambda: equinox_model(False), r"training mode \(RuntimeError\); expected equinox.nn.inference_mode\(model\)"),
        (lambda: 3, "got int; expected a callable from images to logits"),
        (lambda: lambda images: plain(images).argmax(-1), r"got shape \(9,\) for 9 images"),
        (lambda: lambda images: plain(images).astype(int), "got logits of int32; expected floats, not predicted"),
        (lambda: lambda images: (plain(images), 1), "got tuple; expected one array of logits"),
        (lambda: lambda images: plain(images) / 0, "got logits that are not finite"),
        (lambda: lambda images: plain(images[:, 1:]), r"got TypeError for images of shape \[1, 6, 5, 3\]"),
    ],
)
def test_what_cannot_be_used_is_one_line_that_says_what_to_do(make, message):
    assert len(refused(f"^model: .*{message}", as_model, make(), IMAGES, CLASSES)) < 420
