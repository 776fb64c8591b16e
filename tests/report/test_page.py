"""What the report hands to its page: rows in words, and pictures from which its script reads masks and scores."""

import base64
import dataclasses
import io
import json
import pathlib

import numpy as np
import pytest
from matplotlib.colors import Normalize
from PIL import Image

from benchmarks.cost import report_workdir
from configs import common
from fsjax.data.dataset import ArrayDataset
from fsjax.engine.model import Model
from fsjax.fourier import masks, spectrum
from fsjax.report import explorer, figures, html
from fsjax.report.answer import NO_VERDICT
from fsjax.report.explorer import Subject
from fsjax.report.style import symmetric_log
from fsjax.search import mask_at
from tests.helpers import results
from tests.helpers.html_page import Page
from tests.helpers.undrawn import leave_undrawn


def decoded(url, mode):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert(mode))


@pytest.mark.parametrize(("count", "plane"), [(1, (8, 6)), (4, (9, 11)), (24, (32, 32))])
def test_every_mask_is_read_back_from_the_picture_of_all(count, plane):
    """24 random masks have more patterns than a palette has colours."""
    kept = np.random.default_rng(count).random((count, *plane)) < 0.3
    red, green, blue = np.moveaxis(decoded(html.mask_bits(kept), "RGB").astype(int), -1, 0)
    for index, mask in enumerate(kept):
        np.testing.assert_array_equal((red + 256 * green + 65536 * blue) // 2**index % 2 == 1, mask)


def test_scores_are_read_back_within_half_a_level_and_what_is_missing_stays_missing():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(12, 10)) * 10.0 ** rng.integers(-4, 1, (12, 10))
    plane[3, 4] = np.nan
    norm = symmetric_log(plane)
    grey, levels = decoded(html.plane_picture(plane, norm), "L"), html.level_values(norm)
    assert grey[3, 4] == html.NOTHING and (grey == html.NOTHING).sum() == 1 and len(levels) == html.NOTHING
    known = np.isfinite(plane)
    assert np.abs(norm(levels[grey[known]]) - norm(plane[known])).max() <= 0.5 / 254 + 1e-9
    assert levels[127] == 0 and levels[0] == pytest.approx(-np.nanmax(np.abs(plane)))
    assert html.level_values(Normalize(0, 1))[254] == 1
    # The page has one table of levels for all classes.
    other = html.level_values(symmetric_log(7 * plane))
    np.testing.assert_allclose(other / other[-1], levels / levels[-1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("plane", [(224, 224), (15, 22), (33, 37)])
def test_a_plane_is_shrunk_around_dc_by_means(plane):
    values = np.random.default_rng(1).normal(size=plane)
    values[0, 0] = np.nan
    small = html.block_means(values, 10)
    side = -(-max(plane) // 10)
    rows, columns = (-(-(length // 2) // side) for length in plane)
    top, left = plane[0] // 2, plane[1] // 2
    np.testing.assert_allclose(small[rows, columns], values[top : top + side, left : left + side].mean(), rtol=1e-12)
    weights = html.block_means(np.ones(plane), 10)
    assert np.nanmin(weights) == np.nanmax(weights) == 1 and max(small.shape) <= 12


def maps_of(scores, shares=(0.05, 0.2)):
    return results.maps(scores, shares, tuple("abc"[: len(scores)]))


def scores_of(count, side=16):
    scores = np.random.default_rng(2).normal(size=(count, side, side)).astype(np.float32)
    return scores + spectrum.conjugate(scores)


def subject_of(maps, evaluation, share=0.05):
    config = common.base()
    config.report.share, config.evaluate.threshold = share, 0.6
    test = ArrayDataset(np.zeros((1, 16, 16, 3)), np.zeros(1, int), maps.classes)
    model = Model(lambda params, images: images, {}, (16, 16, 3))
    return Subject(config, pathlib.Path(), model, maps, test, evaluation)


def test_the_slider_stops_at_the_maps_own_shares_and_those_of_the_grid():
    maps, limits = maps_of(scores_of(2)), np.array([[0, 1], [0.1, 0.9]])
    own, further = results.map_rates([0.5, 0.25]), results.map_rates([0.7, 0.8], [0.1, 0.2])
    further = dataclasses.replace(further, tpr_ci=limits)
    method = results.method({0.05: own, 0.2: own}, grid={"0.1": further})
    subject = subject_of(maps, results.evaluation(maps.classes, {"removal": method}, images=9))
    assert list(explorer.stops(subject).items()) == [(0.05, own), (0.1, further), (0.2, own)]
    for share in (0.05, 0.1, 0.2):
        np.testing.assert_array_equal(mask_at(maps, 1, share), masks.within_share(maps.scores[1], share))
    kept = mask_at(maps, 1, 0.1)
    found = {"tpr": 0.8, "fpr": 0.2, "tpr_ci": [0.1, 0.9], "fpr_ci": [None, None]}
    found |= {"positions": int(kept.sum()), "images": 4, "others": 15}
    subject.config.evaluate.grid_images = 4
    assert explorer._stop(subject, kept, 0.1, further, 1) == found
    assert explorer._stop(subject, kept, 0.2, own, 1)["images"] == 9
    assert explorer._stop(subject, kept, 0.1, None, 1) == {"positions": found["positions"]}
    # psi is measured at more shares, without rates.
    grafts = results.grafts(maps.classes, ("spread",) * 2, curve_shares=(0.01, 0.05))
    judged = results.evaluation(maps.classes, {"removal": dataclasses.replace(method, grafts=grafts)})
    stops = explorer.stops(dataclasses.replace(subject, evaluation=judged))
    assert list(stops) == [0.01, 0.05, 0.1, 0.2] and stops[0.01] is None and stops[0.05] is own
    without = dataclasses.replace(subject, maps=dataclasses.replace(maps, scores=None))
    assert list(explorer.stops(without)) == [0.05, 0.2]
    # Of more shares than a picture has room for, the one shown first is kept.
    shares = tuple(index / 100 for index in range(1, 31))
    method = results.method({share: results.map_rates([0.5], [None]) for share in shares})
    subject = subject_of(maps_of(scores_of(1), shares), results.evaluation(("a",), {"removal": method}), 0.3)
    assert list(explorer.stops(subject)) == [*shares[: html.MOST_MASKS - 1], 0.3]


def test_overlaps_are_the_iou_of_every_two_maps_and_the_most_alike_are_named():
    kept = np.random.default_rng(3).random((3, 6, 6)) < 0.4
    found = explorer.overlaps(kept)
    np.testing.assert_allclose(found, [[(a & b).sum() / (a | b).sum() for b in kept] for a in kept])
    pairs = {(0, 1): found[0, 1], (0, 2): found[0, 2], (1, 2): found[1, 2]}
    (first, second), best = max(pairs.items(), key=lambda pair: pair[1])
    assert explorer.overlap_sentence(found, ("a", "b", "c")) == (
        f"Most alike are {'abc'[first]} and {'abc'[second]} (IoU {best:.3f}); "
        f"the mean is {np.mean(list(pairs.values())):.3f}."
    )
    assert np.isnan(explorer.overlaps(np.zeros((2, 4, 4), bool))).all()


def test_a_row_has_its_verdict_psi_beside_masks_and_what_the_class_is_taken_for():
    maps = maps_of(scores_of(2))
    evaluation = report_workdir.evaluation(("a", "b"), (0.05, 0.2), (), np.random.default_rng(0))
    evaluation.unfiltered.confusion[:] = [[1, 3], [0, 4]]
    evaluated = evaluation.methods["removal"]
    evaluated.at(0.05).tpr[:], evaluated.at(0.2).tpr[:] = [0.5, 0.7], [0.9, 0.4]
    one, other = explorer.rows(subject_of(maps, evaluation))
    found = [(row["kind"], row["over"], row["marked"]) for row in (one, other)]
    assert found == [("shortcut", False, True), ("band", True, False)]
    assert one["predictions"] == [("b", 3), ("a", 1)] and other["predictions"] == [("b", 4)]
    assert dict(one["masks_psi"])["low-pass"] == evaluated.grafts.rates.low_pass_psi[0] and len(one["masks_psi"]) == 4
    assert "low-pass of this size has psi 0.10" in one["reason"] and "so do other frequencies" in other["reason"]
    # The verdict rests on 5 %, whatever share the report shows; the published criterion follows the report's share.
    far, _ = explorer.rows(subject_of(maps, evaluation, 0.2))
    assert (far["at"], far["tpr"], far["over"]) == (0.05, 0.9, True)
    evaluation.methods["removal"] = dataclasses.replace(evaluated, grafts=None)
    plain, _ = explorer.rows(subject_of(maps, evaluation, 0.2))
    assert plain["masks_psi"] == [] and plain["marked"] and plain["at"] == 0.2


def test_cards_show_the_map_at_the_share_of_the_verdict_and_of_many_classes_those_that_are_marked():
    maps, shares = maps_of(scores_of(3)), (0.05, 0.02, 0.2)
    subject = subject_of(maps, results.evaluation(maps.classes, {}))
    rows = [{"label": label, "at": shares[label], "marked": label > 0} for label in range(3)]
    assert [card["map"] for card in explorer.cards(rows, subject, 3)] == [
        html.mask_picture(masks.within_share(maps.scores[label], share)) for label, share in enumerate(shares)
    ]
    assert [card["label"] for card in explorer.cards(rows, subject, 2)] == [1, 2]
    assert [card["label"] for card in explorer.cards(rows, subject, 1)] == [1]


@pytest.mark.parametrize(
    ("count", "rows"),
    [(1, ([1], [1], [1])), (5, ([3, 2], [3, 2], [2, 2, 1])), (10, ([4, 3, 3], [3, 3, 2, 2], [2] * 5)), (0, ([],) * 3)],
)
def test_rows_of_cards_differ_by_one_card_at_most_and_fill_the_width(count, rows):
    maps = maps_of(scores_of(3))
    subject = subject_of(maps, results.evaluation(maps.classes, {}))
    cards = explorer.cards([{"label": 0, "at": 0.05, "marked": True}] * count, subject, 10)
    expected = [[12 // cards_in for cards_in in each for _ in range(cards_in)] for each in rows]
    assert [[card["spans"][fit] for card in cards] for fit in range(3)] == expected


def test_an_evaluation_without_grafts_has_a_page_with_rates_and_one_line_on_it(tmp_path, monkeypatch, undrawn):
    made = report_workdir.evaluation

    def without_grafts(*arguments):
        evaluation = made(*arguments)
        method = dataclasses.replace(evaluation.methods["removal"], grafts=None)
        for name, rates in method.shares.items():
            method.shares[name] = results.map_rates(rates.tpr, rates.fpr, positions=[59, 573], plane=1024)
        evaluation.methods["removal"] = method
        return evaluation

    monkeypatch.setattr(report_workdir, "evaluation", without_grafts)
    report_workdir.write(tmp_path, ("a", "b"), 16, samples=1)
    page = Page((tmp_path / "report" / "removal" / "index.html").read_text())
    assert page.text.count("No verdict") == 1 and NO_VERDICT in page.text
    assert "psi" not in page.text.partition("</style>")[2] and "shortcut by" not in page.text
    assert "map keeps" in page.text and "5.8 %" in page.text and "56 %" in page.text, "each class's own share"
    assert "Which frequencies decided this image?" not in page.text, "report.attributions is 0 here"
    rates = results.Evaluation.read(tmp_path / "evaluation.json").methods["removal"].at(0.05)
    assert all(f"{value:.3f}" in page.text for value in [*rates.tpr, *rates.fpr])


def test_a_grey_image_is_shown_in_three_channels_by_a_model_of_the_same_precision():
    grey = np.random.default_rng(4).normal(size=(2, 16, 16, 1)).astype(np.float32)
    model = Model(lambda params, images: images.sum((1, 2)), {}, (16, 16, 1), ("a",), matmul_precision="default")
    shown, test = html.displayable(model, ArrayDataset(grey, np.zeros(2, int), ("a",)))
    images = test.images(np.arange(2))
    assert images.min() == pytest.approx(0, abs=1e-3) and images.max() == pytest.approx(255, rel=1e-5)
    normalised = (images / 255 - shown.mean_std[0]) / shown.mean_std[1]
    np.testing.assert_allclose(shown(normalised.astype(np.float32)), model(grey), rtol=1e-4, atol=1e-3)
    assert shown.image_shape == (16, 16, 3) and shown.matmul_precision == "default"


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "patch"), [(10, 1), (5, 8)])
def test_the_page_fits_its_budget(tmp_path, monkeypatch, classes, patch):
    """5 MB for 10 classes; in files beside the page, with as much of each class as 1,000 have, a part of 15 MB."""
    leave_undrawn(monkeypatch, but_of_the_page=True)
    if patch == 8:
        monkeypatch.setattr(explorer, "_FEW", 0)
        monkeypatch.setattr(explorer, "IN_PAGE", 4)
        monkeypatch.setattr(figures, "MOST_CLASSES", 4)
    grid = (0.02, 0.07, 0.15, 0.3, 0.4, 0.5) if patch == 1 else ()
    report_workdir.write(tmp_path, tuple(f"class {index}" for index in range(classes)), 224, patch=patch, grid=grid)
    page = tmp_path / "report" / "removal" / "index.html"
    of_classes = [file.stat().st_size for file in (tmp_path / "report" / "removal" / "data").glob("*")]
    assert len(of_classes) == (classes if classes > explorer.IN_PAGE else 0)
    assert page.stat().st_size < 5e6 and sum(of_classes) < 15e6 * classes / 1000
    if of_classes:
        text = (tmp_path / "report" / "removal" / "data" / "class-00003.js").read_text()
        label, _, found = text.removeprefix("fsjaxClass(").removesuffix(");\n").partition(",")
        assert label == "3" and len(json.loads(found)["stops"]) == 4
