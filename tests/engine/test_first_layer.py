"""A model split behind its first convolution: the halves are the whole, and the first is linear."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fsjax import models
from fsjax.engine import first_layer
from fsjax.engine.closure_conversion import convert_closure
from fsjax.engine.model import Model
from fsjax.models.folding import fold
from fsjax.models.resnet import BasicBlock, ResNet
from fsjax.models.vit import VisionTransformer

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 5)).astype(np.float32)


def convolve(images, **options):
    return lax.conv_general_dilated(
        images, jnp.asarray(KERNEL), (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


# One block of each kind of model that has another first convolution.
SMALL_RESNET = partial(ResNet, BasicBlock, (1,), (8,), imagenet_stem=False)
IMAGENET_STEM = partial(ResNet, BasicBlock, (1,), (8,), imagenet_stem=True)
SMALL_VIT = partial(VisionTransformer, 4, width=16, depth=1, heads=2)


@pytest.mark.parametrize(
    ("builder", "size", "features"),
    [(SMALL_RESNET, 8, (8, 8, 8)), (IMAGENET_STEM, 13, (7, 7, 8)), (SMALL_VIT, 8, (2, 2, 16))],
    ids=["resnet", "resnet with torchvision's stem", "vit"],
)
def test_our_models_are_split_behind_their_first_convolution(builder, size, features):
    network = models.Network(builder, 4, size, jnp.dtype("float32"))
    apply, params = fold(network, network.init(0))
    split = first_layer.split(Model(apply, params, (size, size, 3)))
    for count in (1, 6):
        images = np.random.default_rng(count).normal(size=(count, size, size, 3)).astype(np.float32)
        made = jax.jit(split.first)(params, images)
        assert made.shape == (count, *features)
        np.testing.assert_allclose(jax.jit(split.rest)(params, made), jax.jit(apply)(params, images), atol=1e-6)
    np.testing.assert_array_equal(jax.jit(split.first)(params, np.zeros_like(images)), 0)
    # Nothing of the images is left to do behind the split.
    text = jax.jit(split.rest).lower(params, made).as_text()
    assert (
        text.count("stablehlo.convolution")
        == jax.jit(apply).lower(params, images).as_text().count("stablehlo.convolution") - 1
    )


def test_a_model_with_channels_first_is_split_behind_its_change_of_layout():
    def function(images):
        def of_image(image):  # [1, 3, 8, 9], as a converted PyTorch module takes it
            kernel = jnp.moveaxis(jnp.asarray(KERNEL), (3, 2), (0, 1))
            return jax.nn.relu(lax.conv_general_dilated(image, kernel, (2, 1), "SAME") + 1).mean((0, 2, 3))

        return jax.vmap(lambda image: of_image(image[None]))(jnp.moveaxis(images, -1, 1))

    apply, arrays = convert_closure(function, (8, 9, 3))
    split = first_layer.split(Model(apply, arrays, (8, 9, 3)))
    for count in (1, 4):
        images = np.random.default_rng(1).normal(size=(count, 8, 9, 3)).astype(np.float32)
        made = jax.jit(split.first)(arrays, images)
        assert made.shape == (count, 5, 4, 9)
        np.testing.assert_allclose(jax.jit(split.rest)(arrays, made), function(images), atol=1e-6)


def test_a_callable_under_jit_is_split_with_its_arrays_outside():
    apply, arrays = convert_closure(jax.jit(lambda images: jax.nn.relu(convolve(images) + 1).mean((1, 2))), (8, 9, 3))
    split = first_layer.split(Model(apply, arrays, (8, 9, 3)))
    images = np.random.default_rng(1).normal(size=(4, 8, 9, 3)).astype(np.float32)
    made = jax.jit(split.first)(arrays, images)
    assert made.shape == (4, 4, 9, 5)
    np.testing.assert_allclose(jax.jit(split.rest)(arrays, made), jax.jit(apply)(arrays, images), atol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images.mean((1, 2)),
        lambda images: convolve(images - 1).mean((1, 2)),
        lambda images: convolve(images).mean((1, 2)) + images.mean(),
        lambda images: convolve(images.astype(jnp.bfloat16).astype(jnp.float32)).mean((1, 2)),
        lambda images: convolve(images.swapaxes(0, 1)).mean((0, 2)),
        lambda images: images[:, 0, 0],
        lambda images: images.reshape(len(images), -1),
    ],
    ids=[
        "no convolution",
        "something before",
        "something beside",
        "rounded before",
        "images for rows",
        "a part",
        "the images",
    ],
)
def test_what_does_not_begin_with_one_convolution_is_not_split(function):
    apply, arrays = convert_closure(function, (8, 9, 3))
    assert first_layer.split(Model(apply, arrays, (8, 9, 3))) is None


def test_a_model_in_bfloat16_is_not_split():
    """It rounds the images first, and that is not linear."""
    network = models.Network(SMALL_RESNET, 4, 8, jnp.dtype(jnp.bfloat16))
    assert first_layer.split(Model(*fold(network, network.init(0)), (8, 8, 3))) is None
