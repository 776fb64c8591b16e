"""Controls: a planted shortcut beats them, a random map does not, and they are of its size and judged on its images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsjax.data.dataset import Dataset
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation import controls, verdict
from fsjax.evaluation.statistics import p_values
from fsjax.fourier import masks, spectrum
from fsjax.runtime.random_streams import Stream, generator
from tests.helpers import results

MEAN_STD = (np.array([0.5, 0.5, 0.5]), np.array([0.25, 0.25, 0.25]))
SIDE = 12


class Made:
    """Noise, with a wave of the class's own in each image."""

    def __init__(self, counts, amplitude=40, seed=0):
        rng = np.random.default_rng(seed)
        self.classes = tuple(f"class {label}" for label in range(len(counts)))
        self.labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts).astype(np.int32)
        rows, columns = np.mgrid[:SIDE, :SIDE]
        waves = [np.cos(2 * np.pi * (u * rows + v * columns) / SIDE) for u, v in WAVES]
        noise = rng.normal(128, 25, (len(self.labels), SIDE, SIDE, 3))
        own = amplitude * np.stack([waves[label] for label in self.labels])[..., None]
        self.images, self.planted = (noise + own).clip(0, 255).astype(np.uint8), None

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


WAVES = ((3, 4), (5, 2), (4, -3))  # vertical and horizontal frequency, none of them low
ORBITS = np.stack([(o := spectrum.orbits(SIDE, SIDE)) == o[SIDE // 2 + u, SIDE // 2 + v] for u, v in WAVES])


def reads_waves(params, images):
    """The class whose wave is the strongest; one more output wins where there is no wave at all."""
    strength = jnp.square(spectrum.filter_images(images, jnp.asarray(ORBITS))).mean((2, 3, 4))
    return jnp.concatenate([strength.T, jnp.full((len(images), 1), 0.1)], 1)


def engine_of(apply, params=()):
    return Engine(Model(apply, params, (SIDE, SIDE, 3)), statistics=("correct",), tile_images=64)


def judged(apply, maps, source, *, budget=None, images=0, random_masks=20, seed=0):
    budget = int(maps.sum((1, 2)).max()) if budget is None else budget
    options = {"images": images, "random_masks": random_masks, "seed": seed}
    return controls.judge(engine_of(apply), MEAN_STD, maps, budget, Dataset(source, SIDE), **options)


def summarised(counts, *, tested=True):
    """Controls and verdicts, with the TPR on the judged images for that on all."""
    found = controls.summarise(counts, tested=tested)
    return found, verdict.decide(counts.map / np.maximum(counts.images, 1), found, 0.6)


def padded_with_noise(orbits, positions=2):
    """A mask that keeps an orbit and, up to its size, others that say nothing, of high frequency."""
    rest = np.random.default_rng(5).random((SIDE, SIDE)) * (spectrum.radius(SIDE, SIDE) > 0.3) * ~ORBITS.any(0)
    return masks.best_orbits(10.0 * orbits + rest, positions)


def test_a_planted_shortcut_beats_every_trivial_mask_and_a_map_of_anything_else_does_not():
    source = Made((30, 25, 20))
    kept = np.stack([padded_with_noise(ORBITS[0]), padded_with_noise(ORBITS[1]), padded_with_noise(ORBITS[2] & False)])
    found, shortcut = summarised(judged(reads_waves, kept, source))
    assert found.images.tolist() == [30, 25, 20] and found.random_masks == 60
    assert found.tpr.tolist() == [1, 1, 0]
    assert (found.low_pass_tpr == 0).all() and (found.random_tpr < 0.3).all()
    # The wave of each class is what its images have most of: one trivial mask does as well as the map.
    assert found.highest_energy_tpr.tolist() == [1, 1, 1] and set(found.best_trivial) == {"highest energy"}
    assert shortcut == (False, False, False) and (found.margin_ci[:2, 0] < 0).all()

    class Hidden(Made):
        """The wave is faint, and all else of a lower frequency and stronger."""

        def __init__(self):
            super().__init__((30, 25, 20), amplitude=14)
            low = masks.best_orbits(-spectrum.radius(SIDE, SIDE), 25)
            noise = jnp.asarray(self.images - np.float32(128))
            louder = np.asarray(spectrum.filter_images(noise, jnp.asarray(low[None])))[0]
            quiet = np.asarray(spectrum.filter_images(noise, jnp.asarray(ORBITS.any(0)[None])))[0]
            self.images = (128 + 5 * louder + quiet).clip(0, 255).astype(np.uint8)

    def faint(params, images):
        strength = jnp.square(spectrum.filter_images(images, jnp.asarray(ORBITS))).mean((2, 3, 4))
        return jnp.concatenate([strength.T, jnp.full((len(images), 1), 0.003)], 1)

    found, shortcut = summarised(judged(faint, kept, Hidden(), random_masks=60))
    assert shortcut == (True, True, False)
    assert (found.margin[:2] > 0.9).all() and (found.margin_ci[:2, 0] > 0.6).all()
    assert (found.q_value[:2] <= 0.05).all() and found.q_value[2] > 0.05
    assert summarised(judged(faint, kept, Hidden()), tested=False)[1] == (None,) * 3


def test_a_shortcut_meets_all_three_conditions_and_each_of_them_counts():
    count, own = np.full(5, 100), np.array([90, 60, 90, 59, 90])
    random = np.tile([5, 5, 95, 5, 5], (100, 1))
    trivial = np.array([[20, 10, 20, 10, 88], [10, 20, 10, 20, 10]])
    counts = controls.ControlCounts(count, own, trivial, np.minimum(own, trivial), random, None)
    found, shortcut = summarised(counts)
    assert shortcut == (True, True, False, False, False), "few TPR, random masks, a trivial mask: none is one"
    assert found.margin.tolist() == [0.7, 0.4, 0.7, 0.39, 0.02]
    assert found.best_trivial == ("low-pass", "highest energy", "low-pass", "highest energy", "low-pass")
    np.testing.assert_allclose(found.p_value, [1 / 101, 1 / 101, 1, 1 / 101, 1 / 101])
    np.testing.assert_allclose(found.q_value, [5 / 404, 5 / 404, 1, 5 / 404, 5 / 404])


def test_every_count_is_that_of_images_filtered_one_by_one():
    """Of a linear classifier, in float64, with masks made here."""
    source, rng = Made((7, 4, 9), seed=1), np.random.default_rng(2)
    params = rng.normal(size=(SIDE * SIDE * 3, 3)).astype(np.float32)
    kept = np.stack([masks.random(SIDE, SIDE, size, rng) for size in (20, 19, 9)])
    sizes = [20, 20 if kept[1].sum() == 19 else int(kept[1].sum()), int(kept[2].sum())]

    def linear(params, images):
        return images.reshape(len(images), -1) @ params

    options = {"images": 5, "random_masks": 2, "seed": 3}
    engine = engine_of(linear, params)
    found = controls.judge(engine, MEAN_STD, kept, 20, Dataset(source, SIDE), **options)
    assert found.images.tolist() == [5, 4, 5] and found.random.shape == (6, 3) and found.radial.shape == (2, 3)
    for label in range(3):
        rows = np.flatnonzero(source.labels == label)[:5]
        pixels = (source.images[rows] / 255 - 0.5) / 0.25
        plane = np.fft.fftshift(np.fft.fft2(pixels, axes=(1, 2)), axes=(1, 2))

        def right(mask, plane=plane, label=label):
            filtered = np.fft.ifft2(np.fft.ifftshift(plane * mask[..., None], axes=(1, 2)), axes=(1, 2)).real
            return (filtered.reshape(len(filtered), -1) @ params.astype(float)).argmax(1) == label

        own = right(kept[label])
        trivial = [
            right(masks.low_pass(SIDE, SIDE, sizes[label])),
            right(masks.best_orbits((np.abs(plane) ** 2).mean((0, 3)), sizes[label])),
        ]
        assert found.map[label] == own.sum()
        assert found.trivial[:, label].tolist() == [one.sum() for one in trivial]
        assert found.both[:, label].tolist() == [(own & one).sum() for one in trivial]
        drawn = [masks.random(SIDE, SIDE, sizes[label], generator(3, Stream.RANDOM_CONTROLS, i)) for i in range(6)]
        assert found.random[:, label].tolist() == [right(mask).sum() for mask in drawn]


def test_controls_are_of_the_size_of_each_map_and_share_their_orders(monkeypatch):
    seen = []

    def record(self, chunks, under, **others):
        seen.append(under)
        return {"correct": np.zeros((len(under), 4))}

    monkeypatch.setattr(Engine, "sums", record)

    def of_size(size):
        drawn = (masks.random(SIDE, SIDE, size, np.random.default_rng(seed)) for seed in range(100))
        return next(mask for mask in drawn if mask.sum() == size)

    counts = [29, 28, 10, 0, 144]
    kept = np.stack([of_size(size) for size in counts])
    monkeypatch.setattr("test_controls.WAVES", WAVES * 2)
    judged(reads_waves, kept, Made((4,) * 5), budget=29, random_masks=2)
    for label, under in enumerate(seen):
        assert len(under) == 1 + 2 + 2 + 10
        sizes, size = under.sum((1, 2)), 29 if counts[label] >= 28 else counts[label]
        size = 144 if counts[label] == 144 else size
        assert (sizes <= size).all() and (sizes >= size - 1).all(), (label, sizes)
        assert (sizes[3:5] == counts[label]).all()
        radius = np.round(spectrum.radius(SIDE, SIDE) * SIDE).astype(int)
        for mask in under[3:5]:
            profile = [np.bincount(radius[one], minlength=20) for one in (mask, kept[label])]
            np.testing.assert_array_equal(*profile)
    np.testing.assert_array_equal(seen[0][-10:], seen[1][-10:])
    assert not (seen[2][-10:] & ~seen[0][-10:]).any(), "a smaller map's random masks lie inside a larger one's"


def test_maps_drawn_at_random_are_seldom_better_than_random_ones():
    """The null hypothesis, through the whole of it: P(p <= alpha) is at most alpha."""
    source, rng = Made((4, 5, 6), seed=3), np.random.default_rng(4)
    params = rng.normal(size=(SIDE * SIDE * 3, 3)).astype(np.float32)
    engine = engine_of(lambda params, images: images.reshape(len(images), -1) @ params, params)
    found, shortcuts, rounds = [], 0, 40
    for seed in range(rounds):
        kept = np.stack([masks.random(SIDE, SIDE, 15, rng) for _ in range(3)])
        options = {"images": 0, "random_masks": 13, "seed": seed}
        one = controls.judge(engine, MEAN_STD, kept, 15, Dataset(source, SIDE), **options)
        found.append(p_values(one.map, one.random))
        shortcuts += sum(summarised(one)[1])
    found = np.stack(found)
    for alpha in (0.05, 0.1, 0.2, 0.5):
        # Maps and masks of one round are judged on the same images, but drawn by themselves.
        assert (found <= alpha).mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / found.size), alpha
    assert (found <= 0.5).mean() > 0.3, "and not by never being small"
    assert shortcuts <= 0.05 * rounds + 3 * np.sqrt(0.05 * rounds)


def counts_of(rng, quality, images):
    """Images that stay their class under masks of these qualities, [masks, classes]: an image is a coin of its mask."""
    return rng.binomial(images, 1 / (1 + np.exp(-quality)))


@pytest.mark.parametrize(("images", "spread"), [(100, 1.5), (100, 0.0), (4, 1.5)], ids=["", "alike", "with ties"])
def test_p_keeps_every_level_under_the_null(images, spread):
    """A map that is one more random mask, 20,000 times: P(p <= a) is a at most, within three binomial deviations."""
    rng, repeats, draws = np.random.default_rng(0), 20_000, 79
    right = counts_of(rng, spread * rng.normal(size=(1 + draws, repeats)) - 0.5, images)
    zeros = np.zeros((2, repeats), int)
    found = controls.ControlCounts(np.full(repeats, images), right[0], zeros, zeros, right[1:], None)
    p = controls.summarise(found, tested=True).p_value
    for alpha in (0.0125, 0.025, 0.05, 0.1, 0.2, 0.5):
        below = (p <= alpha).mean()
        assert below <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / repeats), alpha
        if images == 100:
            assert below >= 0.6 * alpha, "and not by never being small"


def test_a_run_in_which_no_map_is_better_seldom_names_one():
    """Ten classes that share their random masks, all maps of them one more each: the chance of any discovery at all."""
    rng, repeats, classes, draws = np.random.default_rng(1), 800, 10, 200
    discovered, zeros = 0, np.zeros((2, classes), int)
    for _ in range(repeats):
        # A mask is good for all classes, and a little more for some: what they share makes their tests dependent.
        own = rng.normal(size=classes)
        masks_alike = rng.normal(size=(draws, 1)) + 0.5 * rng.normal(size=(draws, classes))
        right = counts_of(rng, np.concatenate([own[None] * 1.25**0.5, masks_alike]), 50)
        found = controls.ControlCounts(np.full(classes, 50), right[0], zeros, zeros, right[1:], None)
        discovered += any(controls.summarise(found, tested=True).q_value <= verdict.RATE)
    most = repeats * verdict.RATE + 3 * np.sqrt(repeats * verdict.RATE * (1 - verdict.RATE))
    assert repeats * verdict.RATE * 0.3 < discovered <= most


def test_controls_of_ten_classes_cost_at_most_what_removal_costs_on_the_same_images():
    """Passes counted in the model itself, padding included."""
    passes = []

    def counting(params, images):
        jax.debug.callback(lambda: passes.append(len(images)))
        return images.mean((1, 2)) @ jnp.ones((3, 10))

    class Ten(Made):
        def __init__(self):
            self.labels, self.planted = np.repeat(np.arange(10, dtype=np.int32), 8), None
            self.classes = tuple("0123456789")
            self.images = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3)).astype(np.uint8)

    kept = np.stack([masks.random(32, 32, 51, np.random.default_rng(label)) for label in range(10)])
    options = {"images": 8, "random_masks": 20, "seed": 0}
    test = Dataset(Ten(), 32)
    controls.judge(engine_of(counting), MEAN_STD, kept, 51, test, **options)
    jax.effects_barrier()
    spent = sum(passes)
    assert 80 * (1 + 2 + 20 + 200) <= spent <= 80 * len(spectrum.orbit_sizes(32, 32))


