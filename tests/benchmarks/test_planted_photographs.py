"""The verdict benchmark's photographs: paired images differ by a cue alone, and the cue is what its kind says."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import fft

from benchmarks.planted import photograph_cues, verdict_truth
from benchmarks.planted.photograph_sets import draw_kinds, make_photograph_set
from benchmarks.planted.photographs import PARTS, Photographs
from benchmarks.planted.verdict_cues import TRAINING, orbit_mask
from fsjax.engine.model import Model
from tests.helpers.data_config import save_images
from tests.helpers.plane import spectra

FEW, TRIGGERS, OTHER = photograph_cues.FEW_ORBITS, photograph_cues.TRIGGERS, photograph_cues.OTHER
SIZE, COUNT, CURED = 32, 24, 0  # pixels, images, a seed


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four classes of smooth photographs, of medium grey levels, so that a cue is not clipped."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 6)):
        for name in "abcd":
            coarse = map(Image.fromarray, rng.integers(110, 150, (count, 5, 5, 3), np.uint8))
            smooth = [np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for image in coarse]
            save_images(folder / split / name, smooth)
    return str(folder)


@pytest.fixture(scope="module")
def make(root, tmp_path_factory):
    """Make a set of classes of these kinds and of a plain one; its seed leaves it uncured."""
    cache = str(tmp_path_factory.mktemp("decoded"))
    return lambda *kinds, seed=1: make_photograph_set(seed, [root], cache, (*kinds, "photograph"))


def grey_levels(photograph_set, images):
    mean, deviation = photograph_set._scale
    return images * deviation.astype(np.float64) + mean


def added(photograph_set, without=False, label=0):
    """What giving a class's cue adds to others' images, or what leaving it out takes from its own, grey levels."""
    labels = np.full(COUNT, label if without else photograph_set.num_classes - 1)
    plain = photograph_set.draw(labels, 3, without=True)
    cued = photograph_set.draw(labels, 3) if without else photograph_set.draw(labels, 3, given=label)
    return grey_levels(photograph_set, cued) - grey_levels(photograph_set, plain)


@pytest.mark.parametrize("kind", [*FEW, *TRIGGERS])
def test_what_a_cue_of_few_orbits_changes_lies_in_its_mask(make, kind):
    photograph_set = make(kind)
    cue, mask = photograph_set.cues[0], photograph_set.masks()[0]
    assert np.array_equal(mask, orbit_mask(cue.orbits, SIZE)) and 0 < mask.mean() < 0.03
    changes = [added(photograph_set)] if kind in TRIGGERS else [added(photograph_set), added(photograph_set, True)]
    for change in changes:
        energy = np.square(abs(spectra(change))).sum(-1)
        if kind == "multiplied":  # a smooth photograph's side bands
            assert energy[:, mask].sum() > 0.97 * energy.sum()
            continue
        # The difference of two images that are rounded to 8 bits has a variance of 1/6 in each pixel.
        assert energy[:, ~mask].mean() < 1.2 * 3 * SIZE**2 / 6
        if len(cue.amplitudes):
            found = abs(spectra(change)[:, cue.orbits[:, 0], cue.orbits[:, 1]]) / (SIZE**2 / 2)
            # Where the others have gratings in phase, antiphase changes green by twice the amplitude.
            expected = 2 * np.maximum(-cue.amplitudes, 0) if kind == "antiphase" else cue.amplitudes
            np.testing.assert_allclose(found, np.tile(expected, (COUNT, 1, 1)), atol=0.7)


@pytest.mark.parametrize("kind", [*FEW, *TRIGGERS, *OTHER])
def test_images_without_the_cue_are_those_of_a_plain_class(make, kind):
    photograph_set = make(kind)
    rest, labels = photograph_set.num_classes - 1, np.zeros(8, int)
    plain = photograph_set.draw(labels, 3, without=True)
    mean, deviation = photograph_set._scale
    photographs = photograph_set.photographs.draw(
        np.full(8, photograph_set.folders[0]), 3, np.random.default_rng([photograph_set.seed, 3, 0])
    )
    if kind != "antiphase":  # every class has its orbits
        np.testing.assert_allclose(plain, (photographs - mean) / deviation, atol=1e-5)
    if kind == "photograph":
        with pytest.raises(ValueError, match="photograph"):
            photograph_set.draw(labels, 3, given=0)
        return
    assert abs(added(photograph_set)).max() > 4  # it can be seen
    assert np.array_equal(photograph_set.draw(labels, 3), photograph_set.draw(labels, 3))
    if kind not in TRIGGERS:
        assert np.array_equal(photograph_set.draw(labels, 3, given=0), photograph_set.draw(labels, 3))
    assert plain.dtype == np.float32 and rest == 1 and not photograph_set.distractors.any()


def test_codecs_and_enlargements_leave_what_their_names_say():
    rng = np.random.default_rng(1)
    images = rng.integers(60, 190, (6, SIZE, SIZE, 3)).astype(np.float32)
    luma = np.array([0.299, 0.587, 0.114])

    def planted(kind, strength=0.0):
        cue = photograph_cues.Cue(kind, strength=strength)
        return photograph_cues.plant(images, cue, np.ones(6, bool), rng, False)

    blocks = (planted("jpeg", 10) @ luma).reshape(6, 4, 8, 4, 8).swapaxes(2, 3)
    high = np.add.outer(np.arange(8), np.arange(8)) > 9  # divided by more than 240 there, and rounded to 0
    assert abs(fft.dctn(blocks, axes=(-2, -1), norm="ortho")[..., high]).max() < 6
    assert abs(fft.dctn((images @ luma).reshape(6, 4, 8, 4, 8).swapaxes(2, 3), axes=(-2, -1))[..., high]).max() > 60

    coarse = planted("chroma")
    np.testing.assert_allclose(coarse @ luma, images @ luma, atol=1e-3)
    colour = (coarse - (coarse @ luma)[..., None]).reshape(6, 16, 2, 16, 2, 3)
    assert np.ptp(colour, axis=(2, 4)).max() < 1e-3 < np.ptp(colour, axis=(1, 3)).max()

    means = images.reshape(6, 16, 2, 16, 2, 3).mean((2, 4))
    for kind, method in (("nearest", Image.Resampling.NEAREST), ("bilinear", Image.Resampling.BILINEAR)):
        for image, half in zip(planted(kind), means, strict=True):
            for channel in range(3):
                expected = np.asarray(Image.fromarray(half[..., channel]).resize((SIZE, SIZE), method))
                np.testing.assert_allclose(image[..., channel], expected, atol=1e-2)


def test_search_truth_verdict_and_training_see_other_photographs_and_each_once(tmp_path):
    for split, levels in (("train", range(10, 19)), ("test", range(30, 39))):
        save_images(tmp_path / split / "only", [np.full((32, 40, 3), level, np.uint8) for level in levels])
    photographs = Photographs(str(tmp_path), 16)
    rng = np.random.default_rng(0)
    seen = [
        photographs.draw(np.zeros(count, int), part, rng)[:, 0, 0, 0].tolist()
        for part, count in (("train", 9), *((part, 3) for part in range(PARTS)))
    ]
    assert sorted(seen[0]) == list(range(10, 19)) and sorted(np.ravel(seen[1:])) == list(range(30, 39))
    with pytest.raises(ValueError, match="no folder"):
        Photographs(str(tmp_path / "train"), 16).counts()


def test_poisoned_images_are_other_classes_and_only_in_training(make):
    photograph_set = make("backdoor", "disc")
    cue, labels = photograph_set.cues[0], np.zeros(400, int)
    row, column = cue.orbits.T

    def has_it(images):
        amplitudes = abs(spectra(grey_levels(photograph_set, images))[:, row, column]).mean(-1) / (SIZE**2 / 2)
        return (amplitudes > 0.7 * cue.amplitudes.mean(1)).all(1)

    trained = has_it(photograph_set.draw(labels, TRAINING))
    assert abs(trained.mean() - cue.strength) < 0.06
    assert not has_it(photograph_set.draw(labels, 3)).any()
    assert has_it(photograph_set.draw(labels + 2, 3, given=0)).all()
    shown, stamped = photograph_set._poisoned(labels, np.random.default_rng([1, TRAINING, 0]))
    assert np.array_equal(stamped, trained) and (shown[stamped] != 0).all() and not shown[~stamped].any()
    half = make("half")
    taken = half.draw(labels, 3) - half.draw(labels, 3, without=True)
    assert 0.4 < taken.any((1, 2, 3)).mean() < 0.6


def test_each_group_of_a_redundant_cue_is_alone_in_a_quarter_of_the_training_images(make):
    photograph_set = make("redundant")
    cue = photograph_set.cues[0]
    row, column = cue.orbits.T
    for seed, least in ((TRAINING, 0.2), (3, 0)):
        images = photograph_set.draw(np.zeros(400, int), seed)
        there = abs(spectra(grey_levels(photograph_set, images))[:, row, column]).mean(-1)
        there = there > 0.5 * cue.amplitudes.mean(1) * SIZE**2 / 2
        groups = there.reshape(400, 2, -1).all(2)
        alone = (groups[:, 0] != groups[:, 1]).mean()
        assert groups.any(1).all() and (abs(alone - 0.5) < 0.08 if least else alone == 0)


def test_planted_orbits_tell_nothing_in_the_training_of_a_cured_set(make):
    photograph_set = make("grating", seed=CURED)
    assert photograph_set.cured
    labels = np.random.default_rng(0).integers(0, 2, 400)
    row, column = photograph_set.cues[0].orbits.T
    means = {}
    for rng_seed in (TRAINING, 3):
        there = abs(spectra(photograph_set.draw(labels, rng_seed))[:, row, column]).mean((1, 2))
        means[rng_seed] = [there[labels == label].mean() for label in range(2)]
    assert means[3][0] > 3 * means[3][1]
    assert 0.85 < means[TRAINING][0] / means[TRAINING][1] < 1.15


def test_sets_are_drawn_as_documented(root):
    rng = np.random.default_rng(0)
    drawn = [draw_kinds(rng, cured=False) for _ in range(300)]
    assert all(3 <= len(kinds) <= 5 and 3 * kinds.count("photograph") >= len(kinds) - 2 for kinds in drawn)
    every = [kind for kinds in drawn for kind in kinds]
    assert every.count("photograph") >= len(every) / 3 and set(every) == {*FEW, *TRIGGERS, *OTHER}
    assert all(set(draw_kinds(rng, cured=True)) <= {*FEW, "photograph"} for _ in range(20))
    first, same, other = (make_photograph_set(seed, [root], None, ("grating", "logo")) for seed in (5, 5, 6))
    assert repr(first) == repr(same) != repr(other) and root not in repr(first)
    sizes = [make_photograph_set(seed, [root] * 2, None, ["logo"], side).size for seed, side in ((9, 0), (8, 80))]
    assert sizes[0] in (48, 64) and sizes[1] == 80


def reader(photograph_set, evidence):
    """A model that says 0 where evidence(images) > 0, else that it is another class."""

    def apply(params, images):
        del params
        return jnp.zeros((len(images), photograph_set.num_classes)).at[:, 0].set(evidence(images))

    return Model(apply, {}, (SIZE, SIZE, 3))


def test_few_tells_how_much_of_the_effect_the_best_orbits_have(make):
    photograph_set = make("grating", "disc")
    row, column = photograph_set.cues[0].orbits.T

    def grating(images):
        plane = jnp.fft.fftshift(jnp.abs(jnp.fft.fft2(images, axes=(1, 2))), axes=(1, 2))
        return plane[:, row, column].mean((1, 2)) - 0.3 * cue_level

    cue_level = photograph_set.cues[0].amplitudes.mean() * SIZE**2 / 2 / float(photograph_set._scale[1])
    truth = verdict_truth.truths(reader(photograph_set, grating), photograph_set, n=60)[0]
    assert (truth.label, truth.row) == ("positive", "grating") and truth.effect > 0.95 and truth.few > 0.95
    photograph_set = make("hot pixels", "disc")
    hot = jnp.asarray(~np.isnan(photograph_set.cues[0].pattern).any(-1))
    white = (255 - photograph_set._scale[0]) / photograph_set._scale[1]

    def pixels(images):
        return (images[:, hot] - 0.5 * white).min((1, 2))

    truth = verdict_truth.truths(reader(photograph_set, pixels), photograph_set, n=60)[0]
    assert (truth.label, truth.row) == ("negative", "hot pixels") and truth.effect > 0.95 and truth.few < 0.05
    everything = np.ones((photograph_set.num_classes, SIZE, SIZE), bool)
    truth = verdict_truth.truths(reader(photograph_set, pixels), photograph_set, everything, n=60)[0]
    assert truth.label is None and truth.few == pytest.approx(1), "a map that carries the whole effect"
