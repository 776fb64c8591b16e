"""Learned masks: their relaxation and its slope in NumPy float64, planted pairs, and simple masks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import expit

from fsjax.fourier import masks, spectrum
from fsjax.search import learned, stepwise
from fsjax.search.mask_optimisation import MaskOptimisation, soft_top_k
from tests.helpers import search_problem
from tests.helpers.plane import filtered, power
from tests.helpers.search_problem import logits, losses

SIZE = 8
LAYOUT = {"batch_images": 5, "tasks_per_device": 1}
ORBITS, SIZES = spectrum.orbits(SIZE, SIZE), spectrum.orbit_sizes(SIZE, SIZE)
FIELDS = {"counts": (9, 5, 12), "shares": (0.1,), "steps": 8, "batch": 5, "judged": 7, "restarts": 1}


def make_problem(directory=None, **fields):
    return search_problem.make_problem(directory, "learned", **FIELDS | fields)


def inputs_of(optimisation, task, step):
    """Return the inputs of one step."""
    return jax.tree.map(lambda leaf: leaf[step], optimisation.inputs(task))


# The relaxation


@pytest.mark.parametrize("temperature", [2.0, 0.3, 0.02])
def test_soft_weights_make_up_the_budget_and_are_the_sigmoids_of_the_definition(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=len(SIZES))

    def weights(tau):
        return expit((logits - tau) / temperature)

    tau = brentq(lambda tau: SIZES @ weights(tau) - 11, -100, 100)
    found = soft_top_k(jnp.asarray(logits, jnp.float32), SIZES, 11, temperature)
    np.testing.assert_allclose(found, weights(tau), atol=2e-5)


# A step


def float64_slope(problem, label, start, images, positions, temperature, mirror):
    """The slope of a step's loss by its definition, along the weights for mirror descent, else along the logits."""

    def weights(tau):
        return expit((start - tau) / temperature)

    tau = brentq(lambda tau: SIZES @ weights(tau) - positions, -100, 100)

    def at(changed):
        moved = changed if mirror else expit((changed - tau) / temperature)
        return losses(problem.model.params, filtered(images, moved[ORBITS]), label).mean()

    where = weights(tau) if mirror else start
    changes = 1e-5 * np.eye(len(start))
    return np.array([(at(where + change) - at(where - change)) / 2e-5 for change in changes])


@pytest.mark.parametrize(("mirror", "transform"), [(False, "fft"), (True, "dft")])
def test_the_slope_of_a_step_follows_the_definition(monkeypatch, mirror, transform):
    problem = make_problem(restarts=3, **search_problem.filtering_by(monkeypatch, transform))
    scores = learned.as_quantiles(lambda label: learned.energy(problem, label))
    layout = {"batch_images": 3, "tasks_per_device": 1}
    optimisation = MaskOptimisation(problem, [7], lambda label, share: scores(label), layout)
    task, step = 2 * 3 + 2 * mirror, 3
    inputs = inputs_of(optimisation, task, step)
    assert inputs.temperature == pytest.approx(0.05 ** (3 / 7), rel=1e-5)
    state = optimisation.initial_state(task)
    shared, batches = jax.tree.map(jnp.asarray, (optimisation.shared([0, task, 2]), optimisation.batches(task)))
    placed = jax.tree.map(jnp.asarray, (problem.model.params, shared, state, inputs))
    found = sum(np.asarray(optimisation.measure(*placed, batch)) for batch in batches)
    images = np.concatenate([optimisation.batch_images(shared, inputs, batch) for batch in batches])
    images = images[np.concatenate([batch.weights for batch in batches]) > 0]
    np.testing.assert_array_equal(images, problem.images(2)[inputs.rows])
    start, temperature = state.logits.astype(float), float(inputs.temperature)
    expected = float64_slope(problem, 2, start, images, 7, temperature, mirror)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert abs(expected).max() > 1e-3


def test_restarts_are_by_adam_from_scores_and_from_zero_and_by_mirror_descent_and_cool_alike():
    problem = make_problem(restarts=6, hottest=2.0)
    scores = np.arange(len(SIZES)) / 9
    optimisation = MaskOptimisation(problem, [7], lambda label, share: scores, LAYOUT)
    starts = [optimisation.initial_state(task).logits for task in range(6)]
    np.testing.assert_allclose(starts, [scores, 0 * scores, scores] * 2, rtol=1e-6)
    inputs = [optimisation.inputs(task) for task in range(6)]
    assert [set(of_task.mirror_descent.tolist()) for of_task in inputs] == [{False}, {False}, {True}] * 2
    temperatures = np.array([of_task.temperature for of_task in inputs[:3]])
    np.testing.assert_allclose(temperatures[:, [0, -1]], [[2, 0.05]] * 3, rtol=1e-5)
    ratios = temperatures[:, 1:] / temperatures[:, :-1]
    np.testing.assert_allclose(ratios, np.full((3, 7), 0.025 ** (1 / 7)), rtol=1e-5)


