"""Maps: budgets per share, and files that come back as they were saved or are refused."""

import numpy as np
import pytest

from fsjax.fourier import dfm, masks, spectrum
from tests.helpers import results


def make_maps():
    per_orbit = np.random.default_rng(0).normal(size=(3, 41)).astype(np.float32)
    about = {"images": np.array([3, 4, 5]), "forward_equivalents": 10**12}
    about |= {"provenance": {"fields": {"seed": 0, "search.shares": [0.05, 0.2]}}}
    scores = per_orbit[:, spectrum.orbits(9, 9)]
    return results.maps(scores, (0.2, 0.05), ("cat", "<script>", "naïve, 猫"), **about)


def test_each_share_keeps_the_best_orbits_within_its_budget():
    maps = make_maps()
    assert maps.shares == (0.05, 0.2)
    for index, share in enumerate(maps.shares):
        for label in range(3):
            expected = masks.best_orbits(maps.scores[label], int(share * 81))
            np.testing.assert_array_equal(maps.masks[index, label], expected)
    assert (maps.positions <= [[4], [16]]).all() and (maps.positions >= [[3], [15]]).all()
    np.testing.assert_array_equal(maps.at(0.2), maps.masks[1])
    with pytest.raises(ValueError, match=r"share: got 0\.1; expected one of"):
        maps.at(0.1)


@pytest.mark.parametrize("ranked", [True, False])
def test_a_file_gives_back_what_was_saved(tmp_path, ranked):
    maps = make_maps()
    if not ranked:
        maps = dfm.dataclasses.replace(maps, scores=None)
    maps.save(tmp_path / "dfm" / "removal.npz")
    loaded = dfm.DominantFrequencyMaps.load(tmp_path / "dfm" / "removal.npz")
    for field in dfm.dataclasses.fields(maps):
        saved, read = getattr(maps, field.name), getattr(loaded, field.name)
        if isinstance(saved, np.ndarray):
            np.testing.assert_array_equal(read, saved)
            assert read.dtype == saved.dtype
        else:
            assert read == saved and type(read) is type(saved)
    assert [path.name for path in (tmp_path / "dfm").iterdir()] == ["removal.npz"], "no temporary file is left"
