"""Learned masks: their relaxation and its slope in NumPy float64, planted pairs, trivial masks, and being stopped."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from ml_collections import ConfigDict
from scipy.optimize import brentq
from scipy.special import expit

from fsjax import search
from fsjax.engine.model import Model
from fsjax.fourier import masks, patches, spectrum
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.random_streams import Stream
from fsjax.search import gradient, graft, learned, stepwise
from fsjax.search.mask_optimisation import MaskOptimisation, draw_rows, soft_top_k
from tests.helpers.stopping import Stopped, stop_after

SIZE = 8
LAYOUT = {"batch_images": 5, "tasks_per_device": 1}
ORBITS, SIZES = spectrum.orbits(SIZE, SIZE), spectrum.orbit_sizes(SIZE, SIZE)


def network(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


def make_problem(tmp_path, *, apply=network, images=None, shares=(0.1,), seed=0, **fields):
    rng = np.random.default_rng(seed)
    params = {
        "hidden": rng.normal(size=(SIZE * SIZE * 3, 8)).astype(np.float32) / 8,
        "out": rng.normal(size=(8, 3)).astype(np.float32),
    }
    if images is None:
        images = [rng.normal(size=(count, SIZE, SIZE, 3)).astype(np.float32) for count in (9, 5, 12)]
    options = search.options()
    options.update(method="learned", shares=shares)
    options.learned.update({"steps": 8, "batch": 5, "judged": 7, "restarts": 1} | fields)
    search.check(options, (SIZE, SIZE))
    return search.Problem(
        model=Model(apply, params, (SIZE, SIZE, 3)),
        images=lambda label: images[label],
        counts=tuple(len(of_class) for of_class in images),
        classes=("a", "b", "c")[: len(images)],
        options=options,
        run=ConfigDict({"memory_mib": 0, "save_seconds": 0.0}),
        searched_on="train",
        provenance={},
        directory=tmp_path / "search",
    )


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


def test_a_cold_soft_mask_is_the_mask_of_the_best_orbits():
    logits = np.random.default_rng(1).normal(size=len(SIZES))
    kept = spectrum.per_orbit(masks.best_orbits(logits[ORBITS], 13))
    found = np.asarray(soft_top_k(jnp.asarray(logits, jnp.float32), SIZES, int(SIZES[kept].sum()), 1e-3))
    np.testing.assert_allclose(found, kept, atol=1e-3)


# A step


def float64_slope(problem, label, logits, own, others, positions, temperature, mirror, weight):
    """The slope of a step's loss by its definition, along the weights for mirror descent, else along the logits."""

    def weights(tau):
        return expit((logits - tau) / temperature)

    tau = brentq(lambda tau: SIZES @ weights(tau) - positions, -100, 100)

    def filtered(images, weights):
        centred = np.fft.fftshift(np.fft.fft2(images.astype(float), axes=(1, 2)), axes=(1, 2))
        product = np.fft.ifftshift(centred * weights[ORBITS][None, :, :, None], axes=(1, 2))
        return np.fft.ifft2(product, axes=(1, 2)).real

    def log_probabilities(images, weights):
        if images.ndim == 5:
            seen = filtered(images[:, 0], 1 - weights) + filtered(images[:, 1], weights)
        else:
            seen = filtered(images, weights)
        flat = seen.reshape(len(images), -1)
        outputs = np.tanh(flat @ problem.model.params["hidden"].astype(float)) @ problem.model.params["out"].astype(
            float
        )
        return outputs - np.log(np.exp(outputs).sum(1, keepdims=True))

    def at(changed):
        moved = changed if mirror else expit((changed - tau) / temperature)
        total = -log_probabilities(own, moved)[:, label].mean()
        if others is not None:
            total -= weight * np.log(1 - np.exp(log_probabilities(others, moved)[:, label])).mean()
        return total

    where = weights(tau) if mirror else logits
    slope = np.zeros(len(logits))
    for orbit in range(len(logits)):
        change = np.zeros(len(logits))
        change[orbit] = 1e-5
        slope[orbit] = (at(where + change) - at(where - change)) / 2e-5
    return slope


