"""Figures: they draw what was measured, names fit any width, PDFs are for print, and a user's style stays."""

import collections
import io
import itertools
import re
import warnings
import zlib

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from fsjax.evaluation import band_dynamics
from fsjax.evaluation.attribution import Attribution
from fsjax.evaluation.band_dynamics import Dynamics
from fsjax.evaluation.graft_results import KINDS
from fsjax.evaluation.ood.results import average_tpr
from fsjax.fourier import masks as masks_lib
from fsjax.fourier import spectrum
from fsjax.report import attribution_figures, dynamics, figures, html, style, verdict_figures
from fsjax.report.verdict_figures import LOOKS
from tests.helpers import results
from tests.helpers.plane import real, spectra
from tests.helpers.processes import python

HOSTILE = ("<script>alert(1)</script>", r"$\frac{1}{0}$", "x" * 255, "猫 \U0001f9a6", "a_b^c%")


def maps_of(classes, height, width):
    rng = np.random.default_rng(0)
    orbits = spectrum.orbits(height, width)
    scores = rng.normal(size=(classes, orbits.max() + 1))[:, orbits].astype(np.float32)
    kept = np.stack([masks_lib.best_orbits(plane, masks_lib.budget(0.05, height, width)) for plane in scores])
    return scores, kept


def every_figure(names, height, width, inches):
    """Name and figure of all that fsjax draws of these classes."""
    rng, classes = np.random.default_rng(1), len(names)
    scores, kept = maps_of(classes, height, width)
    error, pairs = rng.random(kept.shape), rng.random((classes, classes))
    rates = rng.random((4, classes)).tolist()
    confusion = rng.integers(1, 9, (2, 3, 3, classes, classes))
    found = Dynamics(names, (band_dynamics.ORIGINAL, "12", "3"), (0, 1), np.array([5, 10, 15]), confusion)
    curve = average_tpr(*rng.random((3, 6)))
    labels, seeds = ["vit\nplain", "resnet\nplain"], [rng.random((2, classes)) for _ in range(2)]
    yield "maps", figures.map_grid(kept, names, 0.05, width=inches)
    yield "scores", figures.score_grid(scores, names, "Rise of the class's loss (nats)", width=inches)
    yield "planted", figures.planted_grid(kept, kept, [f"{name}\n3 of 4 found" for name in names], width=inches)
    yield "difference", figures.difference_grid(kept, ~kept, list(names), width=inches)
    yield "adcs", figures.adcs_grid(rng.integers(-3, 4, kept.shape), names, 3, width=inches)
    yield "heat map", figures.heat_map(error[0], names[0], width=inches)
    yield "heat maps", figures.heat_map_grid(error, kept, names, width=inches)
    yield "rates", figures.rates([0.01, 0.05, 0.1, 0.2], rates, rates, names, width=inches)
    yield "overlap", figures.overlap_matrix(pairs, names, 0.05, width=inches)
    grafts = results.grafts(names, [KINDS[label % len(KINDS)] for label in range(classes)], smallest=[0.1] * classes)
    yield "psi", verdict_figures.psi_curves(grafts, names, width=inches)
    kinds = [verdict.kind for verdict in grafts.verdicts]
    rates = rng.random((2, classes))
    yield "verdicts", verdict_figures.published_and_verdict(*rates, kinds, names, 0.05, 0.6, width=inches)
    yield "profiles", verdict_figures.radial_profiles(kept, names, 0.05, width=inches)
    yield "f1", dynamics.f1_curves(found, width=inches)
    yield "confusion", dynamics.confusion_grid(found, 2, width=inches)
    yield "AvgTPR", verdict_figures.average_tpr({names[0]: curve}, width=inches)
    yield "study maps", verdict_figures.study_maps([kept, kept], labels, names, width=inches)
    yield "study rates", verdict_figures.study_rates(seeds, seeds, labels, names, 0.6, width=inches)


