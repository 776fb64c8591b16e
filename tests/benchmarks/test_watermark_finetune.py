"""Fine-tuning against a watermark: its steps against NumPy float64, what a graft puts in, and the table's ratios."""

import numpy as np
import scipy

from benchmarks.common.efficientnet_lite import normalise
from benchmarks.natural import watermark_finetune
from benchmarks.natural.watermark_parts import Coordinates
from fsjax.engine.model import Model
from tests.helpers.plane import spectra

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(40, 200, (64, 6, 6, 3)).astype(np.uint8)


class Brighter:
    def over(self, pixels):
        return pixels + np.uint8(9)


def test_steps_are_momentum_sgd_on_the_cross_entropy_at_a_rate_that_falls_as_a_cosine():
    weights, targets = RNG.normal(size=(108, 3)).astype(np.float32), RNG.dirichlet(np.ones(3), 64).astype(np.float32)
    model, seen = Model(lambda w, x: x.reshape(len(x), -1) @ w, weights, (6, 6, 3)), []

    def change(pixels, rng):
        seen.append(normalise(pixels))
        return seen[-1]

    found = watermark_finetune.fine_tune(model, PIXELS, targets, change, 0.1, 3, 0, "test").params
    expected, momentum = weights.astype(float), 0
    for number, images in enumerate(seen):
        flat = images.reshape(32, -1).astype(float)
        either = np.stack([normalise(PIXELS), normalise(PIXELS[:, :, ::-1])])
        rows = np.abs(images[:, None, None] - either).sum((3, 4, 5)).min(1).argmin(1)
        slope = flat.T @ (scipy.special.softmax(flat @ expected, axis=1) - targets[rows]) / 32
        momentum = slope + 0.9 * momentum
        expected = expected - 0.1 * (1 + np.cos(np.pi * number / 3)) / 2 * momentum
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_grafted_image_has_another_images_frequencies_there_and_its_own_elsewhere():
    mask = np.zeros((6, 6), bool)
    mask[3, 4] = mask[3, 2] = True
    change = watermark_finetune.changes("energy", Brighter(), {"energy": Coordinates(mask)})
    before, after = spectra(normalise(PIXELS)), spectra(change(PIXELS, np.random.default_rng(1)))
    np.testing.assert_allclose(after[:, ~mask], before[:, ~mask], atol=1e-4)
    donors = np.abs(after[:, None, 3, 4] - before[None, :, 3, 4]).sum(-1).argmin(1)
    assert sorted(donors) == list(range(64)) and (donors != np.arange(64)).sum() > 50
    np.testing.assert_allclose(after[:, mask], before[donors][:, mask], atol=1e-4)
    marked = watermark_finetune.changes("mark", Brighter(), {})(PIXELS, np.random.default_rng(1)) - normalise(PIXELS)
    assert set(np.round(marked * 127.5).ravel()) == {0, 9} and 0.3 < (marked[:, 0, 0, 0] > 0).mean() < 0.7


def test_the_table_compares_rises_with_the_original_networks():
    def outcomes(odds, top):
        return {"log_odds": [odds] * 4, "top": top}

    rows = []
    for targets, risen in (("original", 2.0), ("labels", 0.5)):
        whole = {"labels": [0, 1, 2, 3], "clean": outcomes(-9, [0, 1, 2, 3]), "given": outcomes(-8, [0] * 4)}
        whole["marked"] = outcomes(risen - 9, [0, 478, 2, 3])
        few = {"labels": [7, 7, 8, 8], "clean": outcomes(-9, [7, 7, 8, 8]), "marked": outcomes(-9, [7, 7, 7, 7])}
        rows.append({"targets": targets, "change": "none", "34 classes": few, "1,000 classes": whole})
    cells = watermark_finetune.table(rows).splitlines()[3].split(" | ")
    assert [cell[:4] for cell in cells[2:6]] == ["0.50", "0.25", "1.00", "1.00"]
    assert [cell[:4] for cell in cells[6:]] == ["1.00", "0.75", "1.00", "0.50", "0.25"]
