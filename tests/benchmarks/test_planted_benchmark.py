"""The planted-truth benchmark: what it calls the truth is the truth, and its scores are what they say."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.planted import models, recall, score, sets
from fsjax import search
from fsjax.fourier import spectrum
from fsjax.search.method import Method
from tests.helpers import results

KINDS = list(sets.KINDS)


@pytest.fixture(scope="module", params=KINDS)
def data(request):
    return sets.make_set(request.param, 32, train=4, test=40, seed=1)


@pytest.mark.parametrize(("kind", "size"), [*((kind, 32) for kind in KINDS), ("pair", 64)])
def test_the_planted_orbits_alone_are_enough_and_without_them_nothing_is_recognised(kind, size):
    made = sets.make_set(kind, size, train=1, test=25)
    logits_fn = models.analytic(made)
    relied = recall.reliance(made, logits_fn)
    assert relied["accuracy"] >= 0.98 and relied["tpr_unfiltered"] >= 0.98 and relied["tpr_without"] == 0
    assert (made.planted.sum((1, 2)) == made.share * size**2).tolist() == [True, True, True, False]
    for label in range(3):
        tpr, fpr = score.called_share(logits_fn, made, label, made.planted[label])
        assert tpr >= 0.95 and fpr <= 0.02


def test_the_analytic_logits_are_their_closed_form_in_numpy(data):
    images = data.images["test"][::9]
    transformed = np.fft.fft2(images.astype(float), axes=(1, 2)).mean(-1)
    row, column = np.moveaxis(data.groups - data.size // 2, -1, 0)
    of_grating = sets.GRATING * data.size**2 / 2
    amplitude = np.sqrt((abs(transformed[:, row, column]) / of_grating) ** 2 + 0.05**2) - 0.05
    whole = amplitude.prod(-1)
    redundant = data.kind == "redundant"
    evidence = 1 - (1 - np.minimum(1, 2 * whole)).prod(-1) if redundant else whole.sum(-1)
    expected = np.column_stack([10 * (evidence - 0.5), np.zeros(len(images))])
    np.testing.assert_allclose(models.analytic(data)(jnp.asarray(images)), expected, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_is_the_images_in_which_one_of_its_groups_is_whole_and_joint_members_are_as_frequent_elsewhere(kind):
    labels = np.repeat(np.arange(sets.CLASSES), 4000)
    present = sets.members_present(kind, labels, np.random.default_rng(0))
    groups = sets.KINDS[kind][0] if kind == "redundant" else 1
    assert np.array_equal(present.all(-1).sum(-1), np.eye(4, dtype=int)[labels][:, :3] * groups)
    if kind in ("pair", "triple"):
        rates = np.array([present[labels == label].mean(0) for label in range(sets.CLASSES)])
        np.testing.assert_allclose(rates, {"pair": 1 / 2, "triple": 2 / 3}[kind], atol=0.04)


def test_distractors_are_stronger_than_what_is_planted_and_alike_in_all_classes():
    made = sets.make_set("pair", 32, train=1, test=60)
    power = np.asarray(spectrum.amplitude(jnp.asarray(made.images["test"]))).mean(-1) ** 2
    strength = power[:, made.distractors[:, 0], made.distractors[:, 1]].mean(-1)
    own = made.groups.reshape(-1, 2)
    assert strength.mean() > 2 * power[:, own[:, 0], own[:, 1]].mean()
    by_class = [strength[made.labels["test"] == label].mean() for label in range(4)]
    np.testing.assert_allclose(by_class, np.mean(by_class), rtol=0.05)
    mask = np.zeros((32, 32), bool)
    mask[made.distractors[:, 0], made.distractors[:, 1]] = True
    mask |= spectrum.conjugate(mask)
    assert not (mask & made.planted.any(0)).any()
    assert score.called_share(models.analytic(made), made, 0, mask) == (0, 0)


def test_a_seed_makes_a_set_and_the_number_of_images_moves_nothing_that_is_planted():
    made, same = (sets.make_set("triple", 32, train=3, test=2, seed=5) for _ in range(2))
    for split in ("train", "test"):
        assert np.array_equal(made.images[split], same.images[split])
        assert made.images[split].dtype == np.float32 and abs(made.images[split].mean()) < 0.05
    more, other = (sets.make_set("triple", 32, train=4, test=2, seed=seed) for seed in (5, 6))
    assert np.array_equal(made.groups, more.groups) and not np.array_equal(made.groups, other.groups)
    assert not np.array_equal(made.images["train"][:2], made.images["test"][:2])
    orbits = spectrum.orbits(32, 32)
    everything = np.concatenate([made.groups.reshape(-1, 2), made.distractors])
    assert len(np.unique(orbits[everything[:, 0], everything[:, 1]])) == len(everything) == 18 + 8


@pytest.mark.parametrize(("kind", "sufficient"), [("pair", 1 / 3), ("redundant", 2 / 3)])
def test_scores_are_those_counted_by_hand(kind, sufficient):
    made = sets.make_set(kind, 32, train=1, test=5)
    orbits = spectrum.orbits(32, 32)
    distractors = np.isin(orbits, orbits[made.distractors[:3, 0], made.distractors[:3, 1]])
    group = np.isin(orbits, orbits[made.groups[1, 0][:, 0], made.groups[1, 0][:, 1]])
    # All six; three wrong ones and a group of two; nothing.
    masks = np.stack([made.planted[0], distractors | group, np.zeros((32, 32), bool), made.planted[0]])
    scores = np.stack([made.planted[0], 2.0 * distractors + made.planted[1], made.planted[2], made.planted[0]])
    row = score.score(masks, made, models.analytic(made), scores)
    assert row["planted_orbits"] == 6 and row["kept_orbits"] == pytest.approx((6 + 5 + 0) / 3)
    assert row["recall"] == pytest.approx((1 + 2 / 6 + 0) / 3)
    assert row["precision"] == pytest.approx((1 + 2 / 5 + 0) / 3)
    ranks = np.arange(4, 10)
    assert row["average_precision"] == pytest.approx((1 + np.mean(np.arange(1, 7) / ranks) + 1) / 3)
    assert row["sufficient"] == pytest.approx(sufficient) and row["chance"] == pytest.approx(6 / 514)


def test_a_registered_method_is_scored_beside_the_truth_and_trivial_maps(monkeypatch):
    """A method of a test's own, which knows the truth of one class only, is found by name and scored."""
    made = sets.make_set("pair", 32, train=2, test=10)

    def knows_one(problem):
        scores = np.where(np.arange(4)[:, None, None] == 0, made.planted.astype(float), 0.0)
        about = {"method": "knows_one", "images": np.array(problem.counts), "forward_equivalents": 7}
        return results.maps(scores, problem.options.shares, problem.classes, **about)

    monkeypatch.setitem(search.SEARCHES, "knows_one", Method(knows_one))
    found = list(recall.rows(made, "analytic", ["knows_one"]))
    assert [row["method"] for row in found] == ["truth", "random", "low_pass", "highest_energy", "knows_one"]
    truth, *trivial, own = found
    assert truth["recall"] == 1 and truth["accuracy"] == 1 and truth["tpr_without"] == 0
    assert all(row["recall"] < 0.5 and row["tpr"] < 0.5 for row in trivial)
    assert own["recall"] == pytest.approx(1 / 3, abs=0.06) and own["forward_equivalents"] == 7