def test_figures_of_any_names_fit_their_width_and_keep_their_size_of_text():
    inches = style.SINGLE
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of glyphs that it lacks, and of text that leaves no room
        drawn = list(every_figure(HOSTILE, 8, 9, inches))
        for name, figure in drawn:
            assert figure.get_figwidth() <= inches + 1e-9, name
            figure.draw_without_rendering()
            whole = figure.get_tightbbox()
            assert whole.x0 > -0.05 and whole.x1 < figure.get_figwidth() + 0.05, f"{name}: text leaves the figure"
            texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text().strip()]
            assert {text.get_fontsize() for text in texts} <= {6.0, style.SMALL, style.TEXT, style.TEXT + 1}, name
            assert not any(text.get_parse_math() for text in texts), f"{name}: a name is taken for a formula"
            assert all(text.get_fontfamily() == ["DejaVu Sans"] for text in texts), name
    titles = [axis.get_title() for axis in dict(drawn)["heat maps"].axes]
    assert {r"$\frac{1}{0}$", "□ □", "a_b^c%"} <= set(titles)


def test_names_are_cut_no_shorter_than_they_have_to_be():
    room = style._inches("i" * 10 + "…", style.TEXT)
    assert style.fitted("i" * 10, room) == "i" * 10
    assert style.fitted("i" * 255, room) == "i" * 10 + "…"
    assert style.fitted("i" * 255, room - 1e-6) == "i" * 9 + "…"
    assert style.fitted("W" * 255, 1.5, end=" (50)").endswith("W… (50)")
    assert style.fitted("ab", 0.0) == "…" and style.fitted("", 1.0) == ""


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9), (8, 5), (1, 2)])
def test_pixels_of_the_plane_reach_its_edges_and_lie_at_their_frequencies(height, width):
    _, kept = maps_of(2, height, width)
    figure = figures.map_grid(kept, ("a", "b"), 0.05)
    figure.draw_without_rendering()
    for axis, ticks, size in [(figure.axes[0].xaxis, "x", width), (figure.axes[1].yaxis, "y", height)]:
        frequencies = np.sort(np.fft.fftfreq(size))
        low, high = sorted(axis.get_view_interval())
        np.testing.assert_allclose([low, high], [frequencies[0] - 0.5 / size, frequencies[-1] + 0.5 / size])
        # Beyond the pixels there would be a white rim, which is no frequency.
        assert all(low <= place <= high for place in axis.get_ticklocs()), ticks
        assert 0 in axis.get_ticklocs() and (0.5 in axis.get_ticklocs()) == (size % 2 == 1)
    assert "cycles/pixel" in figure.get_supxlabel() and "cycles/pixel" in figure.get_supylabel()


