"""First-order scores against finite differences of the loss in NumPy float64, and against exact removal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from fsjax import search
from fsjax.engine.model import Model
from fsjax.fourier import patches
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError
from fsjax.search import gradient

COUNT = 5


def make_problem(*, plane=(6, 8), patch=1, apply=None, classes=3, images=None, memory_mib=0):
    rng = np.random.default_rng(0)
    params = {
        "hidden": rng.normal(size=(plane[0] * plane[1] * 2, 8)) / 8,
        "out": rng.normal(size=(8, classes)),
    }
    if images is None:
        images = rng.normal(size=(COUNT, *plane, 2)).astype(np.float32)
    return search.Problem(
        model=Model(apply or network, jax.tree.map(np.float32, params), images.shape[1:]),
        images=lambda label: images,
        counts=(len(images),),
        classes=("a", "b", "c"),
        options=ConfigDict({"patch": patch, "precision": "highest", "transform": "fft"}),
        run=ConfigDict({"memory_mib": memory_mib, "save_seconds": 0.0}),
        searched_on="train",
        provenance={},
    )


def network(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


def losses(params, images, label):
    """Of each image, in float64."""
    logits = np.tanh(images.reshape(len(images), -1) @ params["hidden"].astype(float)) @ params["out"].astype(float)
    return np.log(np.exp(logits).sum(1)) - logits[:, label]


def parts(images, masks):
    """What each mask keeps of each image, [masks, images, H, W, C], in float64."""
    centred = np.fft.fftshift(np.fft.fft2(images.astype(float), axes=(1, 2)), axes=(1, 2))
    kept = centred[None] * masks[:, None, :, :, None]
    return np.fft.ifft2(np.fft.ifftshift(kept, axes=(2, 3)), axes=(2, 3)).real


@pytest.mark.parametrize(("plane", "patch"), [((6, 8), 1), ((5, 7), 1), ((6, 8), 2), ((8, 8), 4), ((9, 9), 3)])
def test_a_score_is_the_slope_of_the_loss_as_the_patch_fades(plane, patch):
    problem = make_problem(plane=plane, patch=patch)
    images = problem.images(0)
    found = gradient.make_first_order(problem, batch=2)(images, 1)
    step = 1e-4
    removed = parts(images, patches.masks(*plane, patch))
    expected = [
        (losses(problem.model.params, images - step * part, 1) - losses(problem.model.params, images + step * part, 1))
        / (2 * step)
        for part in removed
    ]
    np.testing.assert_allclose(found, np.array(expected).T, atol=2e-6)
    assert np.abs(found).max() > 0.05


@pytest.mark.parametrize("patch", [1, 2])
def test_scores_are_exact_for_a_loss_that_is_linear_in_the_image(patch):
    """Logits that grow so far apart that the cross-entropy to the losing class is their difference."""

    def apply(params, images):
        right = images.reshape(len(images), -1) @ params["hidden"][:, 0]
        return jnp.stack([jnp.zeros_like(right), 50 + right], axis=1)

    problem = make_problem(apply=apply, patch=patch)
    images, weights = problem.images(0), problem.model.params["hidden"][:, 0].astype(float)
    kept = parts(images, ~patches.masks(6, 8, patch)).reshape(-1, COUNT, 96) @ weights
    exact = kept - images.reshape(COUNT, -1) @ weights
    found = gradient.make_first_order(problem, batch=3)(images, 0)
    np.testing.assert_allclose(found, exact.T, atol=5e-6)


def test_scores_of_a_class_recognised_for_sure_do_not_drown_in_rounding():
    """A loss of 1e-11 nats, whose gradient float32 cannot tell as the difference of a probability from 1."""

    def apply(params, images):
        right = images.reshape(len(images), -1) @ params["hidden"][:, 0]
        return jnp.stack([25 + right, jnp.zeros_like(right), -50 + right], axis=1)

    problem = make_problem(apply=apply)
    images, weights = problem.images(0), problem.model.params["hidden"][:, 0].astype(float)
    along = parts(images, patches.masks(6, 8, 1)).reshape(-1, COUNT, 96) @ weights
    chances = np.exp(-25 - images.reshape(COUNT, -1) @ weights)
    found = gradient.make_first_order(problem, batch=3)(images, 0)
    np.testing.assert_allclose(found / chances[:, None], along.T, atol=1e-4)
    assert np.abs(along).max() > 0.1


def test_the_only_class_there_is_has_no_gradient():
    found = gradient.make_first_order(make_problem(classes=1), batch=2)(make_problem().images(0), 0)
    np.testing.assert_array_equal(found, 0)


def test_scores_do_not_depend_on_the_number_of_devices(monkeypatch):
    problem = make_problem()
    found = []
    for devices in (1, 2, 4):
        monkeypatch.setattr(parallel, "local_devices", lambda devices=devices: jax.local_devices()[:devices])
        found.append(gradient.make_first_order(problem, batch=2)(problem.images(0), 2))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_the_backward_pass_fits_into_the_memory_there_is():
    assert gradient.batch_size(make_problem()) == COUNT, "no larger than the class"
    wide = np.zeros((40, 64, 64, 2), np.float32)

    def apply(params, images):
        features = jnp.tanh(images[..., None] * jnp.arange(1.0, 17)).sum((1, 2, 3))
        return features[:, :3]

    sizes = [
        gradient.batch_size(make_problem(apply=apply, images=wide, plane=(64, 64), memory_mib=mib)) for mib in (8, 16)
    ]
    assert 1 <= sizes[0] < sizes[1] < 40
    with pytest.raises(InputError, match=r"run.memory_mib: got 1; expected .* for the gradient of one image"):
        gradient.batch_size(make_problem(apply=apply, images=wide, plane=(64, 64), memory_mib=1))


def test_a_gradient_that_is_not_finite_is_named():
    images = np.full((2, 6, 8, 2), np.inf, np.float32)
    problem = make_problem(images=images)
    with pytest.raises(InputError, match="the model returned a non-finite gradient on class 'b'"):
        gradient.make_first_order(problem, batch=2)(images, 1)
