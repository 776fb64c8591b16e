"""Searches that filter by DFT products in place of the FFT: the same scores, and no FFT of a filtered image."""

import numpy as np
import pytest

from fsjax import search
from fsjax.fourier import transforms
from fsjax.runtime.errors import InputError
from tests.helpers import greedy_problem

METHODS = (
    *("removal", "greedy"),
    *(pytest.param(method, marks=pytest.mark.slow) for method in ("hierarchical", "learned")),
)


def make_problem(directory, method, transform):
    def apply(params, images):
        return greedy_problem.network(params, images)

    # A function of its own: what is traced for another one's tiles stays as it is when a test changes a transform.
    problem = greedy_problem.make_problem(directory, shares=(0.2, 0.6), apply=apply)
    problem.options.update(method=method, transform=transform, resamples=0)
    problem.options.learned.steps, problem.options.learned.restarts = 4, 1
    search.check(problem.options, problem.plane)
    return problem


@pytest.mark.parametrize("method", METHODS)
def test_every_search_filters_by_products_and_finds_the_same(tmp_path, monkeypatch, method):
    expected = search.run(make_problem(tmp_path / "fft", method, "fft"))
    with monkeypatch.context() as patch:
        patch.setitem(transforms.INVERSES, "fft", None)
        found = search.run(make_problem(tmp_path / "dft", method, "dft"))
    np.testing.assert_array_equal(found.masks, expected.masks)
    if expected.scores is not None:
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_a_lower_precision_is_compared_with_the_fft_in_highest(tmp_path, monkeypatch):
    used = []

    def by_fft(*arguments):
        used.append("fft")
        return transforms.by_fft(*arguments)

    monkeypatch.setitem(transforms.INVERSES, "fft", by_fft)
    problem = make_problem(tmp_path, "removal", "dft")
    problem.options.precision = "tensorfloat32"
    assert min(search.run(problem).provenance["agreement"]["spearman"]) > 0.99 and used


def test_another_transform_is_refused():
    options = search.options()
    options.transform = "dct"
    with pytest.raises(InputError, match=r"^search.transform: got 'dct'; expected fft, dft$"):
        search.check(options, (8, 8))