def test_no_kept_position_of_a_large_plane_is_lost_where_a_figure_has_fewer_pixels(tmp_path):
    kept = np.zeros((10, 224, 224), bool)
    kept[:, 32:192:20, 32:192:20] = True
    figure = figures.map_grid(kept, tuple("abcdefghij"), 0.05, width=style.SINGLE)
    figure.savefig(tmp_path / "maps.png", dpi=72)
    with Image.open(tmp_path / "maps.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    box = figure.axes[4].get_window_extent().frozen()
    scale = 72 / figure.dpi
    rows = slice(int(pixels.shape[0] - box.y1 * scale) + 3, int(pixels.shape[0] - box.y0 * scale) - 3)
    panel = pixels[rows, int(box.x0 * scale) + 3 : int(box.x1 * scale) - 3]
    assert max(panel.shape) < 100, "more than two positions to a pixel"
    # Rows and columns of the picture that are darker than white: in eight groups, as many as there are kept.
    for across in (0, 1):
        dark = np.concatenate([[False], panel.min(across) < 250])
        assert (dark[1:] & ~dark[:-1]).sum() == 8


def test_scores_share_one_bar_and_keep_their_own_scale():
    scores, _ = maps_of(3, 6, 6)
    scores[1] *= 100
    figure = figures.score_grid(scores, ("a", "b", "c"), "nats")
    panels, (bar,) = figure.axes[:3], figure.axes[3:]
    for axis, plane, name in zip(panels, scores, "abc", strict=True):
        largest = np.abs(plane).max()
        assert axis.images[0].get_clim() == pytest.approx((-largest, largest))
        assert axis.get_title() == f"{name} ({largest:.0e})"
        # The bar's colour of a part of the largest is that of the panel's value, on either side of 0.
        for part in (-1, -0.1, -0.001, 0, 0.05, 1):
            np.testing.assert_allclose(axis.images[0].norm(part * largest), bar._colorbar.norm(part), atol=1e-6)
    assert [text.get_text() for text in bar.get_yticklabels()] == ["−1", "−0.1", "0", "0.1", "1"]


def test_an_overlap_is_written_out_where_there_are_few_classes_and_undefined_ones_stay_grey():
    iou = np.array([[1.0, 0.25, np.nan], [0.25, 1.0, 0.0], [np.nan, 0.0, np.nan]])
    axis = figures.overlap_matrix(iou, ("a", "b", "c"), 0.05).axes[0]
    assert [text.get_text() for text in axis.texts] == ["1.00", ".25", "–", ".25", "1.00", ".00", "–", ".00", "–"]
    shown = axis.images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), np.isnan(iou))
    assert axis.images[0].get_clim() == (0, 1)
    assert matplotlib.colors.to_hex(axis.get_facecolor()) not in (style.BLACK, "#ffffff")
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b", "c"]
    many = figures.overlap_matrix(np.eye(100), tuple(str(label) for label in range(100)), 0.05, width=style.SINGLE)
    labels = [text.get_text() for text in many.axes[0].get_yticklabels()]
    assert not many.axes[0].texts and 5 < len(labels) < 30 and labels[:2] == ["0", labels[1]]
    places = many.axes[0].get_yticks()
    assert [str(place) for place in places] == labels, "a name stands at its class"


def test_shares_are_named_where_there_is_room():
    shares = [round(share, 2) for share in np.arange(1, 51) / 100]
    figure = figures.rates(shares, [[0.5]] * 50, [[0.1]] * 50, ("a",), width=style.SINGLE)
    ticks, labels = figure.axes[0].get_xticks(), figure.axes[0].get_xticklabels()
    assert [text.get_text() for text in labels] == [f"{100 * tick:g}%" for tick in ticks] and 4 <= len(ticks) <= 10
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in labels]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    few = figures.rates([0.01, 0.1], [[0.5]] * 2, [[0.1]] * 2, ("a",))
    assert [text.get_text() for text in few.axes[0].get_xticklabels()] == ["1%", "10%"]


def test_a_figure_is_kept_for_print_twice_always_as_the_same_bytes_and_its_pdf_has_text_in_truetype(tmp_path):
    _, kept = maps_of(3, 8, 8)
    files = []
    for folder in (tmp_path / "once", tmp_path / "again"):
        urls = html.embed_figure(figures.map_grid(kept, ("a", "$b$", "c"), 0.05), folder / "maps.png")
        assert len(set(urls)) == 2 and all(url.startswith("data:image/webp;base64,") for url in urls)
        assert sorted(file.name for file in folder.iterdir()) == ["maps.pdf", "maps.png"]
        files.append([(folder / name).read_bytes() for name in ("maps.png", "maps.pdf")])
    assert files[0] == files[1]
    with Image.open(tmp_path / "once" / "maps.png") as picture:
        assert picture.width / picture.info["dpi"][0] == pytest.approx(5.55, abs=0.01) and picture.info["dpi"][0] > 299
    content = files[0][1]
    objects = content + b"".join(
        zlib.decompressobj().decompress(stream)
        for stream in re.findall(rb"stream\r?\n(.*?)endstream", content, re.S)
        if stream[:1] == b"x"
    )
    assert b"/FontFile2" in objects and b"/Type3" not in objects
    width = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", objects)[1])
    assert width == pytest.approx(72 * 5.55, abs=1)