@pytest.mark.parametrize(
    ("objective", "mirror"),
    [("sufficient", False), ("sufficient", True), ("specific", True), ("graft", False), ("graft", True)],
)
def test_the_slope_of_a_step_is_that_of_the_objective_by_its_definition(tmp_path, objective, mirror):
    problem = make_problem(tmp_path, objective=objective, restarts=3, others=0.4)
    pool = graft.draw_others(problem) if objective != "sufficient" else None
    score_of, _ = learned.initial_scores(problem, "energy")
    layout = {"batch_images": 3, "tasks_per_device": 1}
    optimisation = MaskOptimisation(problem, [7], lambda label, share: score_of(label), pool, layout)
    task, step = 2 * 3 + 2 * mirror, 3
    inputs = inputs_of(optimisation, task, step)
    assert inputs.temperature == pytest.approx(0.05 ** (3 / 7), rel=1e-5)
    state = optimisation.initial_state(task)
    shared, batches = jax.tree.map(jnp.asarray, (optimisation.shared([0, task, 2]), optimisation.batches(task)))
    placed = jax.tree.map(jnp.asarray, (problem.model.params, shared, state, inputs))
    found = sum(np.asarray(optimisation.measure(*placed, batch)) for batch in batches)
    images = np.concatenate([optimisation.batch_images(shared, inputs, batch) for batch in batches])
    weights = np.concatenate([batch.weights for batch in batches])
    own, others = images[weights > 0], images[weights < 0]
    assert len(own) == 5 and len(others) == (5 if pool else 0)
    if objective == "graft":
        np.testing.assert_array_equal(own, others[:, ::-1])
    of_class = own[:, 1] if objective == "graft" else own
    rest = own[:, 0] if objective == "graft" else others
    assert all((problem.images(2) == image).all((1, 2, 3)).any() for image in of_class)
    assert not any((problem.images(2) == image).all((1, 2, 3)).any() for image in rest)
    logits = state.logits.astype(float)
    temperature = float(inputs.temperature)
    expected = float64_slope(problem, 2, logits, own, others if pool else None, 7, temperature, mirror, 0.4)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert abs(expected).max() > 1e-3


def test_restarts_are_by_adam_from_scores_and_from_zero_and_by_mirror_descent_and_cool_alike(tmp_path):
    problem = make_problem(tmp_path, restarts=6, hottest=2.0)
    scores = np.arange(len(SIZES)) / 9
    optimisation = MaskOptimisation(problem, [7], lambda label, share: scores, None, LAYOUT)
    starts = [optimisation.initial_state(task).logits for task in range(6)]
    np.testing.assert_allclose(starts, [scores, 0 * scores, scores] * 2, rtol=1e-6)
    inputs = [optimisation.inputs(task) for task in range(6)]
    assert [set(of_task.mirror_descent.tolist()) for of_task in inputs] == [{False}, {False}, {True}] * 2
    temperatures = np.array([of_task.temperature for of_task in inputs[:3]])
    np.testing.assert_allclose(temperatures[:, [0, -1]], [[2, 0.05]] * 3, rtol=1e-5)
    ratios = temperatures[:, 1:] / temperatures[:, :-1]
    np.testing.assert_allclose(ratios, np.full((3, 7), 0.025 ** (1 / 7)), rtol=1e-5)


def stepped(tmp_path, task, slopes):
    """The logits where a task starts, and after a step for each of these slopes."""
    problem = make_problem(tmp_path, restarts=3)
    scores = np.arange(len(SIZES)) / 9
    optimisation = MaskOptimisation(problem, [7], lambda label, share: scores, None, LAYOUT)
    states = [optimisation.initial_state(task)]
    for step, slope in enumerate(slopes):
        placed = jax.tree.map(jnp.asarray, (states[-1], inputs_of(optimisation, task, step)))
        states.append(optimisation.update(*placed, jnp.asarray(slope, jnp.float32)))
    return [np.asarray(state.logits, float) for state in states]


