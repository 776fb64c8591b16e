"""Figures of grafts draw the numbers that were measured; every kind of verdict has its own look."""

import matplotlib
import numpy as np
import pytest

from fsjax.evaluation.graft_results import KINDS
from fsjax.report import graft_figures
from fsjax.report.kinds import LOOKS
from tests.helpers import results

NAMES = ("ox", "zebra", "frog")


def test_every_kind_of_verdict_has_a_sign_and_a_marker_of_its_own():
    assert set(LOOKS) == {*KINDS, ""}
    for part in ("sign", "marker"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(LOOKS)


def test_psi_of_maps_and_controls_is_drawn_over_the_share_with_interval_and_smallest_share():
    rng = np.random.default_rng(0)
    grafts = results.grafts(NAMES, ("shortcut", "spread", "band"), smallest=[0.02, None, 0.3])
    for curve in grafts.curves.values():
        curve.psi[:] = rng.random(curve.psi.shape)
    of_map = grafts.curves["map"]
    of_map.psi_ci[:] = np.stack([of_map.psi - 0.125, of_map.psi + 0.125], -1)
    figure = graft_figures.psi_curves(grafts, NAMES)
    words = {"map": "map", "low-pass": "low_pass", "class energy": "energy", "random, radial profile": "radial"}
    for label, axis in enumerate(figure.axes[:3]):
        lines = {line.get_label(): line for line in axis.lines}
        for name, kind in words.items():
            assert lines[name].get_xdata().tolist() == list(grafts.curve_shares)
            np.testing.assert_array_equal(lines[name].get_ydata(), grafts.curves[kind].psi[:, label])
        np.testing.assert_array_equal(lines["smallest share"].get_xdata(), [of_map.smallest[label]])
        (band,) = axis.collections
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == of_map.psi_ci[:, label, 0].min() and heights.max() == of_map.psi_ci[:, label, 1].max()
        assert axis.get_xscale() == "log" and axis.get_title() == NAMES[label]
        assert [text.get_text() for text in axis.get_xticklabels()] == ["1%", "10%", "50%"]
    without = results.grafts(("a",), ("undecided",), psi=[np.nan])
    for curve in without.curves.values():
        curve.psi[:], curve.psi_ci[:] = np.nan, np.nan
    graft_figures.psi_curves(without, ("a",)).draw_without_rendering()


def test_tpr_and_fpr_of_every_class_are_marked_by_its_verdict():
    tpr, fpr = np.array([0.9, 0.5, np.nan, 0.75]), np.array([0.25, 0.125, np.nan, np.nan])
    kinds, names = ["shortcut", "spread", "undecided", "shortcut"], ("ox", "zebra", "frog", "ship")
    figure = graft_figures.published_and_verdict(tpr, fpr, kinds, names, 0.05, 0.6)
    (axis,) = figure.axes
    lines = {line.get_label(): line for line in axis.lines}
    shortcuts = lines["shortcut (2)"]
    np.testing.assert_array_equal(
        np.stack([shortcuts.get_xdata(), shortcuts.get_ydata()]), [[0.25, np.nan], [0.9, 0.75]]
    )
    assert shortcuts.get_marker() == LOOKS["shortcut"].marker != lines["spread (1)"].get_marker()
    assert lines["spread (1)"].get_xdata() == 0.125 and "undecided (1)" in lines
    assert any(line.get_linestyle() == ":" and set(line.get_ydata()) == {0.6} for line in axis.lines)
    named = [text.get_text() for text in axis.texts if isinstance(text, matplotlib.text.Annotation)]
    assert named == ["ox", "zebra"]
    many = tuple(str(label) for label in range(50))
    crowd = graft_figures.published_and_verdict(np.full(50, 0.5), np.full(50, 0.5), ["band"] * 50, many, 0.05, 0.6)
    assert not [text for text in crowd.axes[0].texts if isinstance(text, matplotlib.text.Annotation)]


@pytest.mark.parametrize("plane", [(8, 8), (9, 9), (5, 10)])
def test_a_radial_profile_is_the_share_of_each_ring_that_a_map_keeps(plane):
    masks = np.random.default_rng(1).random((2, *plane)) < 0.4
    kept, radii = graft_figures.profiles(masks)
    rows, columns = (np.arange(length) - length // 2 for length in plane)
    distances = np.hypot(rows[:, None] / plane[0], columns[None] / plane[1])
    assert radii[0] == 0 and kept[:, 0].tolist() == masks[:, plane[0] // 2, plane[1] // 2].tolist()
    total = np.zeros(2)
    for ring, radius in enumerate(radii):
        inside = np.abs(distances - radius) < 0.5 / max(plane) - 1e-9
        np.testing.assert_allclose(kept[:, ring], masks[:, inside].mean(1), rtol=1e-12)
        total += masks[:, inside].sum(1)
    np.testing.assert_array_equal(total, masks.sum((1, 2)))
    image = graft_figures.radial_profiles(masks, ("a", "b"), 0.05).axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), kept)
    assert image.get_clim() == (0, 1)
