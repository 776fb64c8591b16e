"""Figures: nothing of a user's own style or backend is touched, every name fits any width, PDFs are for print."""

import itertools
import re
import subprocess
import sys
import warnings
import zlib

import matplotlib
import numpy as np
import pytest
from PIL import Image

from fsjax.evaluation import bands
from fsjax.evaluation.graft_results import KINDS
from fsjax.evaluation.learning_curves import Dynamics
from fsjax.evaluation.ood.average_tpr import average_tpr
from fsjax.fourier import masks as masks_lib
from fsjax.fourier import spectrum
from fsjax.report import axes, curves, figures, graft_figures, html, ood_figures, study_figures, style
from tests.helpers import results

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
    error, images, pairs = rng.random(kept.shape), rng.random((3, height, width, 3)), rng.random((classes, classes))
    rates = rng.random((4, classes)).tolist()
    confusion = rng.integers(1, 9, (2, 3, 3, classes, classes))
    found = Dynamics(names, (bands.ORIGINAL, "12", "3"), (0, 1), np.array([5, 10, 15]), confusion)
    curve = average_tpr(*rng.random((3, 6)))
    labels, seeds = ["vit\nplain", "resnet\nplain"], [rng.random((2, classes)) for _ in range(2)]
    yield "maps", figures.map_grid(kept, names, 0.05, width=inches)
    yield "scores", figures.score_grid(scores, names, "Rise of the class's loss (nats)", width=inches)
    yield "planted", figures.planted_grid(kept, kept, [f"{name}\n3 of 4 found" for name in names], width=inches)
    yield "difference", figures.difference_grid(kept, ~kept, list(names), width=inches)
    yield "adcs", figures.adcs_grid(rng.integers(-3, 4, kept.shape), names, 3, width=inches)
    yield "heat map", figures.heat_map(error[0], names[0], width=inches)
    yield "heat maps", figures.heat_map_grid(error, kept, names, width=inches)
    yield "samples", figures.samples(images, images, names[0], width=inches)
    yield "rates", figures.rates([0.01, 0.05, 0.1, 0.2], rates, rates, names, width=inches)
    yield "overlap", figures.overlap_matrix(pairs, names, 0.05, width=inches)
    grafts = results.grafts(names, [KINDS[label % len(KINDS)] for label in range(classes)], smallest=[0.1] * classes)
    yield "psi", graft_figures.psi_curves(grafts, names, width=inches)
    kinds = [of_class.kind for of_class in grafts.verdicts]
    rates = rng.random((2, classes))
    yield "verdicts", graft_figures.published_and_verdict(*rates, kinds, names, 0.05, 0.6, width=inches)
    yield "profiles", graft_figures.radial_profiles(kept, names, 0.05, width=inches)
    yield "f1", curves.f1_curves(found, width=inches)
    yield "confusion", curves.confusion_grid(found, 2, width=inches)
    yield "AvgTPR", ood_figures.average_tpr({names[0]: curve}, width=inches)
    yield "study maps", study_figures.map_rows([kept, kept], labels, names, width=inches)
    yield "study rates", study_figures.rates(seeds, seeds, labels, names, 0.6, width=inches)


@pytest.mark.parametrize("inches", [style.SINGLE, style.DOUBLE])
def test_figures_of_any_names_fit_their_width_and_keep_their_size_of_text(inches):
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
    cut = style.fitted("W" * 255, 1.5, end=" (50)")
    assert cut.endswith("W… (50)") and style._inches(cut, style.TEXT) <= 1.5
    assert style._inches(cut.replace("W…", "WW…"), style.TEXT) > 1.5
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


def test_a_figure_is_kept_for_print_twice_and_always_as_the_same_bytes(tmp_path):
    _, kept = maps_of(3, 8, 8)
    files = []
    for folder in (tmp_path / "once", tmp_path / "again"):
        url = html.embed_figure(figures.map_grid(kept, ("a", "$b$", "c"), 0.05), folder / "maps.png")
        assert url.startswith("data:image/png;base64,")
        assert sorted(file.name for file in folder.iterdir()) == ["maps.pdf", "maps.png"]
        files.append([(folder / name).read_bytes() for name in ("maps.png", "maps.pdf")])
    assert files[0] == files[1]
    with Image.open(tmp_path / "once" / "maps.png") as picture:
        assert picture.width / picture.info["dpi"][0] == pytest.approx(5.55, abs=0.01) and picture.info["dpi"][0] > 299


def test_fonts_of_a_pdf_are_embedded_as_truetype_and_its_text_is_text(tmp_path):
    figures.map_grid(maps_of(1, 8, 8)[1], ("zebra",), 0.05, width=style.SINGLE).savefig(tmp_path / "maps.pdf")
    content = (tmp_path / "maps.pdf").read_bytes()
    objects = content + b"".join(
        zlib.decompressobj().decompress(stream)
        for stream in re.findall(rb"stream\r?\n(.*?)endstream", content, re.S)
        if stream[:1] == b"x"
    )
    assert b"/FontFile2" in objects and b"/Type3" not in objects
    width = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", objects)[1])
    assert width == pytest.approx(72 * style.SINGLE)


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
from fsjax.report import figures, curves, ood_figures, study_figures, html
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
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert ended.stdout == "as it was\n", ended.stderr


def test_a_class_without_a_value_has_no_line_and_a_constant_plane_is_drawn():
    figure = figures.rates([0.05, 0.1], [[None, 0.5]] * 2, [[None, 0.1]] * 2, ("empty", "b"))
    assert np.isnan(figure.axes[0].lines[0].get_ydata()).all()
    flat = figures.score_grid(np.zeros((1, 4, 4), np.float32), ("a",), "nats")
    flat.draw_without_rendering()
    assert axes.plane_extent((4, 5)) == (-0.5, 0.5, 0.375, -0.625)