def test_logits_move_as_by_adam(tmp_path):
    slopes = np.random.default_rng(0).normal(size=(5, len(SIZES)))
    start, *found = stepped(tmp_path, 0, slopes)
    logits = torch.nn.Parameter(torch.tensor(start))
    adam = torch.optim.Adam([logits], lr=0.2)
    for slope, moved in zip(slopes, found, strict=True):
        logits.grad = torch.tensor(slope)
        adam.step()
        np.testing.assert_allclose(moved, logits.detach().numpy(), atol=1e-5)


def test_by_mirror_descent_logits_move_as_by_adam_with_one_scale_for_all_orbits(tmp_path):
    # A few orbits with slopes far above the others', which a scale for each would make equal.
    slopes = np.random.default_rng(0).normal(size=(5, len(SIZES))) * np.where(np.arange(len(SIZES)) % 9, 1e-3, 1)
    expected, *found = stepped(tmp_path, 2, slopes)
    for step, moved in enumerate(found):
        recent = np.average(slopes[: step + 1], axis=0, weights=0.9 ** np.arange(step + 1)[::-1])
        squares = np.average((slopes[: step + 1] ** 2).mean(1), weights=0.999 ** np.arange(step + 1)[::-1])
        expected = expected - 0.2 * recent / np.sqrt(squares)
        np.testing.assert_allclose(moved, expected, atol=1e-4)


@pytest.mark.parametrize("objective", ["sufficient", "specific", "graft"])
def test_nothing_is_sent_to_the_devices_once_a_class_has_begun(tmp_path, monkeypatch, objective):
    taken, step = [], stepwise._Runner._step

    def guarded(*arguments):
        taken.append(1)
        with jax.transfer_guard_host_to_device("disallow_explicit"):
            return step(*arguments)

    monkeypatch.setattr(stepwise._Runner, "_step", guarded)
    learned.search(make_problem(tmp_path, objective=objective, start="energy"))
    assert len(taken) >= 8


def test_of_a_large_class_only_what_steps_take_is_on_the_devices(tmp_path):
    problem = make_problem(tmp_path, steps=2, batch=2, restarts=2, objective="specific")
    others = graft.draw_others(problem)
    optimisation = MaskOptimisation(problem, [7], lambda label, share: np.zeros(len(SIZES)), others, LAYOUT)
    shared = optimisation.shared([2, 3, 4])  # of the classes b and c
    assert shared.labels.tolist() == [1, 2]
    taken = shared.images[len(others.labels) :].reshape(2, 8, SIZE, SIZE, 3)
    for task in (2, 3, 4, 5):
        label, restart = divmod(task, 2)
        inputs = inputs_of(optimisation, task, 1)
        images = optimisation.batch_images(*jax.tree.map(jnp.asarray, (shared, inputs, optimisation.batches(task)[0])))
        drawn = draw_rows(len(problem.images(label)), 2, 2, 0, Stream.LEARNED_IMAGES, label, restart)[1]
        np.testing.assert_array_equal(images[:2], problem.images(label)[drawn])
        assert (taken[label - 1] == images[0]).all((1, 2, 3)).any()
    assert len(np.unique(taken[1], axis=0)) < len(problem.images(2))


def test_every_image_comes_once_before_one_comes_again():
    rows = draw_rows(9, 4, 9, 0, Stream.LEARNED_IMAGES, 1).ravel()
    for start in range(0, 36, 9):
        assert sorted(rows[start : start + 9]) == list(range(9))
    assert rows[:9].tolist() != rows[9:18].tolist()
    few = draw_rows(3, 7, 1, 0, Stream.LEARNED_IMAGES)[0]
    assert len(few) == 7 and sorted(few[:3]) == sorted(few[3:6]) == [0, 1, 2]


# Where it starts


