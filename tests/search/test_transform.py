"""Searches that filter by DFT products in place of the FFT: the same scores, and no FFT of a filtered image."""

import numpy as np
import pytest

from fsjax import search
from fsjax.fourier import transforms
from tests.helpers.search_problem import make_problem, network

METHODS = {
    "removal": {"resamples": 0},
    "removal compat": {"compat": True},
    "greedy": {},
    "hierarchical": {"candidates": "40,60"},
    "learned": {"steps": 4, "restarts": 1},
}


SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in ("hierarchical", "learned")]


@pytest.mark.parametrize("case", ["removal", "removal compat", "greedy", *SLOW])
def test_every_search_filters_by_products_and_finds_the_same(monkeypatch, case):
    def found(transform):
        # A function of its own: programs of another one stay as they are when a test changes a transform.
        fields = {"counts": (9, 5, 12), "shares": (0.2, 0.6), "apply": lambda *given: network(*given)}
        return search.run(make_problem(None, case.split()[0], transform=transform, **fields | METHODS[case]))

    expected = found("fft")
    with monkeypatch.context() as patch:
        patch.setitem(transforms.INVERSES, "fft", None)
        maps = found("dft")
    np.testing.assert_array_equal(maps.masks, expected.masks)
    if expected.scores is not None:
        np.testing.assert_allclose(maps.scores, expected.scores, atol=1e-5)
