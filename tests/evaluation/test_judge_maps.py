"""Which images, masks and stored outcomes the maps of a run are judged with."""

import dataclasses

import numpy as np
import pytest

from configs import dfm_vit
from fsjax.data.dataset import Dataset
from fsjax.evaluation import judge_maps
from fsjax.experiment.stage import Workspace
from fsjax.experiment.stages import search
from fsjax.fourier import masks
from tests.helpers import results
from tests.helpers.linear_classifier import MEAN_STD, Made, make_classifier, make_maps

COUNTS = (9, 4, 12)


def config_of(**changes):
    """The default run's, of images of 8 pixels, with changed fields."""
    config = dfm_vit.get_config()
    config.data.image_size = 8
    with config.unlocked():
        config.update_from_flattened_dict({"search.split": "test", "search.images_per_class": 5, **changes})
    return config


@pytest.mark.parametrize(("per_class", "left"), [(5, 4 + 0 + 7), (0, 0), (100, 0), (1, 8 + 3 + 11)])
def test_grafts_use_the_test_images_that_the_search_did_not_ask_for(tmp_path, per_class, left):
    asked, config = [], config_of(**{"search.images_per_class": per_class, "seed": 3})

    class Asked(Dataset):
        def images(self, indices):
            asked.extend(indices)
            return super().images(indices)

    test = Asked(Made(COUNTS), 8)
    workspace = Workspace(config, tmp_path)
    workspace._datasets["test"], workspace.classifier = test, make_classifier(3)
    problem = search.problem(workspace, config.seed)
    for label in range(3):
        problem.images(label)
    maps = dataclasses.replace(make_maps(3), searched_on="test")
    usable = judge_maps.unseen(config, maps, test)
    workspace.metrics.close()
    assert sorted([*usable, *asked]) == list(range(25)) and len(usable) == left


def test_all_images_are_unseen_by_a_search_of_others_and_none_by_one_of_unknown_images():
    test, maps = Dataset(Made(COUNTS), 8), make_maps(3)
    imported = dataclasses.replace(maps, method="imported")
    for of, searched_on, expected in ((maps, "train", 25), (imported, "train", 25), (imported, "test", 0)):
        found = judge_maps.unseen(config_of(), dataclasses.replace(of, searched_on=searched_on), test)
        np.testing.assert_array_equal(found, np.arange(expected))


def test_masks_are_cut_from_scores_at_the_curves_shares_and_without_fitting_scores_the_maps_stand_alone():
    maps, curve = make_maps(3), judge_maps.curve_shares(8, 8)
    assert maps.shares == (0.2, 0.5)
    for tested, own in ((0.2, (0.2,)), (0.5, (0.2, 0.5))):
        found = judge_maps.cut_candidates(maps, tested)
        assert found.names == maps.classes and found.shares == tuple(sorted({*curve, *own}))
        assert found.tested == sum(share <= tested for share in found.shares)
        for label in range(3):
            for share, mask in zip(found.shares, found.masks(label), strict=True):
                np.testing.assert_array_equal(mask, masks.within_share(maps.scores[label], share))
    other = make_maps(3).masks.copy()
    other[1, 0] = ~other[1, 0]
    for change in ({"scores": None}, {"masks": other}):
        maps = dataclasses.replace(make_maps(3), **change)
        found = judge_maps.cut_candidates(maps, 0.2)
        assert found.shares == (0.2, 0.5) and found.tested == 1
        np.testing.assert_array_equal(found.masks(0), maps.masks[:, 0])


def judged(monkeypatch, config, maps, tmp_path, test=None):
    """What `judge_maps` hands on."""
    given = {}

    def judge(model, candidates, sample, **options):
        given.update(options, model=model, candidates=candidates, sample=sample)

    monkeypatch.setattr(judge_maps, "judge", judge)
    test, unfiltered = test or Dataset(Made(COUNTS), 8), results.unfiltered([0.9, 0.8, 0.7])
    usable = judge_maps.unseen(config, maps, test)
    judge_maps.judge_maps(config, make_classifier(3), maps, test, unfiltered, usable, tmp_path)
    return given


def test_images_are_normalised_and_pairs_are_as_many_as_asked_for(monkeypatch, tmp_path):
    config = config_of(**{"evaluate.pairs": 7, "seed": 3, "report.share": 0.1, "run.memory_mib": 9})
    given = judged(monkeypatch, config, make_maps(3), tmp_path)
    sample, source = given["sample"], Made(COUNTS)
    expected = (source.images[[4, 2, 4]] / 255 - MEAN_STD[0]) / MEAN_STD[1]
    np.testing.assert_allclose(sample.images(np.array([4, 2, 4])), expected, atol=1e-5)
    assert (sample.pairs, sample.seed, given["memory_mib"]) == (7, 3, 9) and len(sample.usable) == 25
    np.testing.assert_array_equal(sample.labels, source.labels)
    np.testing.assert_array_equal(sample.tpr, [0.9, 0.8, 0.7])
    candidates = given["candidates"]
    assert candidates.tested == sum(share <= 0.2 for share in candidates.shares), "0.2 is the nearest to report.share"
    assert not judged(monkeypatch, config_of(**{"evaluate.pairs": 0}), make_maps(3), tmp_path)


def test_stored_outcomes_are_of_the_same_pairs_and_masks_and_a_class_without_pairs_is_told_why(monkeypatch, tmp_path):
    maps, config = make_maps(3), config_of()
    searched = dataclasses.replace(maps, searched_on="test")
    of_others = Dataset(Made(COUNTS, seed=1), 8)
    variants = [
        judged(monkeypatch, config_of(**changes), of, tmp_path, test)["directory"]
        for changes, of, test in [
            *(({}, of, None) for of in (maps, searched, dataclasses.replace(maps, scores=None))),
            ({}, dataclasses.replace(maps, method="graft"), None),
            ({}, dataclasses.replace(maps, masks=~maps.masks, scores=None), None),
            ({}, dataclasses.replace(maps, scores=2 * maps.scores), None),
            ({}, maps, of_others),
            *(({name: 60}, maps, None) for name in ("seed", "evaluate.pairs")),
            ({"report.share": 0.5}, maps, None),
        ]
    ]
    assert len(set(variants)) == len(variants) == 10 and {path.parent for path in variants} == {tmp_path}
    assert judged(monkeypatch, config, make_maps(3), tmp_path)["directory"] == variants[0]
    assert judged(monkeypatch, config, maps, None)["directory"] is None
    maps = make_maps(3)
    reason = judged(monkeypatch, config_of(), maps, tmp_path)["sample"].why_none
    assert reason == "too few test images: a verdict needs two of the class, and one of another"
    searched = dataclasses.replace(maps, searched_on="test")
    assert "test images that were not searched" in judged(monkeypatch, config_of(), searched, None)["sample"].why_none
    assert "no other class" in judged(monkeypatch, config_of(), make_maps(1), tmp_path)["sample"].why_none