def test_scores_are_spread_as_a_standard_normal_in_the_order_of_what_they_are_made_of(tmp_path):
    problem = make_problem(tmp_path)
    spectra = np.fft.fftshift(np.fft.fft2(problem.images(1).astype(float), axes=(1, 2)), axes=(1, 2))
    energy = spectrum.per_orbit((abs(spectra) ** 2).mean((0, 3)))
    np.testing.assert_allclose(learned.energy(problem, 1), energy, rtol=1e-5)
    found = learned.initial_scores(problem, "energy")[0](1)
    assert (np.argsort(found) == np.argsort(energy)).all()
    assert abs(found.mean()) < 1e-9 and found.std() == pytest.approx(1, abs=0.05)


def test_scores_by_graft_follow_the_graft_search(tmp_path):
    problem = make_problem(tmp_path)
    problem.options.graft.update(pairs=5, steps=2)
    scores, cost = learned.initial_scores(problem, "graft")
    options = search.options()
    options.update(method="graft", shares=(0.1,))
    options.graft = problem.options.graft
    maps = search.graft.search(dataclasses.replace(problem, options=options, directory=None))
    for label in range(3):
        ranks = [np.argsort(values) for values in (scores(label), spectrum.per_orbit(maps.scores[label]))]
        assert (ranks[0] == ranks[1]).mean() > 0.9, "equal but for rounding"
    assert cost == maps.forward_equivalents == 3 * 5 * 2 * 3


@pytest.mark.parametrize("start", ["gradient", "removal"])
def test_scores_by_removal_follow_the_removal_search(tmp_path, start):
    problem = make_problem(tmp_path, judged=12)
    found, cost = learned.initial_scores(problem, start)
    options = search.options()
    options.update(method="removal", shares=(0.1,))
    exact = search.removal.search(dataclasses.replace(problem, options=options, directory=None))
    for label in range(3):
        scores = spectrum.per_orbit(exact.scores[label])
        ranks = [np.argsort(np.argsort(values)) for values in (found(label), scores)]
        assert np.corrcoef(*ranks)[0, 1] > (0.999 if start == "removal" else 0.8)
    assert cost == (exact.forward_equivalents if start == "removal" else 3 * 26)


# What it finds


def pair_reader(members, gain=9.0):
    """Class a is the product of two orbits' energies; nothing else is read."""
    planes = jnp.asarray(np.stack([member == ORBITS for member in members]))

    def apply(params, images):
        energy = jnp.square(spectrum.filter_images(images, planes)).mean((2, 3, 4))
        both = jnp.prod(energy / (energy + 0.005), axis=0)
        return jnp.stack([gain * both, 0.25 * gain * jnp.ones_like(both)], axis=1)

    return apply


@pytest.mark.parametrize("objective", ["sufficient", "graft"])
def test_a_pair_that_works_only_together_is_found(tmp_path, objective):
    members = [int(ORBITS[4 + 1, 4 + 2]), int(ORBITS[4 - 3, 4 + 1])]
    rng = np.random.default_rng(4)
    images = [rng.normal(size=(20, SIZE, SIZE, 3)).astype(np.float32) for _ in range(2)]
    if objective == "graft":  # what others lack
        images[1] -= np.asarray(
            spectrum.filter_images(jnp.asarray(images[1]), jnp.asarray(np.isin(ORBITS, members))[None])[0]
        )
    fields = {"objective": objective, "shares": (4 / 64,), "steps": 60, "batch": 10}
    maps = learned.search(make_problem(tmp_path, apply=pair_reader(members), images=images, **fields))
    assert set(np.unique(ORBITS[maps.masks[0, 0]])) == set(members)
    assert maps.provenance["judged"][0] == [1.0]
    assert maps.scores is None


def waves_at(frequencies, count, rng):
    """Images [count, n, S, S, 1] of cosines of random phase, at n frequencies."""
    rows, columns = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    turns = np.stack([v * rows + h * columns for v, h in frequencies]) / SIZE
    return np.cos(2 * np.pi * (turns + rng.uniform(size=(count, len(turns), 1, 1))))[..., None]