def pixels(figure):
    """The number of pixels of each colour, in [0, 255]."""
    figure.savefig(file := io.BytesIO(), format="png", dpi=100)
    return collections.Counter(map(tuple, np.asarray(Image.open(file).convert("RGB")).reshape(-1, 3).tolist()))


def test_on_a_dark_page_paper_and_ink_change_places_and_colours_stay():
    _, kept = maps_of(3, 8, 8)
    drawn = [
        figures.map_grid(kept, ("a", "b", "c"), 0.05),
        figures.difference_grid(kept, kept[::-1], ["a", "b", "c"]),
        figures.overlap_matrix(np.array([[1, 0.2], [0.2, 1]]), ("a", "b"), 0.05),
        figures.rates([0.05, 0.1], [[0.5]] * 2, [[0.1]] * 2, ("a",)),
    ]
    paper, ink, cells = (20, 23, 27), (228, 232, 236), matplotlib.colormaps[style.SEQUENTIAL]([0.2, 1.0])
    hues = [tuple(round(255 * value) for value in to_rgb(each)) for each in (*style.COLOURS[1:], *cells)]
    seen = set()
    for figure in drawn:
        light = pixels(figure)
        style.darken(figure)
        dark = pixels(figure)
        assert dark[paper] == pytest.approx(light[255, 255, 255], rel=0.02) and not dark[255, 255, 255]
        assert dark[ink] == pytest.approx(light[0, 0, 0], rel=0.1, abs=30), "text, lines, and what both maps keep"
        assert [dark[hue] for hue in hues] == pytest.approx([light[hue] for hue in hues], rel=0.02, abs=9)
        seen |= {hue for hue in hues if light[hue] > 100}
    assert len(seen) >= 3
    assert {text.get_color() for text in drawn[2].axes[0].texts} == {"white", "black"}, "numbers on a colour map"


SCRIPT = """
import matplotlib
matplotlib.rcParams["font.size"] = 17.0
matplotlib.rcParams["axes.facecolor"] = "black"
matplotlib.rcParams["text.usetex"] = True
def state():
    return {name: value for name, value in dict.items(matplotlib.rcParams)}
before = state()
import io, sys
import numpy as np
import fsjax.report
from fsjax.report import figures, page
figure = figures.overlap_matrix(np.eye(2), ("$x$", "b"), 0.05)
assert isinstance(figure, matplotlib.figure.Figure)
figure.savefig(io.BytesIO(), format="pdf")
assert figure._repr_png_().startswith(b"\\x89PNG")
assert figure.axes[0].title.get_fontsize() == 8 and figure.axes[0].get_xticklabels()[0].get_fontsize() == 7
late = figures.rates([0.05, 0.1], [[0.5]] * 2, [[0.1]] * 2, ("a",))
late.draw_without_rendering()  # which makes ticks
assert {text.get_fontsize() for text in late.axes[0].get_yticklabels()} == {7}
changed = [name for name, value in state().items() if value is not before[name] and value != before[name]]
assert state().keys() == before.keys() and not changed, changed
assert "matplotlib.pyplot" not in sys.modules
import matplotlib.pyplot
assert not matplotlib.pyplot.get_fignums()
print("as it was")
"""


def test_a_users_style_and_backend_stay_and_pyplot_knows_no_figure():
    ended = python(SCRIPT)
    assert ended.stdout == "as it was\n", ended.stderr


NAMES = ("ox", "zebra", "frog")


