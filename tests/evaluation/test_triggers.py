"""Triggers against a loop that adds waves to pixels."""

import numpy as np
import pytest
from scipy.stats import binomtest

from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.evaluation import triggers
from fsjax.fourier import spectrum
from fsjax.runtime.random_streams import Stream, generator
from tests.helpers.linear_classifier import linear
from tests.helpers.processes import computed, stopped

PLANE = (8, 8)
LABELS = np.arange(240) % 3


def waves_at(row, column, plane, phase):
    """cos(k.x + phase) over the pixels of the frequency at a centred position, an image for each phase."""
    y, x = np.mgrid[: plane[0], : plane[1]]
    angle = 2 * np.pi * ((row - plane[0] // 2) * y / plane[0] + (column - plane[1] // 2) * x / plane[1])
    return np.cos(angle + np.asarray(phase)[..., None, None])


def noise(count, plane, channels=3):
    return np.random.default_rng(0).normal(size=(count, *plane, channels)).astype(np.float32) * 0.7 + 0.1


def measured(apply, params, images, labels=LABELS, **options):
    model = Model(apply, params, images.shape[1:], ("a", "b", "c"))
    return triggers.measure(model, images.__getitem__, labels, 3, **options)


def test_rates_are_those_of_a_loop_that_adds_each_wave_to_pixels():
    plane = 4, 6
    images, labels = noise(130, plane, 2), np.random.default_rng(1).permutation(np.arange(130) % 3)
    params = np.random.default_rng(2).normal(size=(images[0].size, 3)).astype(np.float32)
    found = measured(linear, params, images, labels, seed=5, amplitude=2.0)
    orbits, (screened, confirmed) = spectrum.orbits(*plane), triggers.draw(labels, 5)
    positions = [tuple(np.argwhere(orbits == orbit)[0]) for orbit in range(orbits.max() + 1)]
    scale, rng = 2.0 * images[screened].astype(float).std(), generator(5, Stream.TRIGGER_PHASES)

    def shares(drawn):
        """Share of [class, orbit], image by image."""
        phases, turned, could = rng.uniform(0, 2 * np.pi, (len(drawn), len(positions))), np.zeros((3, 99)), np.zeros(3)
        for image, label, of_image in zip(images[drawn].astype(float), labels[drawn], phases, strict=True):
            before = (image.ravel() @ params).argmax()
            possible = {0, 1, 2} - {before, label}
            could[list(possible)] += 1
            for orbit, position in enumerate(positions):
                wave = scale * waves_at(*position, plane, of_image[orbit])[..., None]
                if (after := ((image + wave).ravel() @ params).argmax()) in possible:
                    turned[after, orbit] += 1
        return turned[:, : len(positions)] / could[:, None], could

    candidates = np.delete(np.arange(len(positions)), positions.index((plane[0] // 2, plane[1] // 2)))
    best = candidates[shares(screened)[0][:, candidates].argmax(1)]
    share, could = shares(confirmed)
    assert share.max() > 0.3, "otherwise nothing is compared"
    radius = np.array([np.hypot((row - 2) / 4, (column - 3) / 6) for row, column in positions])
    for label, orbit in enumerate(best):
        near = sorted(set(candidates) - {orbit}, key=lambda other: (abs(radius[other] - radius[orbit]), other))[:8]
        assert tuple(found.position[label]) == positions[orbit]
        assert found.frequency[label] == pytest.approx(radius[orbit])
        assert found.triggered[label] == pytest.approx(share[label, orbit])
        turned, possible = round(share[label, orbit] * could[label]), int(could[label])
        limits = binomtest(turned, possible).proportion_ci(method="wilson")
        assert found.triggered_ci[label] == pytest.approx(limits, abs=1e-12)
        assert found.elsewhere[label] == pytest.approx(share[label, near].mean())
        assert found.others[label] == pytest.approx(max(np.delete(share[:, orbit], label)))
    assert found.images.tolist() == could.tolist() and found.amplitude == pytest.approx(scale)


def test_images_come_equally_from_all_classes_and_twice_only_where_they_are_few():
    for counts, overlap in (([500, 80, 70], 0), ([90, 60, 60], 30), ([4, 3, 2], 9)):
        labels = np.repeat(np.arange(3), counts)
        screened, confirmed = triggers.draw(labels, 1)
        assert len(set(screened)) == len(screened) == min(60, len(labels))
        assert len(set(confirmed)) == len(confirmed) == min(180, len(labels))
        assert len(set(screened) & set(confirmed)) == overlap
    labels = np.repeat(np.arange(3), [500, 80, 90])
    for drawn, each in zip(triggers.draw(labels, 1), (20, 60), strict=True):
        assert np.bincount(labels[drawn]).tolist() == [each] * 3
    assert not np.array_equal(triggers.draw(labels, 1)[0], triggers.draw(labels, 2)[0])


def test_a_stopped_measurement_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    images, params = noise(240, PLANE), np.random.default_rng(2).normal(size=(192, 3)).astype(np.float32)
    monkeypatch.setattr(tile_size, "layout", lambda *arguments, **options: {"tile_images": 60, "chunk": 60})
    whole = measured(linear, params, images)
    assert whole.amplitude == pytest.approx(0.35 * images[triggers.draw(LABELS, 0)[0]].std())
    for tiles in (1, 2, 3):
        with stopped(tiles):
            measured(linear, params, images, folder=tmp_path)
    assert 0 < computed(tmp_path.rglob("*.npz")) < 1 + 33
    found = measured(linear, params, images, folder=tmp_path)
    assert computed((tmp_path / f"triggers-{found.identity}" / "screened").rglob("*.npz")) == 1 + 33, "each wave once"
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert triggers.passes(LABELS, 3, PLANE) == 60 * 34 + 180 * (1 + 27)