def amplitude_reader(members):
    """Class a is the sum of the members' amplitudes; all others tell a little, for it or against it."""
    tells = 0.3 * np.random.default_rng(0).normal(size=len(SIZES))
    tells[members] = 4
    rows, columns = patches.orbit_positions(SIZE, SIZE).T
    tells = jnp.asarray(tells[ORBITS[rows, columns]], jnp.float32)

    def apply(params, images):
        amplitude = spectrum.amplitude(images.mean(-1, keepdims=True))[:, rows, columns, 0] / SIZE
        # Smooth where an orbit is missing: there it has no slope.
        evidence = (jnp.sqrt(amplitude**2 + 0.05**2) - 0.05) @ tells
        return jnp.stack([evidence - 6, jnp.zeros_like(evidence)], axis=1)

    return apply


def test_orbits_that_each_tell_other_images_are_all_found(tmp_path):
    """Every image of the class has one of four orbits, and all images have others that are stronger and tell nothing.

    Whichever of them are taken first, the images of the rest have to draw theirs in.
    """
    planted, strong = [(1, 2), (-3, 1), (2, 3), (0, 3)], [(3, -1), (1, -2), (2, 0), (2, -3)]
    rng = np.random.default_rng(3)
    images = [
        (rng.normal(scale=0.5, size=(24, SIZE, SIZE, 3)) + waves_at(strong, 24, rng).sum(1)).astype(np.float32)
        for _ in range(2)
    ]
    images[0] += 0.6 * waves_at(planted, 24, rng)[np.arange(24), np.arange(24) % 4].astype(np.float32)
    members = [int(ORBITS[4 + v, 4 + h]) for v, h in planted]
    fields = {"shares": (8 / 64,), "start": "energy", "steps": 60, "batch": 12, "restarts": 3}
    maps = learned.search(make_problem(tmp_path, apply=amplitude_reader(members), images=images, **fields))
    assert set(np.unique(ORBITS[maps.masks[0, 0]])) == set(members)
    assert maps.provenance["chosen"][0] == ["learned"]


def test_every_map_keeps_whole_orbits_within_its_budget(tmp_path):
    maps = learned.search(make_problem(tmp_path, shares=(0.33, 0.05, 1.0, 0.1)))
    assert maps.shares == (0.05, 0.1, 0.33, 1.0)
    for index, found in enumerate(maps.shares):
        allowed = masks.budget(found, SIZE, SIZE)
        assert ((allowed - 1 <= maps.positions[index]) & (maps.positions[index] <= allowed)).all()
        assert all(spectrum.is_hermitian(mask) for mask in maps.masks[index])


def low_reader(gain=40.0):
    """Class a is the energy of the lowest frequencies, beside a class that is always as likely."""
    low = jnp.asarray(masks.low_pass(SIZE, SIZE, 9))

    def apply(params, images):
        energy = jnp.square(spectrum.filter_images(images, low[None])[0]).mean((1, 2, 3))
        return jnp.stack([gain * energy, 0.1 * gain * jnp.ones_like(energy)], axis=1)

    return apply


def test_a_mask_that_was_learned_badly_gives_way_to_the_best_trivial_one(tmp_path, monkeypatch):
    """A classifier that reads the lowest frequencies, and steps that go the wrong way."""
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(8, SIZE, SIZE, 3)).astype(np.float32) for _ in range(2)]
    problem = make_problem(tmp_path, apply=low_reader(), images=images, shares=(9 / 64,), start="zero", steps=20)
    with problem.options.unlocked():
        problem.options.learned.learning_rate = -0.1
    maps = learned.search(problem)
    assert maps.provenance["chosen"][0] == ["low-pass"]
    np.testing.assert_array_equal(maps.masks[0, 0], masks.low_pass(SIZE, SIZE, 9))
    assert maps.provenance["judged"][0][0] == pytest.approx(1)


@pytest.mark.parametrize(("gain", "expected"), [(40.0, "gradient"), (0.5, "energy")])
def test_learning_starts_from_energy_unless_the_gradient_has_a_clearly_smaller_loss(tmp_path, gain, expected):
    """Energy is no hint here: all frequencies have the same, so that the gradient's mask is better."""
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(8, SIZE, SIZE, 3)).astype(np.float32) for _ in range(2)]
    problem = make_problem(tmp_path, apply=low_reader(gain), images=images, shares=(9 / 64,), start="best")
    assert learned.search(problem).provenance["start"][0] == [expected]


