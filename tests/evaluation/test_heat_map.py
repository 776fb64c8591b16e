"""The Fourier heat map against a loop that adds a wave to pixels, image by image."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.evaluation import adcs, heat_map
from fsjax.experiment.stage import Workspace
from fsjax.experiment.stages import STAGES
from fsjax.fourier import spectrum
from fsjax.report import sections
from fsjax.runtime.random_streams import Stream, generator
from tests.helpers import results
from tests.helpers.html_page import Page
from tests.helpers.linear_classifier import linear
from tests.helpers.processes import computed, stopped
from tests.helpers.refused import refused
from tests.helpers.small_run import small_config

STD = np.array([0.2, 0.25, 0.3])


def problem(plane, images=43, classes=3):
    rng = np.random.default_rng(0)
    params = rng.normal(size=(plane[0] * plane[1] * 3, classes)).astype(np.float32)
    batch = rng.normal(size=(images, *plane, 3)).astype(np.float32)
    labels = (batch.reshape(images, -1) @ params).argmax(-1).astype(np.int32)
    labels[::5] = np.arange(len(labels[::5])) % classes
    return params, batch, labels


def measured(params, batch, labels, classes=3, model=linear, **options):
    read = batch.__getitem__
    options = {"norm": 3.0, **options}
    return heat_map.measure(Model(model, params, batch.shape[1:]), read, labels, classes, STD, **options)


def unit_wave(row, column, plane):
    """cos - sin over the pixels of the frequency at a centred position, over sqrt(HW): no Fourier transform."""
    height, width = plane
    y, x = np.mgrid[:height, :width]
    angle = 2 * np.pi * ((row - height // 2) * y / height + (column - width // 2) * x / width)
    return (np.cos(angle) - np.sin(angle)) / np.sqrt(height * width)


def drawn_signs(images, orbits, seed, parts):
    """Of each image at each orbit and channel, as documented: equal parts at random, permuted by each orbit."""
    order = generator(seed, Stream.HEAT_MAP_PARTS).permutation(images)
    part = np.empty(images, int)
    for number, members in enumerate(np.array_split(order, parts)):
        part[members] = number
    permutations = generator(seed, Stream.HEAT_MAP_SIGNS).integers(8, size=1 + orbits)[1:]
    combination = part[None] ^ permutations[:, None]
    return np.stack([np.where(combination >> channel & 1, -1, 1) for channel in range(3)], axis=-1)


def loop(params, batch, labels, norm, seed, parts=8, std=STD):
    """Error of each class at each position: every image by itself, in pixels, at every position of the plane."""
    plane = batch.shape[1:3]
    orbits = spectrum.orbits(*plane)
    sign = drawn_signs(len(batch), orbits.max() + 1, seed, parts)
    wrong = np.zeros((params.shape[1], *plane))
    for row, column in itertools.product(*map(range, plane)):
        orbit = orbits[row, column]
        first = np.argwhere(orbits == orbit)[0]  # the published code draws a pair's wave at its first member
        wave = norm * unit_wave(*first, plane)
        for number, image in enumerate(batch.astype(float)):
            pixels = image * std + 0.5
            disturbed = (pixels + sign[orbit, number] * wave[..., None] - 0.5) / std
            wrong[labels[number], row, column] += (disturbed.ravel() @ params).argmax() != labels[number]
    return wrong / np.bincount(labels)[:, None, None]


@pytest.mark.parametrize("plane", [(6, 4), (5, 6), (5, 3)])
def test_errors_are_those_of_a_loop_that_adds_the_wave_to_pixels(plane):
    params, batch, labels = problem(plane)
    found = measured(params, batch, labels, seed=4)
    expected = loop(params.astype(float), batch, labels, 3.0, 4)
    np.testing.assert_allclose(found.class_error, expected, atol=1e-12)
    sizes = np.bincount(labels)
    np.testing.assert_allclose(found.error, np.tensordot(sizes / sizes.sum(), expected, 1), atol=1e-12)
    clean = [np.mean((batch[labels == c].reshape(-1, params.shape[0]) @ params).argmax(-1) != c) for c in range(3)]
    np.testing.assert_allclose(found.clean_error, clean, atol=1e-12)
    assert found.images.tolist() == sizes.tolist() and np.ptp(found.error) > 0.05
    assert spectrum.is_hermitian(found.error) and spectrum.is_hermitian(found.class_error)


def test_many_images_are_cut_into_more_parts_and_combinations_stay_equally_frequent(monkeypatch):
    params, batch, labels = problem((5, 4), images=94)
    monkeypatch.setattr(heat_map, "GROUP", 4)
    parts = heat_map._deal(94, 8, 0)
    assert len(parts) == 24 and {len(part) for part in parts} == {3, 4}
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(94))
    found = measured(params, batch, labels)
    np.testing.assert_allclose(found.class_error, loop(params.astype(float), batch, labels, 3.0, 0, 24), atol=1e-12)


def test_what_is_kept_of_a_stopped_run_is_not_computed_again_and_the_end_is_the_same(tmp_path, monkeypatch):
    params, batch, labels = problem((6, 5))
    whole = measured(params, batch, labels)
    # Three tiles a part: a wave a device, of eight.
    layout = {"tile_images": 6, "chunk": 6}
    monkeypatch.setattr(tile_size, "layout", lambda *arguments, **options: layout)
    for tiles in (1, 5):
        with stopped(tiles):
            measured(params, batch, labels, directory=tmp_path / "parts")
    kept = computed(tmp_path.rglob("*.npz"))
    assert 0 < kept < 8 * 17
    found = measured(params, batch, labels, directory=tmp_path / "parts")
    assert computed(tmp_path.rglob("*.npz")) == 8 * 17, "each wave of each part once"
    for name in ("error", "class_error", "clean_error"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


def test_partial_results_of_another_norm_or_another_model_are_refused(tmp_path):
    params, batch, labels = problem((4, 4))
    measured(params, batch, labels, directory=tmp_path)
    for other, norm in ((params, 2.0), (params + 1, 3.0)):
        refused("partial results of another", measured, other, batch, labels, directory=tmp_path, norm=norm)


def test_the_stage_is_that_of_the_trained_model_on_images_drawn_of_the_test_set(tmp_path):
    config = small_config(heat_map__images_per_class=4, heat_map__norm=2.0, seed=3, search__precision="bfloat16")
    workspace, mean_std = Workspace(config, tmp_path), (np.array([0.4, 0.5, 0.6]), STD[::-1])
    test = workspace.dataset("test")
    params = np.random.default_rng(0).normal(size=(24 * 24 * 3, 4)).astype(np.float32)
    model = Model(lambda *given: -linear(*given), params, (24, 24, 3), test.classes, mean_std)
    vars(workspace)["classifier"] = dataclasses.replace(model, apply_bfloat16=linear)  # as the search has it
    STAGES["heat_map"].run(workspace)
    with np.load(tmp_path / "heat_map.npz") as file:
        found = dict(file)
    of_class = [np.flatnonzero(test.labels == label) for label in range(4)]
    draws = [generator(3, Stream.CHOSEN_IMAGES, c).choice(of_class[c], 4, replace=False) for c in range(4)]
    drawn = np.sort(draws).ravel()
    images = (test.images(drawn) / 255 - mean_std[0]) / mean_std[1]
    expected = loop(params.astype(float), images, test.labels[drawn], 2.0, 3, std=mean_std[1])
    np.testing.assert_allclose(found["class_error"], expected, atol=1e-6)
    np.testing.assert_allclose(found["error"], expected.mean(0), atol=1e-6)
    assert np.ptp(expected) > 0.4
    wrong = (images.reshape(16, -1) @ params).argmax(-1) != test.labels[drawn]
    np.testing.assert_allclose(found["clean_error"], wrong.reshape(4, 4).mean(1), atol=1e-6)
    assert found["error"].dtype == found["class_error"].dtype == np.float32
    assert found["images"].tolist() == [4] * 4 and found["norm"] == 2 and found["classes"].tolist()[3] == "C3"


def test_the_page_has_sections_of_what_has_run_with_the_numbers_that_were_found(tmp_path):
    rng, names, plane = np.random.default_rng(0), ("<b>cat", "dog", "bird"), (8, 6)
    scores = rng.random((3, *plane)) + np.zeros(plane)
    maps = results.maps((scores + spectrum.conjugate(scores)) / 2, (0.05, 0.2), names)
    assert sections.sections(tmp_path, maps, 0.2) == [] and sections.inputs(tmp_path, "removal") == []
    energy = rng.random((3, *plane)).astype(np.float32)
    common = {"classes": np.array(names), "images": np.array([4, 5, 6])}
    np.savez(tmp_path / "adcs.npz", adcs=adcs.adcs(energy), compat=False, split="test", **common)
    error, clean = energy * 0.9, np.array([0.5, 0.2, 0.0])
    error[2] = 0.25
    np.savez(tmp_path / "heat_map.npz", error=error.mean(0), class_error=error, clean_error=clean, norm=3.5, **common)
    offered, disturbed = sections.sections(tmp_path, maps, 0.2)
    assert sections.inputs(tmp_path, "removal") == [tmp_path / "adcs.npz", tmp_path / "heat_map.npz"]

    page = Page(offered.body)
    assert offered.title == "What the data offer" and page.tags.count("img") == 1 and not page.missing_alt
    assert "over 15 test images" in page.text and "from\n-2 to 2" in page.text

    page = Page(disturbed.body)
    text = " ".join(page.text.split())
    assert disturbed.title == "Fourier heat map" and page.tags.count("img") == 2 and not page.missing_alt
    assert "4 to 6 test images" in text and "an L2 norm of 3.5" in text and "<b>cat" in text
    first = spectrum.per_orbit(np.arange(48).reshape(plane))
    for label, name in enumerate(names):
        correlation = "–"  # of a plane of one value there is none
        if label < 2:
            sides = (error[label].ravel()[first], maps.scores[label].ravel()[first])
            correlation = f"{spearmanr(*sides).statistic:.3f}"
        shown = [f"{value:.3f}" for value in (clean[label], error[label].mean(), error[label].max())]
        assert "".join([name, *shown, correlation]) in page.text
    for name in ("adcs", "heat_map", "heat_map_classes"):
        assert (tmp_path / "report" / "removal" / "figures" / f"{name}.png").stat().st_size