def stepped(task, slopes):
    """The logits where a task starts, and after a step for each of these slopes."""
    problem = make_problem(restarts=3)
    scores = np.arange(len(SIZES)) / 9
    optimisation = MaskOptimisation(problem, [7], lambda label, share: scores, LAYOUT)
    states = [optimisation.initial_state(task)]
    for step, slope in enumerate(slopes):
        placed = jax.tree.map(jnp.asarray, (states[-1], inputs_of(optimisation, task, step)))
        states.append(optimisation.update(*placed, jnp.asarray(slope, jnp.float32)))
    return [np.asarray(state.logits, float) for state in states]


def test_logits_move_as_by_adam():
    slopes = np.random.default_rng(0).normal(size=(5, len(SIZES)))
    start, *found = stepped(0, slopes)
    logits = torch.nn.Parameter(torch.tensor(start))
    adam = torch.optim.Adam([logits], lr=0.2)
    for slope, moved in zip(slopes, found, strict=True):
        logits.grad = torch.tensor(slope)
        adam.step()
        np.testing.assert_allclose(moved, logits.detach().numpy(), atol=1e-5)


def test_by_mirror_descent_logits_move_as_by_adam_with_one_scale_for_all_orbits():
    # A few orbits with slopes far above the others', which a scale for each would make equal.
    slopes = np.random.default_rng(0).normal(size=(5, len(SIZES))) * np.where(np.arange(len(SIZES)) % 9, 1e-3, 1)
    expected, *found = stepped(2, slopes)
    for step, moved in enumerate(found):
        recent = np.average(slopes[: step + 1], axis=0, weights=0.9 ** np.arange(step + 1)[::-1])
        squares = np.average((slopes[: step + 1] ** 2).mean(1), weights=0.999 ** np.arange(step + 1)[::-1])
        expected = expected - 0.2 * recent / np.sqrt(squares)
        np.testing.assert_allclose(moved, expected, atol=1e-4)


def test_nothing_is_sent_to_the_devices_once_a_class_has_begun(monkeypatch):
    taken, make_steps = [], stepwise.make_steps

    def guarded(*arguments, **options):
        take = make_steps(*arguments, **options)

        def steps(*arguments):
            taken.append(1)
            with jax.transfer_guard_host_to_device("disallow_explicit"):
                return take(*arguments)

        return steps

    monkeypatch.setattr(stepwise, "make_steps", guarded)
    learned.search(make_problem())
    assert len(taken) >= 8


def test_every_image_comes_once_before_one_comes_again():
    optimisation = MaskOptimisation(make_problem(), [7], lambda label, share: np.zeros(len(SIZES)), LAYOUT)
    for task, count in enumerate(FIELDS["counts"]):
        rows = optimisation.inputs(task).rows.ravel()
        epochs = [rows[start : start + count] for start in range(0, 40, count)]
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs[:-1])
        assert len(np.unique(epochs[-1])) == len(epochs[-1]) and epochs[0].tolist() != epochs[1].tolist()


# Where it starts


def test_scores_are_spread_as_a_standard_normal_in_the_order_of_the_energy():
    problem = make_problem()
    energy = spectrum.per_orbit(power(problem.images(1)))
    np.testing.assert_allclose(learned.energy(problem, 1), energy, rtol=1e-5)
    found = learned.as_quantiles(lambda label: learned.energy(problem, label))(1)
    assert (np.argsort(found) == np.argsort(energy)).all()
    assert abs(found.mean()) < 1e-9 and found.std() == pytest.approx(1, abs=0.05)


# What it finds


def test_every_map_keeps_whole_orbits_within_its_budget_and_a_backward_pass_counts_twice():
    maps = learned.search(make_problem(shares=(0.33, 0.05, 1.0, 0.1), restarts=2))
    assert maps.shares == (0.05, 0.1, 0.33, 1.0)
    for share, positions, found in zip(maps.shares, maps.positions, maps.masks, strict=True):
        allowed = masks.budget(share, SIZE, SIZE)
        assert ((allowed - 1 <= positions) & (positions <= allowed)).all() and spectrum.is_hermitian(found)
    judged = (7 + 5 + 7) * 4 * (4 + 2)
    assert maps.forward_equivalents == 3 * 4 * 2 * 8 * 5 * 3 + judged + 3 * (7 + 5 + 7)


def low_reader(gain=40.0):
    """Class a is the energy of the lowest frequencies, beside a class that is always as likely."""
    low = jnp.asarray(masks.low_pass(SIZE, SIZE, 9))

    def apply(params, images):
        energy = jnp.square(spectrum.filter_images(images, low[None])[0]).mean((1, 2, 3))
        return jnp.stack([gain * energy, 0.1 * gain * jnp.ones_like(energy)], axis=1)

    return apply


