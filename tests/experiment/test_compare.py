"""Two sets of maps beside each other: SciPy's correlations, enumerated and simulated chance, planted overlaps."""

import dataclasses
import html
import itertools
import json
import pickle
import re

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from configs import compare as compare_config
from fsjax.evaluation.comparison import class_names, pair, rank_correlation
from fsjax.experiment import runner
from fsjax.fourier import published_maps, spectrum
from fsjax.fourier.masks import at_threshold, best_orbits, chance_iou, expected_iou, iou
from fsjax.runtime.random_streams import Stream, generator
from tests.helpers import results
from tests.helpers.refused import refused
from tests.helpers.undrawn import leave_undrawn

SIZE = 8
CLASSES = ("cat", "<script>alert(1)</script>", "cost $\\frac$")


def planes(seed=0, classes=3, size=SIZE):
    found = np.random.default_rng(seed).normal(size=(classes, size, size))
    return (found + spectrum.conjugate(found)).astype(np.float32)


def maps_of(scores, shares=(0.1, 0.25), classes=CLASSES, **about):
    return results.maps(scores, shares, classes, **about)


def config_of(left, right, **changes):
    config = compare_config.get_config()
    config.left, config.right = str(left), str(right)
    config.search.shares, config.report.share = (0.1, 0.25), 0.1
    config.update(changes)
    return config


@pytest.mark.parametrize(("total", "left", "right"), [(6, 2, 3), (6, 5, 4), (5, 0, 3), (5, 5, 5), (7, 1, 1), (6, 6, 2)])
def test_the_expected_iou_is_the_mean_over_all_pairs_of_sets(total, left, right):
    found = [
        len({*one} & {*other}) / len({*one} | {*other})
        for one in itertools.combinations(range(total), left)
        for other in itertools.combinations(range(total), right)
    ]
    assert expected_iou(total, left, right) == pytest.approx(np.mean(found), abs=1e-12)
    assert expected_iou(total, 0, 0) is None
    one, other = np.arange(total)[None] < left, np.arange(total)[None] >= total - right
    shared = max(0, left + right - total)
    assert iou(one, other) == shared / (left + right - shared) and iou(one & ~one, ~one & one) is None


@pytest.mark.parametrize("hermitian", [True, False])
def test_chance_is_what_random_masks_of_these_sizes_have(hermitian):
    rng, size, kept = np.random.default_rng(0), 5, 2

    def draw():
        if hermitian:
            return best_orbits(rng.random((size, size)), kept)
        return (rng.permutation(size * size) < kept).reshape(size, size)

    pairs = [(draw(), draw()) for _ in range(3000)]
    ious = np.array([(left & right).sum() / (left | right).sum() for left, right in pairs])
    expected = np.mean([chance_iou(*pair) for pair in pairs])
    error = np.std(ious) / len(ious) ** 0.5
    assert expected == pytest.approx(ious.mean(), abs=4 * error)
    # There are fewer orbits than positions; the difference exceeds the error of the simulation.
    assert (abs(expected - expected_iou(size * size, kept, kept)) > 4 * error) == hermitian


@pytest.mark.parametrize(("size", "digits"), [(8, 1), (15, 6)])
def test_correlations_and_their_intervals_are_scipys_on_orbits_and_resamples(size, digits):
    left = np.round(planes(1, 1, size)[0], digits)
    right = np.round(left + planes(2, 1, size)[0], digits)
    found = rank_correlation(left, right, seed=3, resamples=60)
    first, second = spectrum.per_orbit(left), spectrum.per_orbit(right)
    drawn = generator(3, Stream.RANK_CORRELATION).integers(len(first), size=(60, len(first)))
    values = [spearmanr(first[rows], second[rows]).statistic for rows in drawn]
    assert found[0] == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    np.testing.assert_allclose(found[1], np.percentile(values, [2.5, 97.5]), atol=1e-9)


