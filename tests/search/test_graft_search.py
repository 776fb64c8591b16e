"""The graft search against its definition in NumPy float64, closed forms, planted orbits, and against being stopped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from fsjax import search
from fsjax.engine.model import Model
from fsjax.fourier import patches, spectrum
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError
from fsjax.search import gradient, graft, stepwise
from tests.helpers.stopping import Stopped, stop_after

COUNTS = (4, 3, 5)


def network(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


def make_problem(directory=None, *, plane=(6, 6), patch=1, apply=network, images=None, seed=0, resamples=0, **fields):
    rng = np.random.default_rng(seed)
    params = {
        "hidden": rng.normal(size=(plane[0] * plane[1] * 2, 8)).astype(np.float32) / 8,
        "out": rng.normal(size=(8, 3)).astype(np.float32),
    }
    if images is None:
        images = [rng.normal(size=(count, *plane, 2)).astype(np.float32) for count in COUNTS]
    options = search.options()
    options.update(method="graft", patch=patch, shares=fields.pop("shares", (0.1, 0.4)), resamples=resamples)
    options.graft.update({"pairs": 7, "steps": 3} | fields)
    search.check(options, plane)
    return search.Problem(
        model=Model(apply, params, images[0].shape[1:]),
        images=lambda label: images[label],
        counts=tuple(len(of_class) for of_class in images),
        classes=("a", "b", "c")[: len(images)],
        options=options,
        run=ConfigDict({"memory_mib": 0, "save_seconds": 0.0}),
        searched_on="train",
        provenance={},
        directory=directory,
    )


# In NumPy float64


def log_odds(params, images, label):
    """Of each image, [...] for images [..., H, W, C]."""
    flat = images.reshape(*images.shape[:-3], -1)
    logits = np.tanh(flat @ params["hidden"].astype(float)) @ params["out"].astype(float)
    return logits[..., label] - np.log(np.exp(np.delete(logits, label, axis=-1)).sum(-1))


def parts(images, masks):
    """What lies in each mask of each image, [masks, images, H, W, C]."""
    centred = np.fft.fftshift(np.fft.fft2(images.astype(float), axes=(1, 2)), axes=(1, 2))
    kept = centred[None] * masks[:, None, :, :, None]
    return np.fft.ifft2(np.fft.ifftshift(kept, axes=(2, 3)), axes=(2, 3)).real


def drawn_pairs(problem, label, resamples=0):
    """Recipients and donors of a class, and the weights of each pair."""
    layout = {"batch_images": 3, "tasks_per_device": 1}
    batches = graft.PathIntegration(problem, resamples, layout).batches(label)
    weights = np.concatenate([batch.weights for batch in batches])
    images = np.concatenate([batch.images for batch in batches])[weights[:, 0] > 0].astype(float)
    return images[:, 0], images[:, 1], weights[weights[:, 0] > 0].astype(float)


def pair_slopes(problem, label, masks):
    """The slope of the log-odds of each pair towards the donor's part in each mask, mean over the points [masks, n]."""
    recipients, donors, _ = drawn_pairs(problem, label)
    towards, params, steps = parts(donors - recipients, masks), problem.model.params, problem.options.graft.steps
    points = [recipients + (step + 0.5) / steps * (donors - recipients) for step in range(steps)]
    change = 1e-5
    slopes = [
        log_odds(params, point + change * towards, label) - log_odds(params, point - change * towards, label)
        for point in points
    ]
    return np.mean(slopes, 0) / (2 * change)


@pytest.mark.parametrize("plane", [(5, 7), (6, 8), (7, 4)])
def test_a_score_is_the_mean_slope_of_the_log_odds_towards_the_donors_part(plane):
    problem = make_problem(plane=plane)
    maps = search.run(problem)
    orbits = spectrum.orbits(*plane)
    masks = np.arange(orbits.max() + 1)[:, None, None] == orbits
    for label in range(3):
        expected = pair_slopes(problem, label, masks).mean(1)
        np.testing.assert_allclose(maps.scores[label], expected[orbits], atol=3e-6)
        assert np.abs(expected).max() > 0.1
    assert maps.forward_equivalents == 3 * 7 * 3 * 3 and "stability" in maps.provenance


