"""Maps of patches: whole ones at every share, refused where none fits, warned of where few do."""

import re

import numpy as np
import pytest

import fsjax
from fsjax import search
from fsjax.evaluation import judge_maps
from fsjax.evaluation.rates import grid_shares, masks_at
from fsjax.fourier import dfm, masks, patches
from fsjax.report.page import search_notes
from fsjax.search import patch_maps
from tests.helpers import results
from tests.helpers.refused import refused


def maps_of(plane, patch, shares, seed=0, **provenance):
    scores = np.random.default_rng(seed).normal(size=patches.count(*plane, patch))
    marked = {dfm.WHOLE_PATCHES: patch} | provenance
    of_plane, about = patches.position_scores(scores, *plane, patch), {"mask": patch_maps.rule(patch)}
    return scores, results.maps([of_plane], shares, ("a",), provenance=marked, **about)


@pytest.mark.parametrize(("plane", "patch"), [((32, 32), 8), ((32, 32), 2), ((24, 40), 4), ((9, 15), 3), ((6, 6), 6)])
def test_masks_are_the_best_whole_patches_that_fit(plane, patch):
    scores, maps = maps_of(plane, patch, (0.15, 0.4, 1.0))
    squares = patches.masks(*plane, patch)
    assert patches.largest(*plane, patch) == squares.sum((1, 2)).max()
    for share in (*maps.shares, 0.3):
        kept = np.zeros(plane, bool)
        for best in np.argsort(-scores):
            if (kept | squares[best]).sum() > masks.budget(share, *plane):
                break
            kept |= squares[best]
        np.testing.assert_array_equal(masks_at(maps, share)[0], kept)
        if share in maps.shares:
            np.testing.assert_array_equal(maps.at(share)[0], kept)


@pytest.mark.parametrize(
    ("plane", "fields", "message"),
    [
        (
            (224, 224),
            {"patch": 8, "shares": (0.05, 0.002)},
            "search.shares: got 0.002, 100 of 224 x 224 frequencies, which holds no patch of 8 x 8 frequencies with "
            "its conjugate; expected 0.0026 or more, or search.patch=7",
        ),
        ((32, 32), {"patch": 16, "shares": (0.2,)}, "expected 0.4991 or more, or search.patch=8"),
        ((32, 32), {"patch": 1, "shares": (0.001,)}, "of 1 x 1 frequencies with its conjugate; expected 0.002 or"),
    ],
)
def test_a_share_that_holds_no_whole_patch_is_refused_with_the_nearest_that_work(plane, fields, message):
    said = refused(re.escape(message), search.check, search.options(**fields), plane)
    least, _, patch = re.search(r"expected ([\d.]+) or more(, or search.patch=(\d+))?", said).groups()
    for fitting in ({"shares": (float(least),)}, *([{"patch": int(patch)}] if patch else [])):
        search.check(search.options(**fields | fitting), plane)
    search.check(search.options(compat=True, **fields), plane)  # as published
    search.check(search.options("learned", **fields), plane)  # has no patches


def test_few_whole_patches_are_said_in_the_log_and_on_the_page(caplog):
    assert patch_maps.few((0.05, 0.01), (224, 224), 8) == [
        "A map at 1 % is coarse: 3 of the patches of 8 x 8 frequencies fit at most. "
        "A larger share, or a smaller search.patch, shows more."
    ]
    assert not patch_maps.few((0.011,), (224, 224), 8)
    _, maps = maps_of((16, 16), 2, (0.05, 0.4))
    assert [note[:43] for note in search_notes(maps, 0.05)] == ["A map at 5 % is coarse: 1 of the patches of"]
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    fields = {"patch": 2, "shares": (0.2,), "resamples": 0}
    fsjax.dominant_frequencies(lambda x: x.sum((1, 3))[:, :2], images, np.arange(4) % 2, **fields)
    assert "search: A map at 20 % is coarse: 1 of the patches" in caplog.text


def test_other_shares_of_saved_maps_are_cut_by_whole_patches_too(tmp_path):
    _, made = maps_of((16, 16), 2, (0.1, 0.4))
    made.save(tmp_path / "maps.npz")
    maps = dfm.DominantFrequencyMaps.load(tmp_path / "maps.npz")
    assert grid_shares(maps, (0.02, 0.2)) == (0.2,), "0.02 holds no whole patch"
    candidates = judge_maps.cut_candidates(maps, 0.4)
    assert all(mask.any() for mask in candidates.masks(0)), "no share of the curve is empty"
