"""The watermark benchmark on a linear network: what a set gives or takes is its part of <weights, difference>."""

import numpy as np
import pytest

from benchmarks.common import efficientnet_lite
from benchmarks.natural import watermark, watermark_parts, watermark_summary
from benchmarks.natural.watermark_parts import Coordinates
from fsjax.engine.model import Model

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(40, 200, (6, 8, 8, 3)).astype(np.uint8)
WEIGHTS = RNG.normal(size=(8, 8, 3)).astype(np.float32)


class Brighter:
    """A mark that adds the same grey levels to every image."""

    LEVELS = RNG.integers(0, 50, (8, 8, 3))

    def over(self, pixels):
        return (pixels + self.LEVELS).astype(np.uint8)


DIFFERENCE = Brighter.LEVELS / 127.5


def response(images):
    """Log-odds of a network whose two logits are 0 and <weights, image>."""
    return np.asarray(images, float).reshape(len(images), -1) @ WEIGHTS.ravel().astype(float)


def frequency_shares():
    """The part of <weights, difference> in each frequency of the centred plane, by Parseval, in float64."""
    of_weights, of_difference = (np.fft.fft2(of.astype(float), axes=(0, 1)) for of in (WEIGHTS, DIFFERENCE))
    return np.fft.fftshift((of_weights.conj() * of_difference).real.sum(-1)) / 64


def test_gradient_scores_of_frequencies_and_of_pixels_are_their_parts_of_the_rise():
    model = Model(lambda weights, images: images.reshape(len(images), -1) @ weights, None, (8, 8, 3))
    weights = np.stack([np.zeros(192, np.float32), WEIGHTS.ravel()], axis=1)
    slopes = watermark_parts.slopes_of(Model(model.apply, weights, (8, 8, 3)), 1)
    clean = efficientnet_lite.normalise(PIXELS)
    found = watermark_parts.rank(clean, efficientnet_lite.normalise(Brighter().over(PIXELS)) - clean, slopes, batch=4)
    np.testing.assert_allclose(found.gradient, frequency_shares(), atol=1e-4)
    np.testing.assert_allclose(found.pixel_gradient, (WEIGHTS * DIFFERENCE).sum(-1), atol=1e-4)
    assert found.gradient.sum() == pytest.approx((WEIGHTS * DIFFERENCE).sum(), abs=1e-3)
    found_sets = watermark_parts.sets(found, 0.25)
    assert all(10 <= each.mask.sum() <= 16 for each in found_sets.values())
    kept = {name: each.energy(found) for name, each in found_sets.items() if not each.pixels}
    assert max(kept, key=kept.get) == "energy" and not (found_sets["radial"].mask & found_sets["energy"].mask).any()


@pytest.mark.parametrize("pixels", [False, True], ids=["frequencies", "pixels"])
def test_a_linear_network_is_given_and_loses_the_sets_part_of_the_rise(pixels):
    parts = (WEIGHTS * DIFFERENCE).sum(-1) if pixels else frequency_shares()
    scores = watermark_parts.Ranking(parts**2, parts, parts**2, parts)
    coordinates = watermark_parts.sets(scores, 0.25)["pixels" if pixels else "gradient"]
    rows, names = [], {"": ("clean", "marked"), "some": ("given", "taken")}
    for name, ways in names.items():
        for way in ways:
            about = {"network": "lite0", "mark": "default", "set": name, "share": 0.25 * bool(name), "way": way}
            condition = watermark.Condition(about, Brighter(), coordinates if name else None, 6)
            log_odds = response(condition.of(PIXELS, PIXELS[::-1]))
            rows.append(about | {"images": list(range(6)), "log_odds": log_odds.tolist(), "top": [0] * 6})
    mark, given, taken = watermark_summary.lines(rows)
    share = parts[coordinates.mask].sum() / parts.sum()
    assert mark["rise"] == pytest.approx([parts.sum()] * 3, abs=1e-3)
    assert mark["clean"]["accuracy"][0] == pytest.approx(1 / 6, abs=1e-3)
    assert given["given"] == taken["taken"] == pytest.approx([share] * 3, abs=1e-3)


def test_a_graft_leaves_nothing_of_the_recipients_frequencies_and_scaling_keeps_the_energy():
    everything = np.ones((8, 8), bool)
    condition = watermark.Condition({"way": "grafted marked"}, Brighter(), Coordinates(everything), 6)
    np.testing.assert_allclose(condition.of(PIXELS, PIXELS[::-1]), efficientnet_lite.normalise(PIXELS[::-1]), atol=1e-5)
    some, others = (np.zeros((8, 8), bool) for _ in range(2))
    some[4, 5] = some[4, 3] = others[6, 4] = others[2, 4] = True
    images = RNG.normal(size=(3, 8, 8, 3)).astype(np.float32)
    scaled, wanted = Coordinates(others, scale_as=some).part(images), Coordinates(some).part(images)
    np.testing.assert_allclose(np.square(scaled).sum((1, 2, 3)), np.square(wanted).sum((1, 2, 3)), rtol=1e-4)
    assert abs(np.fft.fft2(scaled, axes=(1, 2))[:, 0, 1]).max() < 1e-4


def test_the_best_box_is_the_one_that_a_search_of_all_boxes_finds():
    scores = RNG.random((7, 9)) ** 4
    boxes = [
        (scores[top:bottom, left:right].sum(), top, bottom, left, right)
        for top in range(7)
        for bottom in range(top + 1, 8)
        for left in range(9)
        for right in range(left + 1, 10)
        if (bottom - top) * (right - left) <= 10
    ]
    _, top, bottom, left, right = max(boxes)
    expected = np.zeros((7, 9), bool)
    expected[top:bottom, left:right] = True
    np.testing.assert_array_equal(watermark_parts.best_box(scores, 10), expected)
    rows = watermark_parts.best_rows(scores, 20)
    assert rows.sum() == 18 and set(np.flatnonzero(rows.all(1))) == set(np.argsort(scores.sum(1))[-2:])