@pytest.mark.parametrize("objective", ["sufficient", "specific", "graft"])
def test_candidates_are_judged_by_what_they_keep_less_what_they_draw(tmp_path, objective):
    problem = make_problem(tmp_path, objective=objective, others=0.4)
    pool = graft.draw_others(problem) if objective != "sufficient" else None
    rng = np.random.default_rng(0)
    planes = np.stack([masks.random(SIZE, SIZE, 12, rng) for _ in range(3 * 2 * 4)]).reshape(3, 2, 4, SIZE, SIZE)
    candidates = [
        lambda label, share, index=index: spectrum.per_orbit(planes[label, share, index]) for index in range(4)
    ]
    found = learned.evaluate_masks(problem, tuple(candidates), 2, pool, "tried")
    for label in range(3):
        images, sides = learned.judged_images(problem, label, pool)
        own, others = sides.sum(0).astype(float)
        assert own == (7 if objective == "graft" else min(7, len(problem.images(label)))) and others == (
            7 if pool else 0
        )
        donors = images[:, 1] if objective == "graft" else images
        assert all((problem.images(label) == image).all((1, 2, 3)).any() for image in donors[sides[:, 0] == 1])
        assert not any((problem.images(label) == image).all((1, 2, 3)).any() for image in donors[sides[:, 1] == 1])
        weights = np.where(sides[:, 0] == 1, 1 / own, -0.4 / max(others, 1))
        for share in range(2):
            filtered = np.asarray(spectrum.filter_images(jnp.asarray(donors), jnp.asarray(planes[label, share])))
            if objective == "graft":
                filtered = filtered + np.asarray(
                    spectrum.filter_images(jnp.asarray(images[:, 0]), jnp.asarray(~planes[label, share]))
                )
            logits = np.asarray(network(problem.model.params, filtered.reshape(-1, SIZE, SIZE, 3)), float)
            logits = logits.reshape(4, len(images), 3)
            right = ((logits.argmax(-1) == label) * weights).sum(1)
            loss = ((np.log(np.exp(logits).sum(-1)) - logits[..., label]) * weights).sum(1)
            np.testing.assert_allclose(found.correct[label, share], right, atol=1e-12)
            np.testing.assert_allclose(found.loss[label, share], loss, atol=1e-5)
    # All 26 images are in the pool; a class is held against at most 7 of its own and 7 of the others.
    assert found.forward_passes == (3 * 7 if objective == "graft" else 7 + 5 + 7) * 8 + (3 * 7 * 8 if pool else 0)


def test_forward_equivalents_count_a_backward_pass_twice(tmp_path):
    maps = learned.search(make_problem(tmp_path, shares=(0.1, 0.2), restarts=2))
    judged = (7 + 5 + 7) * 2 * (4 + 2)
    assert maps.forward_equivalents == 3 * 2 * 2 * 8 * 5 * 3 + judged + 3 * (7 + 5 + 7)


# Being stopped


ROOM = 4  # images whose gradient fits


def test_masks_that_are_learned_are_read_and_not_learned_again(tmp_path, monkeypatch):
    """Saved at every step: the last save holds the masks, not the state that they come from."""
    problem = make_problem(tmp_path)
    expected = learned.search(problem)

    def step(*arguments):
        raise AssertionError("a step is taken")

    monkeypatch.setattr(stepwise._Runner, "_step", step)
    np.testing.assert_array_equal(learned.search(problem).masks, expected.masks)