def test_a_patch_scores_the_sum_over_its_orbits_and_a_position_the_best_of_its_patches():
    problem = make_problem(patch=2, shares=(0.3,))
    masks = patches.masks(6, 6, 2)
    expected = pair_slopes(problem, 1, masks).mean(1)
    found = search.run(problem).scores[1]
    np.testing.assert_allclose(found, np.where(masks, expected[:, None, None], -np.inf).max(0), atol=3e-6)


@pytest.mark.parametrize("plane", [(5, 7), (6, 6)])
def test_the_scores_of_all_orbits_add_up_to_what_the_path_changes(plane):
    problem = make_problem(plane=plane, steps=100)
    maps = search.run(problem)
    for label in range(3):
        recipients, donors, _ = drawn_pairs(problem, label)
        change = log_odds(problem.model.params, donors, label) - log_odds(problem.model.params, recipients, label)
        assert spectrum.per_orbit(maps.scores[label]).sum() == pytest.approx(change.mean(), abs=2e-4)
        assert abs(change.mean()) > 0.01


def test_one_step_is_exact_for_log_odds_that_are_linear_in_the_image():
    def apply(params, images):
        return jnp.stack([images.reshape(len(images), -1) @ params["hidden"][:, 0], jnp.zeros(len(images))], axis=1)

    images = [np.random.default_rng(label).normal(size=(4, 6, 6, 2)).astype(np.float32) for label in range(2)]
    problem = make_problem(apply=apply, images=images, steps=1)
    found, orbits = search.run(problem).scores, spectrum.orbits(6, 6)
    for label, sign in enumerate((1, -1)):
        recipients, donors, _ = drawn_pairs(problem, label)
        masks = np.arange(orbits.max() + 1)[:, None, None] == orbits
        gained = parts((donors - recipients).mean(0)[None], masks).reshape(len(masks), -1)
        expected = sign * gained @ problem.model.params["hidden"][:, 0].astype(float)
        np.testing.assert_allclose(found[label], expected[orbits], atol=2e-6)


def test_pairs_graft_each_image_of_the_class_into_images_of_the_others_alike():
    problem = make_problem(pairs=8)
    for label in range(3):
        recipients, donors, weights = drawn_pairs(problem, label)
        times = [(donors == image).all((1, 2, 3)).sum() for image in problem.images(label)]
        assert sum(times) == 8 and max(times) - min(times) <= 1
        of_others = [
            sum((recipients == image).all((1, 2, 3)).sum() for image in problem.images(other))
            for other in set(range(3)) - {label}
        ]
        assert of_others == [4, 4]
        np.testing.assert_allclose(weights, np.full((8, 1), 1 / 8 / 3), rtol=1e-6)


def test_a_resample_counts_each_donor_as_often_as_it_was_drawn():
    problem = make_problem(resamples=5)
    orbits = spectrum.orbits(6, 6)
    slopes = pair_slopes(problem, 0, np.arange(orbits.max() + 1)[:, None, None] == orbits)
    _, donors, weights = drawn_pairs(problem, 0, resamples=5)
    assert weights.shape == (7, 6)
    assert len(np.unique(weights, axis=1).T) > 3, "resamples differ"
    np.testing.assert_allclose(weights.sum(0), 1 / 3, rtol=1e-6)
    for image in problem.images(0):
        assert not np.ptp(weights[(donors == image).all((1, 2, 3))], axis=0).any()
    layout = gradient.layout(problem, 7)
    states = stepwise.run(
        problem, graft.PathIntegration(problem, 5, layout), problem.partial_results(layout), label="search"
    )
    numbers = patches.orbit_numbers(6, 6)
    np.testing.assert_allclose(states[0].scores, (slopes @ weights * 3).T[:, numbers], atol=3e-6)
    stability = search.run(problem).provenance["stability"]
    assert stability["resamples"] == 5 and stability["shares"] == [0.1, 0.4]
    np.testing.assert_allclose(search.run(problem).scores, search.run(make_problem()).scores, atol=1e-6)