def test_every_kind_of_verdict_has_a_look_of_its_own_and_what_has_no_value_has_no_line():
    assert set(LOOKS) == {*KINDS, ""}
    for part in ("sign", "marker"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(LOOKS)
    figure = figures.rates([0.05, 0.1], [[None, 0.5]] * 2, [[None, 0.1]] * 2, ("empty", "b"))
    assert np.isnan(figure.axes[0].lines[0].get_ydata()).all()
    flat = figures.score_grid(np.zeros((1, 4, 5), np.float32), ("a",), "nats")
    flat.draw_without_rendering()
    assert tuple(flat.axes[0].images[0].get_extent()) == (-0.5, 0.5, 0.375, -0.625)


def test_psi_of_maps_and_controls_is_drawn_over_the_share_with_interval_and_smallest_share():
    rng = np.random.default_rng(0)
    grafts = results.grafts(NAMES, ("shortcut", "spread", "band"), smallest=[0.02, None, 0.3])
    of_map, rates = grafts.curve, grafts.rates
    of_map.psi[:] = rng.random(of_map.psi.shape)
    of_map.psi[1, 2] = np.nan
    of_map.psi_ci[:] = np.stack([of_map.psi - 0.125, of_map.psi + 0.125], -1)
    rates.low_pass_psi[:], rates.radial_psi[:] = rng.random((2, 3))
    figure = verdict_figures.psi_curves(grafts, NAMES)
    words = {"low-pass": "low_pass", "random, radial profile": "radial"}
    for label, axis in enumerate(figure.axes[:3]):
        lines, rows = {line.get_label(): line for line in axis.lines}, [0, 1, 2] if label < 2 else [0, 2]
        assert lines["map"].get_xdata().tolist() == [grafts.curve_shares[row] for row in rows]
        np.testing.assert_array_equal(lines["map"].get_ydata(), of_map.psi[rows, label])
        for name, kind in words.items():
            psi = getattr(rates, f"{kind}_psi")[label]
            assert (lines[name].get_xdata().tolist(), lines[name].get_ydata().tolist()) == ([0.05], [psi])
        np.testing.assert_array_equal(lines["smallest share"].get_xdata(), [of_map.smallest[label]])
        (band,) = axis.collections
        heights, limits = band.get_paths()[0].vertices[:, 1], of_map.psi_ci[rows, label]
        assert heights.min() == limits.min() and heights.max() == limits.max()
        assert axis.get_xscale() == "log" and axis.get_title() == NAMES[label]
        assert [text.get_text() for text in axis.get_xticklabels()] == ["1%", "10%", "50%"]
    without = results.grafts(("a",), ("undecided",), psi=[np.nan])
    without.curve.psi[:], without.curve.psi_ci[:] = np.nan, np.nan
    verdict_figures.psi_curves(without, ("a",)).draw_without_rendering()


def test_tpr_and_fpr_of_every_class_are_marked_by_its_verdict():
    tpr, fpr = np.array([0.9, 0.5, np.nan, 0.75]), np.array([0.25, 0.125, np.nan, np.nan])
    kinds, names = ["shortcut", "spread", "undecided", "shortcut"], ("ox", "zebra", "frog", "ship")
    figure = verdict_figures.published_and_verdict(tpr, fpr, kinds, names, 0.05, 0.6)
    (axis,) = figure.axes
    lines = {line.get_label(): line for line in axis.lines}
    shortcuts = lines["shortcut (2)"]
    drawn = np.stack([shortcuts.get_xdata(), shortcuts.get_ydata()])
    np.testing.assert_array_equal(drawn, [[0.25, np.nan], [0.9, 0.75]])
    assert shortcuts.get_marker() == LOOKS["shortcut"].marker != lines["spread (1)"].get_marker()
    assert lines["spread (1)"].get_xdata() == 0.125 and "undecided (1)" in lines
    assert any(line.get_linestyle() == ":" and set(line.get_ydata()) == {0.6} for line in axis.lines)
    named = [text.get_text() for text in axis.texts if isinstance(text, matplotlib.text.Annotation)]
    assert named == ["ox", "zebra"]
    for place in (0.02, 0.98):
        near = verdict_figures.published_and_verdict(np.full(4, place), np.full(4, place), kinds, names, 0.05, 0.6)
        near.draw_without_rendering()
        labels = [text for text in near.axes[0].texts if isinstance(text, matplotlib.text.Annotation)]
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) == 4 and not any(one.overlaps(two) for one, two in itertools.combinations(boxes, 2))
    many = tuple(str(label) for label in range(50))
    crowd = verdict_figures.published_and_verdict(np.full(50, 0.5), np.full(50, 0.5), ["band"] * 50, many, 0.05, 0.6)
    assert not [text for text in crowd.axes[0].texts if isinstance(text, matplotlib.text.Annotation)]