def test_a_search_stopped_anywhere_goes_on_and_ends_with_the_same_masks(tmp_path, monkeypatch):
    fields = {"shares": (0.1, 0.3), "objective": "specific"}
    monkeypatch.setattr(gradient, "batch_size", lambda problem, **_: ROOM)
    expected = learned.search(make_problem(tmp_path / "whole", **fields))
    taken, stops = 0, 0
    for limit in (1, 8, 12, 1000):
        devices = jax.local_devices()[: (2, 1, 3, 2)[stops]]
        monkeypatch.setattr(parallel, "local_devices", lambda devices=devices: devices)
        # A restart that would choose other pieces keeps those of the first start.
        monkeypatch.setattr(gradient, "batch_size", lambda problem, stops=stops, **_: ROOM + stops)

        seen = stop_after(monkeypatch, limit)
        try:
            found = learned.search(make_problem(tmp_path / "stopped", **fields))
        except Stopped:
            stops += 1
        taken += sum(units for units, *_ in seen)
        monkeypatch.undo()
    assert stops == 3
    np.testing.assert_array_equal(found.masks, expected.masks)
    assert found.provenance == expected.provenance
    assert taken == 3 * 2 * 4 + 3 * 2 * 8 + 3 * 2 * 1, "no step is taken twice"


def test_kept_masks_are_not_taken_for_those_of_another_share(tmp_path):
    learned.search(make_problem(tmp_path, shares=(0.1,)))
    with pytest.raises(InputError, match="partial results of another search"):
        learned.search(make_problem(tmp_path, shares=(0.2,)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("objective", "best", "search.learned.objective: got 'best'; expected sufficient, specific, graft"),
        ("start", "guess", "search.learned.start: got 'guess'; expected best, energy, gradient, removal, graft, zero"),
        ("steps", 0, "search.learned.steps: got 0; expected 1 or more"),
        ("coldest", 0.0, "search.learned.coldest: got 0.0; expected a number above 0"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(tmp_path, field, value, message):
    with pytest.raises(InputError, match=message):
        make_problem(tmp_path, **{field: value})


@pytest.mark.parametrize("objective", ["specific", "graft"])
def test_one_class_has_nothing_to_be_specific_against(tmp_path, objective):
    images = [np.random.default_rng(0).normal(size=(3, SIZE, SIZE, 3)).astype(np.float32)]
    with pytest.raises(
        InputError, match=f"search.learned.objective: got '{objective}' with one class; expected sufficient"
    ):
        learned.search(make_problem(tmp_path, images=images, objective=objective))
    maps = learned.search(make_problem(tmp_path, images=images))
    assert maps.masks.shape == (1, 1, SIZE, SIZE) and maps.masks.any()


def test_a_gradient_that_is_not_finite_is_named(tmp_path):
    images = [np.full((3, SIZE, SIZE, 3), np.inf, np.float32)] * 2
    with pytest.raises(InputError, match="the model returned a non-finite loss on class 'a'"):
        learned.search(make_problem(tmp_path, images=images, start="zero"))


# What processes give each other


def test_results_of_many_tasks_go_to_the_other_processes_at_once(tmp_path, monkeypatch):
    class Numbers(stepwise.StepwiseSearch):
        count, steps, images_per_step = 7, 1, 1

        def initial_state(self, task):
            return {"half": np.float32(task / 2), "byte": np.array([task, 200], np.uint8)}

        def inputs(self, task):
            return np.ones(1, np.float32)

        def batches(self, task):
            return [np.float32(1)]

        def measure(self, params, shared, state, inputs, batch):
            return batch

        def update(self, state, inputs, measured):
            return state

    merged, merge = [], parallel.merge
    monkeypatch.setattr(parallel, "merge", lambda values: merged.append(values.shape) or merge(values))
    problem = make_problem(tmp_path)
    for numbers, shapes in ((2**22, [(7, 2), (7,)]), (6, [(2, 2), (2,)] * 3 + [(1, 2), (1,)])):
        monkeypatch.setattr(stepwise, "_GATHERED", numbers)
        merged.clear()
        found = stepwise.run(problem, Numbers(), problem.partial_results({"tasks": 2}, f"{numbers}"), label="numbers")
        assert merged == shapes
        assert [one["half"] for one in found] == [task / 2 for task in range(7)]
        assert [one["byte"].tolist() for one in found] == [[task, 200] for task in range(7)]
        assert found[0]["byte"].dtype == np.uint8
