"""TPR and FPR at shares between those of the maps: against single images in float64, and by every method's own rule."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest

import fsjax
from configs import dfm_vit
from fsjax.data.dataset import Dataset
from fsjax.evaluation import evaluate, rates
from fsjax.evaluation.rates import grid_shares, masks_at
from fsjax.evaluation.results import read_evaluation
from fsjax.experiment import runner
from fsjax.fourier import dfm, masks, spectrum
from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from tests.helpers.linear_classifier import CONFIG, Made, make_classifier, make_maps, predictions

ASKED = (0.1, 0.2, 0.35, 0.5)


def evaluated(directory, maps, source, images):
    config = CONFIG.copy_and_resolve_references()
    config.evaluate.grid, config.evaluate.grid_images = ASKED, images
    evaluate.run(config, directory, make_classifier(len(maps.classes)), maps, Dataset(source, 8))
    return read_evaluation(directory / "evaluation.json").methods["removal"]


@pytest.mark.parametrize("at_once", [2**26, 1], ids=["all shares at once", "one by one"])
def test_rates_are_those_of_the_first_images_filtered_one_by_one(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(rates, "_MASK_POSITIONS", at_once)
    source, maps = Made((9, 4, 12)), make_maps(3)
    found, classifier = evaluated(tmp_path, maps, source, 6).grid, make_classifier(3)
    assert found.images.tolist() == [6, 4, 6] and found.shares == (0.1, 0.35), "not those that the maps have"
    first = np.concatenate([np.flatnonzero(source.labels == label)[:6] for label in range(3)])
    images, labels = source.images[first], source.labels[first]
    for index, share in enumerate((0.1, 0.35)):
        for label in range(3):
            kept = masks.best_orbits(maps.scores[label], int(share * 64))
            calls, is_class = predictions(classifier, images, kept) == label, labels == label
            assert found.tpr[index, label] == pytest.approx(calls[is_class].mean())
            assert found.fpr[index, label] == pytest.approx(calls[~is_class].mean())
            limits = binomtest(int(calls[is_class].sum()), int(is_class.sum())).proportion_ci(method="wilson")
            assert found.tpr_ci[index, label] == pytest.approx(limits, abs=1e-12)
    assert evaluated(tmp_path, maps, source, 0).grid.images.tolist() == [9, 4, 12]


def test_where_nothing_is_to_be_measured_nothing_is_left():
    maps = make_maps(2)
    assert grid_shares(maps, ASKED) == (0.1, 0.35) and grid_shares(maps, (0.5, 0.2)) == ()
    assert grid_shares(maps, (0.7, 0.1, 0.7)) == (0.1, 0.7)
    assert grid_shares(maps, ()) == () == grid_shares(dataclasses.replace(maps, scores=None), ASKED)
    other = maps.masks.copy()
    other[1, 0] = ~other[1, 0]
    assert grid_shares(dataclasses.replace(maps, masks=other), ASKED) == (), "scores of other masks"


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("removal", {}),
        ("removal", {"compat": True}),
        ("greedy", {"tolerance": 0.1}),
        ("hierarchical", {"candidates": "6,6"}),
        ("learned", {"steps": 2, "judged": 10}),
    ],
)
def test_every_method_with_scores_has_its_own_masks_at_its_own_shares(method, fields):
    """Of a model that most frequencies are nothing to, so that many scores are nearly equal."""
    rng, orbits = np.random.default_rng(0), spectrum.orbits(8, 8)
    read = jnp.asarray(np.isin(orbits, rng.permutation(orbits.max() + 1)[:6]))
    weights = jnp.asarray(rng.normal(size=(192, 2)), jnp.float32)

    def model(images):
        return spectrum.filter_images(images, read[None])[0].reshape(len(images), -1) @ weights

    images = rng.normal(size=(40, 8, 8, 3)).astype(np.float32)
    maps = fsjax.dominant_frequencies(model, images, np.arange(40) % 2, search=method, shares=(0.1, 0.4), **fields)
    scored = method not in ("hierarchical", "learned")
    assert (maps.scores is not None) == scored
    assert grid_shares(maps, (0.05, 0.2, 0.4)) == ((0.05, 0.2) if scored else ())
    if scored:
        at = {share: masks_at(maps, share) for share in (0.05, 0.2)} | {0.1: maps.at(0.1), 0.4: maps.at(0.4)}
        for smaller, larger in ((0.05, 0.1), (0.1, 0.2), (0.2, 0.4)):
            assert not (at[smaller] & ~at[larger]).any(), "a larger share only adds frequencies"


def test_maps_are_cut_from_the_scores_that_are_kept():
    """Scores that float64 tells apart and float32 does not."""
    order = np.random.default_rng(0).permutation(34)
    scores = (1 + 1e-9 * order)[spectrum.orbits(8, 8)]
    about = {"method": "removal", "searched_on": "train", "images": np.ones(1, int), "forward_equivalents": 0}
    maps = dfm.from_scores([scores], (0.3,), classes=("a",), provenance={}, **about)
    assert len(np.unique(maps.scores)) == 1 and grid_shares(maps, (0.5,)) == (0.5,)


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What the stage leaves, and where."""
    directory = tmp_path_factory.mktemp("left")
    evaluated(directory, make_maps(3), Made((4, 4, 4)), 2)
    return directory / "evaluation.json", files.read_json(directory / "evaluation.json")


@pytest.mark.parametrize(
    "change",
    [
        {"shares": [0.1, None]},
        {"shares": "0.1"},
        {"shares": [0.1, 2.0]},
        {"images": [1, 2]},
        {"tpr": [[0.5, 0.5, 0.5]]},
        {"tpr": [[0.5, 0.5], [0.5, 0.5]]},
        {"fpr": [["<b>", 0, 0], [0, 0, 0]]},
        {"tpr_ci": [[[0, 1], [0, 1], [0]], [[0, 1]] * 3]},
        {"tpr_ci": None},
    ],
)
def test_a_grid_of_another_form_is_refused(left, change):
    file, found = left
    rates = found["methods"]["removal"]
    methods = {"removal": rates | {"grid": rates["grid"] | change}}
    files.write_json(file, found | {"methods": methods})
    (field,) = change
    with pytest.raises(
        InputError, match=rf"evaluation.json: methods.removal.grid.{field}.*: got .*; expected .*delete it"
    ):
        read_evaluation(file)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("grid", (0.1, 0), "evaluate.grid: got 0; expected numbers in (0, 1]"),
        ("grid", (1.5,), "evaluate.grid: got 1.5; expected numbers in (0, 1]"),
        ("grid", ("0.1",), "evaluate.grid: got '0.1'; expected numbers in (0, 1], or () for none"),
        ("grid_images", -1, "evaluate.grid_images: got -1; expected 0 or more"),
        ("threshold", 1.2, "evaluate.threshold: got 1.2; expected a TPR in [0, 1]"),
        ("pairs", -2, "evaluate.pairs: got -2; expected 0 or more"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_the_door(field, value, message):
    config = dfm_vit.get_config()
    runner.check(config)
    config.evaluate[field] = value
    with pytest.raises(InputError) as caught:
        runner.check(config)
    assert message in str(caught.value)