@pytest.mark.parametrize("plane", [(8, 8), (9, 9), (5, 10)])
def test_a_radial_profile_is_the_share_of_each_ring_that_a_map_keeps(plane):
    masks = np.random.default_rng(1).random((2, *plane)) < 0.4
    kept, radii = verdict_figures.profiles(masks)
    rows, columns = (np.arange(length) - length // 2 for length in plane)
    distances = np.hypot(rows[:, None] / plane[0], columns[None] / plane[1])
    assert radii[0] == 0 and kept[:, 0].tolist() == masks[:, plane[0] // 2, plane[1] // 2].tolist()
    total = np.zeros(2)
    for ring, radius in enumerate(radii):
        inside = np.abs(distances - radius) < 0.5 / max(plane) - 1e-9
        np.testing.assert_allclose(kept[:, ring], masks[:, inside].mean(1), rtol=1e-12)
        total += masks[:, inside].sum(1)
    np.testing.assert_array_equal(total, masks.sum((1, 2)))
    image = verdict_figures.radial_profiles(masks, ("a", "b"), 0.05).axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), kept)
    assert image.get_clim() == (0, 1)


RNG = np.random.default_rng(0)
SHARES = (0.05, 0.1, 0.5)


def attribution(count=8, plane=(6, 6)):
    curves = [{name: RNG.random((count, 3)) < 0.6 for name in ("attribution", "energy", "random")} for _ in range(2)]
    scores, places = RNG.normal(size=(count, *plane)).astype(np.float32), np.zeros((count, *plane), np.int32)
    smallest = np.stack([masks_lib.low_pass(*plane, 1 + 2 * index) for index in range(count)])
    own = {"kept": curves[0], "kept_without": curves[1], "smallest": smallest}
    return Attribution(np.arange(count) % 2, np.zeros(count, int), scores, places, SHARES, **own)


def test_curves_are_shares_of_kept_predictions_and_their_paired_differences():
    found = attribution()
    inserted, deleted, differences = attribution_figures.kept_curves(found).axes[:3]
    for axis, curves in ((inserted, found.kept), (deleted, found.kept_without)):
        for line in axis.lines:
            np.testing.assert_array_equal(line.get_ydata(), curves[line.get_label()].mean(0))
            assert list(line.get_xdata()) == list(SHARES)
    for line, name in zip(differences.lines[1:], ("energy", "random"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), found.kept["attribution"].mean(0) - found.kept[name].mean(0))


def test_a_row_shows_the_image_its_smallest_set_alone_and_the_image_without_it():
    found = attribution()
    images = RNG.normal(size=(8, 6, 6, 3)).astype(np.float32) / 20
    mean_std = ((0.4, 0.5, 0.6), (0.5, 0.5, 0.5))
    shown = {"baselines": np.full_like(images, 0.01), "mean_std": mean_std, "most": 2}
    figure = attribution_figures.smallest_sets(found, images, ("ox", "frog"), **shown)
    assert len(figure.axes) == 8 and figure.axes[4].get_ylabel() == "frog"
    whole, chosen, alone, without = (axis.images[0].get_array() for axis in figure.axes[4:])
    np.testing.assert_array_equal(np.asarray(chosen) == 0, found.smallest[1])
    part = real(spectra(images[1].astype(float) - 0.01) * found.smallest[1][..., None])
    pixels = [image * 0.5 + mean_std[0] for image in (images[1], 0.01 + part, images[1] - part)]
    for drawn, expected in zip((whole, alone, without), pixels, strict=True):
        np.testing.assert_allclose(drawn, expected, atol=1e-6)
