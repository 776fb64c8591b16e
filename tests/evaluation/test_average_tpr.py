"""AvgTPR over t, against a loop over classes and numbers made by hand."""

import dataclasses
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from fsjax.evaluation.ood.results import THRESHOLDS, average_tpr
from fsjax.report import verdict_figures


def looped(grouping, filtered, unfiltered, threshold, above):
    """Means and share of one group, class by class; None where there is none."""
    rates, known = [], 0
    for own, with_map, without in zip(grouping, filtered, unfiltered, strict=True):
        if math.isnan(own) or math.isnan(with_map) or math.isnan(without):
            continue
        known += 1
        if (own > threshold) == above:
            rates.append((with_map, without))
    if not rates:
        return 0, (0.0 if known else None), None, None
    return len(rates), len(rates) / known, *(sum(column) / len(rates) for column in zip(*rates, strict=True))


@pytest.mark.parametrize("unknown", [[2], slice(None)])
def test_it_is_a_loop_over_classes_that_leaves_out_what_a_set_lacks(unknown):
    rng = np.random.default_rng(0)
    grouping, filtered, unfiltered = rng.integers(0, 11, (3, 17)) / 10
    grouping[unknown] = filtered[5] = unfiltered[5] = np.nan
    found = average_tpr(grouping, filtered, unfiltered)
    assert [point.threshold for point in found] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    for point in found:
        for group, above in (("shortcut", True), ("other", False)):
            expected = looped(grouping, filtered, unfiltered, point.threshold, above)
            assert dataclasses.astuple(getattr(point, group)) == pytest.approx(expected)


def test_the_figure_draws_each_group_where_it_has_classes_larger_where_it_has_more():
    grouping = np.array([0.05, 0.35, 0.55, 0.75])
    curve = average_tpr(grouping, np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.6, 0.7, 0.8]))
    figure = verdict_figures.average_tpr({"$here": curve, "there": curve})
    assert [axis.get_title() for axis in figure.axes[:2]] == ["$here", "there"]
    filtered, unfiltered = figure.axes[1].collections[:2]
    shown = np.ma.filled(filtered.get_offsets(), np.nan)
    np.testing.assert_allclose(shown[:7, 0], THRESHOLDS[:7])
    np.testing.assert_allclose(shown[:, 1], [0.3, 0.3, 0.3, 0.35, 0.35, 0.4, 0.4, np.nan, np.nan])
    np.testing.assert_allclose(np.ma.filled(unfiltered.get_offsets(), np.nan)[:3, 1], 0.7)
    areas, shares = filtered.get_sizes()[:7], [0.75, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]
    assert np.allclose(np.diff(areas), np.diff(shares) * (areas[0] - areas[3]) / 0.25) and areas[0] > areas[3]
    plt.close(figure)