def test_maps_that_are_not_constant_on_orbits_have_no_radial_controls_and_absent_classes_no_verdict():
    kept = np.stack([masks.random(SIDE, SIDE, 20, np.random.default_rng(label)) for label in range(3)])
    kept[0] = np.random.default_rng(0).random((SIDE, SIDE)) < 0.2
    found, shortcut = summarised(judged(reads_waves, kept, Made((6, 5, 0)), random_masks=2))
    assert np.isnan(found.radial_tpr).all() and found.radial_masks == 0
    assert shortcut[2] is None and np.isnan(found.q_value[2]) and np.isnan(found.margin_ci[2]).all()
    assert np.isfinite(found.q_value[:2]).all()


def test_the_verdict_says_by_how_much_and_why_not():
    compared = results.controls(
        4,
        low_pass_tpr=[0.31, 0.2, 0.7, None],
        highest_energy_tpr=[0.2, 0.4, 0.88, None],
        margin=[0.63, 0.1, 0.02, None],
        margin_ci=[[0.52, 0.72], [0.01, 0.2], [-0.1, 0.1], [None, None]],
        q_value=[0.005, 0.2, 0.005, None],
    )
    tpr = np.array([0.94, 0.5, 0.9, np.nan])
    rates = results.map_rates(
        tpr,
        [0.02, 0.1, 0.3, 0.0],
        tpr_ci=[[0.88, 0.97], [0.4, 0.6], [0.85, 0.95], [None, None]],
        controls=compared,
        shortcut=verdict.decide(tpr, compared, 0.6),
    )
    assert rates.shortcut == (True, False, False, None)
    rows = verdict.describe(("<zebra>", "ox", "car", "wagon"), rates, 0.05, 0.6)
    assert rows[0].sentence == (
        "<zebra>: shortcut: 5 % of the frequencies give TPR 0.940 [0.880, 0.970], FPR 0.020; the best trivial mask "
        "(low-pass) gives 0.310, a margin of +0.630 [0.520, 0.720]."
    )
    assert "the TPR is below 0.6; random masks of its size may do as well (q = 0.200)." in rows[1].sentence
    assert rows[2].sentence.endswith("[-0.100, 0.100]; the trivial mask may do as well.")
    assert "the best trivial mask (highest energy) gives 0.880" in rows[2].sentence
    assert rows[3].sentence == "wagon: no verdict: there is no test image of it."
    (alone,) = verdict.describe(("a",), results.map_rates([1.0], [None]), 0.05, 0.6)
    assert alone.sentence == (
        "a: no controls: 5 % of the frequencies give TPR 1.000; "
        "without controls, other masks of its size may do as well."
    )
    assert alone.shortcut is None


@pytest.mark.parametrize("seed", [0, 1])
def test_energy_is_the_mean_square_of_the_fourier_transform(seed):
    images = np.random.default_rng(seed).normal(size=(70, 6, 9, 3)).astype(np.float32)
    expected = np.square(np.abs(np.fft.fftshift(np.fft.fft2(images, axes=(1, 2)), axes=(1, 2)))).mean((0, 3))
    np.testing.assert_allclose(spectrum.energy(images), expected, rtol=1e-5)
