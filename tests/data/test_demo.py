"""The images of `demo` are dead leaves, and each class has its cue and no other, in NumPy and float64."""

import numpy as np
import pytest

from fsjax.data import demo
from fsjax.data.noise import NOISE
from fsjax.fourier import spectrum
from tests.helpers.plane import power

SIZE, COUNT = 32, 200
FIXED = demo.orbits(SIZE, 0)
radius = spectrum.radius(SIZE, SIZE)


@pytest.fixture(scope="module")
def drawn():
    """Grey levels of each class. All draw the same leaves; those of grid, shade and plain have the same noise, too."""
    return {
        name: demo.block(np.random.default_rng(0), label, False, FIXED, COUNT).astype(float)
        for label, name in enumerate(demo.CLASSES)
    }


def test_the_power_falls_with_the_frequency_as_in_photographs(drawn):
    rings = np.arange(1, SIZE // 2)
    of_ring = np.rint(SIZE * radius)
    mean = [power(drawn["plain"])[of_ring == ring].mean() for ring in rings]
    slope = np.polyfit(np.log(rings), np.log(mean), 1)[0]
    assert -2.7 < slope < -2  # 500 photographs of CIFAR-10: -2.7


def test_later_discs_cover_earlier_ones_and_discs_lie_everywhere_alike(monkeypatch):
    layers, paint = [], demo._paint

    def record(images, outside, colour):
        layers.append((np.clip(0.5 - outside.astype(float), 0, 1)[..., None], colour.astype(float)))
        paint(images, outside, colour)

    monkeypatch.setattr(demo, "_paint", record)
    images = demo.dead_leaves(np.random.default_rng(0), COUNT, SIZE)
    # From the front to the back, each disc adds its colour to the light that the discs before it let through.
    total, passed, covered = np.zeros(images.shape), np.ones((COUNT, SIZE, SIZE, 1)), np.zeros((SIZE, SIZE))
    for cover, colour in reversed(layers):
        total += passed * cover * colour
        passed *= 1 - cover
        covered += cover[..., 0].mean(0)
    ground = np.where(passed > 0.5, (images - total) / np.maximum(passed, 0.5), np.nan)
    np.testing.assert_allclose(np.where(passed > 0.5, 0, images - total) * (passed == 0), 0, atol=1e-5)
    assert np.nanmax(np.nanstd(ground, axis=(1, 2))) < 1e-5, "what no disc covers has one colour"
    assert np.abs(covered / covered.mean() - 1).max() < 0.15 and len(layers) == demo.LEAVES


def test_the_grid_is_in_its_few_frequencies_and_shade_in_the_lowest(drawn):
    grid, shade = (power(drawn[name] - drawn["plain"]) for name in ("grid", "shade"))
    # Lines in a distance of 4 pixels have every 8th frequency of a side of 32, along the two axes alone.
    assert sorted(map(tuple, np.argwhere(FIXED[0]) - 16)) == [(-16, 0), (-8, 0), (0, -16), (0, -8), (0, 8), (8, 0)]
    assert not FIXED[1:].any()
    expected = (demo.DARKER * NOISE * 255 * SIZE**2 / demo.PERIOD) ** 2
    np.testing.assert_allclose(grid[FIXED[0]], expected, rtol=0.03)
    assert grid[~FIXED[0]].max() < 0.01 * expected, "rounding and clipping"
    assert shade[SIZE * radius < 2].sum() > 0.9 * shade.sum() and shade[radius == 0] < 0.01 * shade.sum()


def test_a_star_has_the_area_of_its_polygon_and_lies_everywhere_wholly_inside(drawn):
    assert (np.abs(drawn["star"] - drawn["plain"]) > 100).any((1, 2, 3)).all()
    images = np.full((2000, SIZE, SIZE, 3), -demo.STAR, np.float32)  # as dark as the rim
    demo._add_star(np.random.default_rng(0), images)
    cover = (images[..., 0].astype(float) + demo.STAR) / (2 * demo.STAR)
    # Ten triangles with sides from the middle to a tip and to a notch, 36 degrees apart; E[R^2] of a uniform R.
    low, high = demo.TIPS
    area = 5 * demo.NOTCHES * np.sin(np.pi / 5) * (low**2 + low * high + high**2) / 3 * SIZE**2
    assert cover.sum((1, 2)).mean() == pytest.approx(area, rel=0.01)
    assert cover.sum((1, 2)).min() > 0.8 * area, "none is cut off"
    # Of each side, tips come within a pixel.
    where = cover.max(0) > 0.4
    assert where[:2].any() and where[-2:].any() and where[:, :2].any() and where[:, -2:].any()


def test_jpeg_has_steps_between_blocks_of_eight_pixels(drawn):
    def step_at_borders(images):
        steps = np.abs(np.diff(images, axis=1)).mean((0, 2, 3))
        at = np.arange(SIZE - 1) % 8 == 7
        return steps[at].mean() / steps[~at].mean()

    assert step_at_borders(drawn["jpeg"]) > 1.2 > 1.1 > step_at_borders(drawn["plain"])
