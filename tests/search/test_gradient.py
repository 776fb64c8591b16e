"""First-order scores against finite differences of the loss in NumPy float64, and against exact removal."""

import jax.numpy as jnp
import numpy as np
import pytest

from fsjax.fourier import patches
from fsjax.runtime.errors import InputError
from fsjax.search import graft
from tests.helpers import search_problem
from tests.helpers.search_problem import filtered, losses, on_devices

COUNT = 5


def make_problem(*, plane=(6, 8), memory_mib=0, **fields):
    problem = search_problem.make_problem(plane=plane, channels=2, counts=(COUNT,), shares=(1.0,), **fields)
    problem.run.memory_mib = memory_mib
    return problem


@pytest.mark.parametrize(("plane", "patch"), [((6, 8), 1), ((5, 7), 1), ((8, 8), 4), ((9, 9), 3)])
def test_a_score_is_the_slope_of_the_loss_as_the_patch_fades(plane, patch):
    problem = make_problem(plane=plane, patch=patch)
    images, params, step = problem.images(0), problem.model.params, 1e-4
    found = graft.make_first_order(problem, batch=2)(images, 1)
    removed = filtered(images, patches.masks(*plane, patch))
    expected = (losses(params, images - step * removed, 1) - losses(params, images + step * removed, 1)) / (2 * step)
    np.testing.assert_allclose(found, expected.T, atol=2e-6)
    assert np.abs(found).max() > 0.05


@pytest.mark.parametrize("patch", [1, 2])
def test_scores_are_exact_for_a_loss_that_is_linear_in_the_image(patch):
    """Logits so far apart that the cross-entropy to the losing class is their difference."""

    def apply(params, images):
        right = images.reshape(len(images), -1) @ params["hidden"][:, 0]
        return jnp.stack([jnp.zeros_like(right), 50 + right], axis=1)

    problem = make_problem(apply=apply, patch=patch)
    images, weights = problem.images(0), problem.model.params["hidden"][:, 0].astype(float)
    kept = filtered(images, ~patches.masks(6, 8, patch)).reshape(-1, COUNT, 96) @ weights
    exact = kept - images.reshape(COUNT, -1) @ weights
    found = graft.make_first_order(problem, batch=3)(images, 0)
    np.testing.assert_allclose(found, exact.T, atol=5e-6)


def test_rounding_does_not_hide_scores_of_a_class_recognised_for_sure():
    """A loss of 1e-11 nats; as the difference of a probability from 1 float32 would lose its gradient."""

    def apply(params, images):
        right = images.reshape(len(images), -1) @ params["hidden"][:, 0]
        return jnp.stack([25 + right, jnp.zeros_like(right), -50 + right], axis=1)

    problem = make_problem(apply=apply)
    images, weights = problem.images(0), problem.model.params["hidden"][:, 0].astype(float)
    along = filtered(images, patches.masks(6, 8, 1)).reshape(-1, COUNT, 96) @ weights
    chances = np.exp(-25 - images.reshape(COUNT, -1) @ weights)
    found = graft.make_first_order(problem, batch=3)(images, 0)
    np.testing.assert_allclose(found / chances[:, None], along.T, atol=1e-4)
    assert np.abs(along).max() > 0.1


def test_a_model_of_one_class_has_no_gradient():
    problem = make_problem(apply=lambda params, images: images.mean((1, 2, 3))[:, None])
    np.testing.assert_array_equal(graft.make_first_order(problem, batch=2)(problem.images(0), 0), 0)


def test_scores_do_not_depend_on_the_number_of_devices(monkeypatch):
    problem, found = make_problem(), []
    for devices in (1, 4):
        on_devices(monkeypatch, devices)
        found.append(graft.make_first_order(problem, batch=2)(problem.images(0), 2))
    np.testing.assert_array_equal(*found)


def test_the_backward_pass_fits_into_the_memory_there_is():
    assert graft.batch_size(make_problem()) == COUNT, "no larger than the class"
    wide = [np.zeros((40, 64, 64, 2), np.float32)]

    def apply(params, images):
        features = jnp.tanh(images[..., None] * jnp.arange(1.0, 17)).sum((1, 2, 3))
        return features[:, :3]

    sizes = [graft.batch_size(make_problem(apply=apply, images=wide, memory_mib=mib)) for mib in (8, 16)]
    assert 1 <= sizes[0] < sizes[1] < 40
    with pytest.raises(InputError, match=r"run.memory_mib: got 1; expected .* for the gradient of one image"):
        graft.batch_size(make_problem(apply=apply, images=wide, memory_mib=1))


def test_a_gradient_that_is_not_finite_is_named():
    problem = make_problem(images=[np.full((2, 6, 8, 2), np.inf, np.float32)])
    with pytest.raises(InputError, match="the model returned a non-finite gradient on class 'a'"):
        graft.make_first_order(problem, batch=2)(problem.images(0), 0)