# Planted truth


def test_orbits_that_carry_the_class_come_first():
    """Class a is told by the amplitudes of two orbits, which are in half of its images each."""
    rng = np.random.default_rng(0)
    images = [rng.normal(scale=0.2, size=(8, 8, 8, 2)).astype(np.float32) for _ in range(3)]
    rows, columns = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    waves = [np.cos(2 * np.pi * (3 * rows + columns) / 8), np.cos(2 * np.pi * (2 * rows - 3 * columns) / 8)]
    for index, image in enumerate(images[0]):
        image += waves[index % 2][..., None]
    planes = jnp.asarray(np.stack([np.abs(np.fft.fftshift(np.fft.fft2(wave))) > 1 for wave in waves]))

    def apply(params, images):
        energy = jnp.square(spectrum.filter_images(images, planes)).mean((2, 3, 4))
        evidence = jnp.sqrt(energy + 1e-2).sum(0)
        return jnp.stack([20 * evidence, jnp.full_like(evidence, 8), jnp.full_like(evidence, 8)], axis=1)

    maps = search.run(make_problem(plane=(8, 8), apply=apply, images=images, pairs=12))
    best = spectrum.orbits(8, 8)[maps.at(0.1)[0]]
    assert set(spectrum.orbits(8, 8)[np.asarray(planes).any(0)]) <= set(best.tolist())
    assert maps.scores[0][np.asarray(planes).any(0)].min() > 10 * np.median(np.abs(maps.scores[0]))


# Devices, and being stopped


def test_scores_do_not_depend_on_the_number_of_devices(monkeypatch):
    found = []
    for devices in (1, 2, 4):
        monkeypatch.setattr(parallel, "local_devices", lambda devices=devices: jax.local_devices()[:devices])
        found.append(search.run(make_problem(resamples=3)))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].scores, other.scores)
        assert found[0].provenance == other.provenance


def test_a_search_stopped_anywhere_goes_on_and_takes_no_step_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(gradient, "batch_size", lambda problem, **_: 3)
    expected = search.run(make_problem(tmp_path / "whole", resamples=3))
    taken, stops = 0, 0
    for limit in (1, 2, 3, 1000):
        monkeypatch.setattr(parallel, "local_devices", lambda stops=stops: jax.local_devices()[: (2, 1, 3, 2)[stops]])
        # A restart that would choose other batches keeps those of the first start.
        monkeypatch.setattr(gradient, "batch_size", lambda problem, stops=stops, **_: 3 + stops)

        seen = stop_after(monkeypatch, limit)
        try:
            found = search.run(make_problem(tmp_path / "stopped", resamples=3))
        except Stopped:
            stops += 1
        taken += sum(units for units, *_ in seen)
        monkeypatch.undo()
    assert stops == 3
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.provenance == expected.provenance
    assert taken == 3 * 3


# Refusals


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pairs", 0, "search.graft.pairs: got 0; expected 1 or more"),
        ("steps", -1, "search.graft.steps: got -1; expected 1 or more"),
        ("patch", 4, "search.patch: got 4; expected a divisor of the image size 6"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(field, value, message):
    with pytest.raises(InputError, match=message):
        make_problem(**{field: value})


@pytest.mark.parametrize(
    ("counts", "got"), [((3,), "1 classes, the smallest of 3 images"), ((3, 1), "2 classes, the smallest of 1 images")]
)
def test_there_has_to_be_something_to_graft_from_and_into(counts, got):
    images = [np.zeros((count, 6, 6, 2), np.float32) for count in counts]
    with pytest.raises(InputError, match=f"got graft with {got}; expected two or more classes of two or more images"):
        search.run(make_problem(images=images))


def test_a_gradient_that_is_not_finite_is_refused():
    images = [np.full((3, 6, 6, 2), np.inf, np.float32)] * 2
    with pytest.raises(InputError, match="the model returned a non-finite loss or gradient"):
        search.run(make_problem(images=images))
