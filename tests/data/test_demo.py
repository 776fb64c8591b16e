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


def test_the_power_falls_with_the_frequency_as_in_photographs():
    leaves = demo.dead_leaves(np.random.default_rng(0), COUNT, SIZE)
    rings = np.arange(1, SIZE // 2)
    of_ring = np.rint(SIZE * radius)
    mean = [power(leaves)[of_ring == ring].mean() for ring in rings]
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
    # Bright stars on a ground as dark as their rim, and dark stars on a bright one, turned round.
    on_dark, on_bright = (np.full((2000, SIZE, SIZE, 3), level, np.float32) for level in (-demo.STAR, demo.STAR))
    demo._add_star(np.random.default_rng(0), on_dark)
    demo._add_star(np.random.default_rng(0), on_bright)
    inside_and_rim = np.where(on_dark == on_bright, on_dark, 0)
    bright = inside_and_rim.sum((1, 2, 3), keepdims=True) > 0  # the rim is smaller
    assert 0.45 < bright.mean() < 0.55
    cover = (np.where(bright, on_dark, -on_bright)[..., 0].astype(float) + demo.STAR) / (2 * demo.STAR)
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


@pytest.mark.parametrize("name", demo.CLASSES[:3])
def test_the_noise_of_each_image_has_its_own_strength_in_every_class(drawn, monkeypatch, name):
    monkeypatch.setattr(demo, "SENSOR", 0)
    clear = demo.block(np.random.default_rng(0), demo.CLASSES.index(name), False, FIXED, COUNT)
    # The median leaves out clipped pixels; that of a Gaussian's distance from 0 is 0.674 standard deviations.
    strength = np.median(np.abs(drawn[name] - clear), (1, 2, 3)) / 0.6745 / (NOISE * 255)
    assert strength.min() < 0.05 and strength.max() == pytest.approx(0.5, abs=0.05)
    assert strength.mean() == pytest.approx(0.25, abs=0.04)


def test_each_image_is_blurred_by_its_own_gaussian_in_every_class(monkeypatch):
    monkeypatch.setattr(demo, "SENSOR", 0)
    for label in (1, 2, 4):
        planes = []
        for largest in (0.6, 0):
            monkeypatch.setattr(demo, "BLUR", largest)
            images = demo.block(np.random.default_rng(0), label, False, FIXED, COUNT).astype(float)
            planes.append(
                np.fft.fftshift(np.fft.fft2(images, axes=(1, 2)), axes=(1, 2))[:, np.rint(SIZE * radius) == 12]
            )
        blurred, clear = planes
        gain = (blurred * clear.conj()).real.sum((1, 2)) / (abs(clear) ** 2).sum((1, 2))
        # A Gaussian of deviation s multiplies frequency f by exp(-2 pi^2 s^2 f^2).
        deviation = np.sqrt(np.maximum(0, -np.log(gain)) / 2) / np.pi / (12 / SIZE)
        assert deviation.min() < 0.05 and deviation.max() == pytest.approx(0.6, abs=0.04)
        assert deviation.mean() == pytest.approx(0.3, abs=0.03)


def test_a_blurred_wave_has_a_gaussians_gain_and_a_flat_image_stays():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    wave = np.cos(2 * np.pi * (3 * rows - 5 * columns) / SIZE)
    images = np.broadcast_to((5 + wave)[..., None], (2, SIZE, SIZE, 3)).astype(np.float32)
    gain = np.exp(-2 * np.pi**2 * np.array([0, 0.7]) ** 2 * (3**2 + 5**2) / SIZE**2)
    blurred = demo.blurred(images, np.array([0, 0.7]).reshape(2, 1, 1, 1))
    np.testing.assert_allclose(blurred, 5 + np.multiply.outer(gain, wave)[..., None].repeat(3, -1), atol=1e-5)