def test_a_badly_learned_mask_gives_way_to_the_best_simple_mask():
    """A classifier that reads the lowest frequencies, and steps that go the wrong way."""
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(8, SIZE, SIZE, 3)).astype(np.float32) for _ in range(2)]
    problem = make_problem(apply=low_reader(), images=images, shares=(9 / 64,), steps=20)
    with problem.options.unlocked():
        problem.options.learned.learning_rate = -0.1
    maps = learned.search(problem)
    assert maps.provenance["chosen"][0] == ["gradient"]
    np.testing.assert_array_equal(maps.masks[0, 0], masks.low_pass(SIZE, SIZE, 9))
    assert maps.provenance["judged"][0][0] == pytest.approx(1)


def test_the_map_is_the_mask_with_the_best_judged_share_and_of_equal_ones_the_smallest_loss(monkeypatch):
    # Learned, then energy, gradient, low-pass and random, of each class: (judged share, loss).
    judged = [
        [(0.8, 0.1), (0.9, 5.0), (0.7, 0.0), (0.1, 0.0), (0.1, 0.0)],
        [(0.9, 2.0), (0.9, 3.0), (0.9, 1.0), (0.1, 0.0), (0.1, 0.0)],
        [(0.6, 9.0), (0.5, 0.0), (0.5, 0.0), (0.5, 0.0), (0.5, 0.0)],
    ]

    def evaluate(problem, candidates, shares, name):
        chosen = slice(1) if name == "learned" else slice(1, None)
        return np.moveaxis(np.array(judged)[:, None, chosen], -1, 0)

    monkeypatch.setattr(learned, "evaluate_masks", evaluate)
    maps = learned.search(make_problem(steps=1))
    assert maps.provenance["chosen"] == [["energy"], ["gradient"], ["learned"]]


@pytest.mark.parametrize(("gain", "expected"), [(40.0, "gradient"), (0.5, "energy")])
def test_learning_starts_from_energy_unless_the_gradient_has_a_clearly_smaller_loss(gain, expected):
    """Energy is no hint here: all frequencies have the same, so that the gradient's mask is better."""
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(8, SIZE, SIZE, 3)).astype(np.float32) for _ in range(2)]
    problem = make_problem(apply=low_reader(gain), images=images, shares=(9 / 64,))
    assert learned.search(problem).provenance["start"][0] == [expected]


def test_masks_are_judged_by_some_images_of_the_class():
    problem = make_problem(counts=(6, 5, 7))  # of at most 7 images: all are judged
    rng = np.random.default_rng(0)
    planes = np.stack([masks.random(SIZE, SIZE, 12, rng) for _ in range(3 * 2 * 4)]).reshape(3, 2, 4, SIZE, SIZE)
    candidates = [lambda label, share, index=index: planes[label, share, index] for index in range(4)]
    found_correct, found_loss = learned.evaluate_masks(problem, tuple(candidates), 2, "tried")
    for label, share in np.ndindex(3, 2):
        seen = filtered(problem.images(label), planes[label, share])
        correct = (logits(problem.model.params, seen).argmax(-1) == label).mean(1)
        np.testing.assert_allclose(found_correct[label, share], correct, atol=1e-12)
        loss = losses(problem.model.params, seen, label).mean(1)
        np.testing.assert_allclose(found_loss[label, share], loss, atol=1e-5)


# Steps in a call


def test_an_accelerators_loop_takes_the_same_steps_in_few_calls_and_goes_on_after_a_stop(tmp_path, monkeypatch):
    search_problem.on_devices(monkeypatch, 1)
    problem = make_problem(tmp_path / "whole", steps=24, restarts=3)
    scores = learned.as_quantiles(lambda label: learned.energy(problem, label))
    budgets = [7]

    def run(directory, limit=np.inf):
        """The logits of all tasks after the last step, and the steps of each call."""
        own = dataclasses.replace(problem, directory=directory)
        optimisation = MaskOptimisation(own, budgets, lambda label, share: scores(label), LAYOUT)
        monkeypatch.setattr(optimisation, "result", lambda task, state: state)
        with monkeypatch.context() as patch:
            seen = search_problem.stop_after(patch, limit)
            try:
                states = stepwise.run(own, optimisation, own.partial_results(LAYOUT))
            except search_problem.Stopped:
                return None, [units for units, *_ in seen]
        return np.array([state.logits for state in states]), [units for units, *_ in seen]

    one_by_one, calls = run(tmp_path / "cpu")
    assert calls == [1] * 9 * 24
    monkeypatch.setattr(stepwise.parallel, "free_bytes", lambda: 2**30)
    monkeypatch.setattr(stepwise, "_SECONDS_A_CALL", 1e6)
    looped, calls = run(tmp_path / "whole")
    assert calls == [1, 1, 22] + [24] * 8
    np.testing.assert_allclose(looped, one_by_one, atol=1e-4)
    monkeypatch.setattr(stepwise, "_SECONDS_A_CALL", 1e-9)
    stopped, calls = run(tmp_path / "stopped", limit=40)
    assert stopped is None and calls == [1] * 40
    monkeypatch.setattr(stepwise, "_SECONDS_A_CALL", 1e6)
    resumed, calls = run(tmp_path / "stopped")
    assert sum(calls) == 9 * 24 - 40 and len(calls) < 15
    np.testing.assert_array_equal(resumed, looped)