def test_constant_scores_have_no_ranks_and_half_removed_orbits_count_as_what_was_removed():
    nothing = rank_correlation(np.zeros((4, 4)), planes(0, 1, 4)[0], seed=0)
    assert nothing == (None, None)
    symmetric = rankdata(planes(0, 1)[0], method="dense").reshape(SIZE, SIZE).astype(float)
    half = symmetric.copy()
    half[0, SIZE // 2 + 1 :] = 0  # as where the published code visits nothing
    assert rank_correlation(symmetric, half, seed=0)[0] == pytest.approx(1)


def test_masks_at_common_shares_are_the_maps_own_and_one_mask_meets_the_nearest_of_the_other(tmp_path):
    left, right = maps_of(planes(), (0.1, 0.25)), maps_of(planes(1), (0.1, 0.2, 0.25))
    ours, theirs, _ = pair(left, right, (0.5,))
    assert ours.shares == theirs.shares == (0.1, 0.25)
    np.testing.assert_array_equal(theirs.masks, right.masks[[0, 2]])
    np.testing.assert_array_equal(ours.masks, left.masks)
    masks = np.random.default_rng(0).random((3, SIZE, SIZE)) < 0.2
    file = tmp_path / "x_DFM_0.22.pkl"
    file.write_bytes(pickle.dumps(dict(enumerate(masks.astype(np.float32)))))
    single = published_maps.read_maps(file, classes=None, shares=(0.1,))
    several = maps_of(planes(), (0.05, 0.1, 0.2, 0.4))
    for sides in ((single, several), (several, single)):
        for before, paired in zip(sides, pair(*sides, (0.1,)), strict=False):
            share = 0.22 if before is single else 0.2
            assert paired.shares == (share,)
            np.testing.assert_array_equal(paired.masks[0], before.at(share))


def test_without_a_common_share_scores_are_cut_by_each_sides_own_rule(tmp_path):
    left = maps_of(planes(), (0.3,))
    file = tmp_path / "loss1.pkl"
    asymmetric = np.random.default_rng(5).random((3, SIZE, SIZE))
    file.write_bytes(pickle.dumps(dict(enumerate(asymmetric))))
    right = published_maps.read_maps(file, classes=None, shares=(0.2,))
    culled = planes(2)
    culled[culled < 0] = -1
    for other, expected in (
        (right, [at_threshold(plane, 0.4) for plane in asymmetric]),
        (maps_of(culled, (0.5,), method="greedy"), [best_orbits(plane, 25) & (plane >= 0) for plane in culled]),
        (maps_of(planes(3), (0.5,)), [best_orbits(plane, 25) for plane in planes(3)]),
    ):
        ours, theirs, _ = pair(left, other, (0.4,))
        assert ours.shares == theirs.shares == (0.4,)
        np.testing.assert_array_equal(ours.masks[0], [best_orbits(plane, 25) for plane in left.scores])
        np.testing.assert_array_equal(theirs.masks[0], expected)


def test_sides_of_other_classes_or_planes_are_refused():
    left = maps_of(planes())
    assert class_names(maps_of(planes(), classes=("0", "1", "2")), left) == CLASSES
    for right, message in (
        (maps_of(planes(), classes=("cat", "dog", "ox")), r"left has 3 classes .*right 3 classes \(cat, dog, ox"),
        (maps_of(planes(classes=2), classes=("0", "1")), r"right 2 classes \(0, 1\) at 8 x 8; expected the"),
        (maps_of(planes(size=6)), "at 8 x 8, right 3 classes .* at 6 x 6; expected"),
    ):
        refused(message, class_names, left, right)


def test_the_command_leaves_numbers_and_a_page_and_its_status_says_of_what(launch, tmp_path, monkeypatch):
    left, right = maps_of(planes()), maps_of(planes() + 0.5 * planes(1))
    stable = {"resamples": 7, "shares": [0.1, 0.25]}
    stable["iou"] = {"mean": [[0.5] * 3, [0.625, 0.75, 0.5]], "low": [[0.4] * 3] * 2, "high": [[0.9] * 3] * 2}
    left = dataclasses.replace(left, provenance={"stability": stable})
    left.save(tmp_path / "a" / "dfm" / "removal.npz")
    right.save(tmp_path / "b.npz")
    arguments = ["--config=configs/compare.py", f"--config.left={tmp_path / 'a'}", f"--config.right={tmp_path}/b.npz"]
    arguments += [f"--workdir={tmp_path / 'w'}", "--config.search.shares=(0.1,)", "--config.report.share=0.25"]
    assert launch(*arguments)[0] == 0
    result = json.loads((tmp_path / "w" / "compare.json").read_text())
    assert result["classes"] == list(CLASSES) and [row["left"] for row in result["shares"]] == [0.1, 0.25]
    ious = [
        [np.logical_and(*pair).sum() / np.logical_or(*pair).sum() for pair in zip(*masks, strict=True)]
        for masks in zip(left.masks, right.masks, strict=True)
    ]
    np.testing.assert_allclose([row["iou"] for row in result["shares"]], ious)
    assert result["shares"][1]["mean_iou"] == pytest.approx(np.mean(ious[1])) and result["headline"] == 1
    kept = [row["kept"] for row in result["shares"]]
    np.testing.assert_allclose([row["left"] for row in kept], left.masks.mean((2, 3)))
    np.testing.assert_allclose([row["right"] for row in kept], right.masks.mean((2, 3)))
    assert 0 < np.mean(ious[0]) < 1 and np.mean(ious[0]) != np.mean(ious[1])
    (at_tenth, at_quarter) = (row["stability"] for row in result["shares"])
    assert at_tenth["right"] is None and at_tenth["left"]["mean"] == [0.5] * 3
    assert at_quarter["left"] == {"resamples": 7, "mean": [0.625, 0.75, 0.5], "low": [0.4] * 3, "high": [0.9] * 3}
    for label in range(3):
        pair = [spectrum.per_orbit(maps.scores[label]) for maps in (left, right)]
        assert result["scores"]["spearman"][label] == pytest.approx(spearmanr(*pair).statistic)
        low, high = result["scores"]["spearman_ci"][label]
        assert low < spearmanr(*pair).statistic < high
    page = (tmp_path / "w" / "report" / "compare.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and not re.search(r'(src|href)="(?!data:)', page)
    rows = [re.sub(r"<[^>]*>", " ", row).split() for row in re.findall(r"<tr>(.*?)</tr>", page)]
    assert ["cat", f"{ious[1][0]:.3f}", "0.625", "[0.400,", "0.900]", "–"] in rows and "left 7 resamples)." in page
    assert f"mean IoU {np.mean(ious[1]):.3f}" in page and str(tmp_path / "b.npz") in html.unescape(page)
    assert (tmp_path / "w" / "report" / "figures" / "compare.png").stat().st_size

    leave_undrawn(monkeypatch)
    status, printed = launch(*arguments, "--config.seed=1")
    assert status == 2 and "holds a compare result made with other settings (seed was 0, now 1)" in printed


def test_a_side_without_scores_has_no_rankings_and_masks_that_keep_nothing_no_iou(tmp_path, undrawn):
    maps_of(planes(), (0.01,)).save(tmp_path / "empty.npz")  # not one of 64 positions
    runner.run(config_of(tmp_path / "empty.npz", tmp_path / "empty.npz"), tmp_path / "e")
    (row,) = json.loads((tmp_path / "e" / "compare.json").read_text())["shares"]
    assert row["iou"] == [None] * 3 and row["mean_iou"] is None
    maps_of(planes()).save(tmp_path / "a.npz")
    content = {label: [mask.astype(float)] * 10 for label, mask in enumerate(maps_of(planes()).at(0.25))}
    (tmp_path / "hfss.pkl").write_bytes(pickle.dumps(content))
    runner.run(config_of(tmp_path / "a.npz", tmp_path / "hfss.pkl"), tmp_path / "w")
    result = json.loads((tmp_path / "w" / "compare.json").read_text())
    (row,) = result["shares"]
    assert result["scores"] is None and row["left"] == 0.25 and row["right"] == 16 / 64 and row["iou"] == [1, 1, 1]
    assert result["right"]["images"] is None
    assert "the right side has no scores" in (tmp_path / "w" / "report" / "compare.html").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left": ""}, "left: got nothing; expected a workdir with maps"),
        ({"right": "nothing"}, "nothing: not there; expected a workdir of fsjax"),
        ({"search": {"shares": (0.0,)}}, "search.shares: got 0"),
    ],
)
def test_bad_fields_are_refused_before_anything_is_written_and_training_fields_are_not_read(tmp_path, changes, message):
    maps_of(planes()).save(tmp_path / "a.npz")
    config = config_of(tmp_path / "a.npz", tmp_path / "a.npz")
    config.data.source, config.train.steps, config.report.share = "folder", 0, 0.2
    assert runner.check(config) == ["compare"]
    config.update(changes)
    refused(re.escape(message), runner.run, config, tmp_path / "w")
    assert not (tmp_path / "w").exists()
