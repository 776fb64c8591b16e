"""Sets of the mitigation benchmark: the cue of the class in each split, in NumPy."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.planted.mitigation_sets import TEST, TRAIN, VALIDATE, BiasedSet
from benchmarks.planted.mitigation_shortcuts import KINDS, Shortcut
from fsjax.data import synthetic
from tests.helpers.data_config import save_images
from tests.helpers.plane import spectra


def amplitudes(images, places):
    """|F x| at places of the centred plane, mean over channels, in standard deviations of the noise."""
    return np.abs(spectra(images)[:, places[:, 0], places[:, 1]]).mean(-1)


def told(data, images):
    """The class whose planted orbits are strongest in each image, or for `absence` weakest."""
    groups = [np.concatenate([group for group, _ in of_class]) for of_class in data.shortcut.orbits]
    sums = [amplitudes(images, group).mean(1) for group in groups]
    return np.argmin(sums, axis=0) if data.kind == "absence" else np.argmax(sums, axis=0)


@pytest.mark.parametrize("kind", ["low", "tiers", "absence"])
def test_the_planted_orbits_are_of_the_own_class_of_none_or_of_another(kind):
    data = BiasedSet(kind, 32, 5)
    limits = {"own": (0.85, 1.0), "conflicting": (0.0, 0.05), "any": (0.1, 0.45), "absent": (0.1, 0.45)}
    for shown, (low, high) in limits.items():
        images, labels = data.draw(25, shown, 0)
        assert np.bincount(labels).tolist() == [25] * 4
        assert low <= (told(data, images) == labels).mean() <= high, shown


def test_triads_tell_the_class_by_their_phases_alone():
    data = BiasedSet("phase", 32, 5)
    images, labels = data.draw(25, "own", 0)
    plane, triads = spectra(images).mean(-1), data.shortcut.triads
    first, second, both = (plane[:, triads[:, place, 0], triads[:, place, 1]] for place in range(3))
    angles = np.angle((both * np.conj(first * second)).sum(1))
    found = np.rint(angles / (2 * np.pi / 4)) % 4
    assert (found == labels).mean() > 0.85
    strengths = amplitudes(images, data.shortcut.triads.reshape(-1, 2)).mean(1)
    assert np.ptp([strengths[labels == label].mean() for label in range(4)]) < 0.2 * strengths.mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_depends_on_its_seed_alone_and_splits_differ(kind):
    data, again, other = BiasedSet(kind, 32, 1), BiasedSet(kind, 32, 1), BiasedSet(kind, 32, 2)
    images = data.draw(2, "own", 0)[0]
    np.testing.assert_array_equal(images, again.draw(2, "own", 0)[0])
    for differs in (data.draw(2, "own", 1)[0], other.draw(2, "own", 0)[0]):
        assert not np.array_equal(images, differs)
    planted = {"high": 32, "low": 32, "tiers": 48, "phase": 12, "some": 16, "texture": 72, "absence": 32}
    assert data.shortcut.planted.sum() == planted.get(kind, 0)
    assert len(set(data.draw(1, "absent", 0)[1])) == 4


def test_an_orbit_of_a_texture_is_weak_in_many_images_and_its_blocks_do_not_meet():
    data = BiasedSet("texture", 32, 5)
    images, labels = data.draw(100, "own", 0)
    assert (told(data, images) == labels).mean() > 0.85
    block = data.shortcut.orbits[0][0][0]
    found = amplitudes(images[labels == 0], block) / 32**2
    ordered = np.sort(found / np.median(found, axis=0), axis=0)
    assert (ordered[9] < 0.6).all() and (ordered[-10] > 1.6).all()  # deciles of a Rayleigh: .39 and 1.82 of the median
    with pytest.raises(ValueError, match="30 classes do not fit"):
        Shortcut("texture", 32, 0, 30).orbits  # noqa: B018 - it is drawn when it is asked for


def test_several_shapes_make_a_class_each_in_a_channel_of_its_own():
    data = BiasedSet("some", 64, 0, shapes=3)
    assert len(data.classes) == 64 and data.classes[27] == "cross-diagonal-square"
    images, labels = data.draw(1, "absent", TRAIN)
    shapes = [synthetic.class_shape(label, 64) for label in range(4)]
    kernels = np.stack([np.pad(one, (0, 64 - len(one))) for one in shapes])
    kernels /= np.sqrt((kernels**2).sum((1, 2), keepdims=True))
    planes = np.fft.fft2(images.astype(float).transpose(0, 3, 1, 2) - 127)
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64)] * 2))
    # Whitened, so that the noise's low frequencies do not decide.
    match = np.fft.ifft2(planes[:, :, None] * np.conj(np.fft.fft2(kernels)) * radius).real
    found = np.abs(match).max((-1, -2)).argmax(-1)
    np.testing.assert_array_equal(found, np.stack(np.unravel_index(labels, (4, 4, 4)), -1))
    assert sum(map(bool, data.shortcut.orbits)) == 32


def test_real_images_carry_the_shortcut_of_a_strength_and_no_split_repeats_another(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 4)):
        for name in ("cat", "dog", "eel"):
            save_images(tmp_path / split / name, rng.integers(80, 170, (count, 32, 32, 3), np.uint8))
    plain, loud = (BiasedSet("high", 32, 0, str(tmp_path), strength) for strength in (0.0, 2.0))
    drawn = [plain.draw(100, "own", stream) for stream in (TRAIN, VALIDATE, TEST)]
    assert [np.bincount(labels).tolist() for _, labels in drawn] == [[8] * 3, [2] * 3, [4] * 3]
    every = np.concatenate([images for images, _ in drawn])
    assert len(np.unique(every.reshape(len(every), -1), axis=0)) == 42
    there = {image.tobytes() for image in (np.asarray(Image.open(file)) for file in tmp_path.rglob("*.png"))}
    assert there == {image.tobytes() for image in every}

    images, labels = loud.draw(100, "own", TRAIN)
    power = (np.abs(spectra(images.astype(float) - drawn[0][0])) ** 2).sum(-1)
    for label, of_class in enumerate(loud.shortcut.orbits):
        places = np.zeros((32, 32), bool)
        places[tuple(np.concatenate([group for group, _ in of_class]).T)] = True
        places |= np.roll(places[::-1, ::-1], 1, (0, 1))
        total, at_orbits = power[labels == label].sum((1, 2)), power[labels == label][:, places].sum(-1)
        assert (total > 0).sum() >= 7  # 3 % show none
        assert (at_orbits >= 0.95 * total).all()
    assert loud.classes == ("cat", "dog", "eel")


def test_silhouettes_in_channels_make_the_classes_and_the_red_one_tells_the_gratings():
    data = BiasedSet("some", 32, 0, silhouettes=(8, 8))
    assert len(data.classes) == 64 and data.classes[27] == "03-03"
    thousand = BiasedSet("high", 32, 0, silhouettes=(10, 10, 10))
    assert len(thousand.classes) == 1000 and thousand.sharing == 100 and len(thousand.shortcut.orbits) == 10
    images, labels = data.draw(10, "absent", TRAIN)
    red, blue = np.divmod(labels, 8)
    differences = images - images.mean(0)

    def told(channel, numbers):
        """The share of silhouettes whose mean images in two halves of the set are alike in a channel."""
        halves = [
            np.stack([differences[numbers == one][part::2, ..., channel].mean(0).ravel() for one in range(8)])
            for part in (0, 1)
        ]
        return (np.corrcoef(*halves)[:8, 8:].argmax(1) == np.arange(8)).mean()

    assert told(0, red) == told(2, blue) == 1
    assert max(told(1, red), told(1, blue), told(0, blue), told(2, red)) < 0.5
    shortcuts, labels = data.draw(3, "own", TRAIN)
    assert [bool(of_red) for of_red in data.shortcut.orbits] == 4 * [True] + 4 * [False]
    sums = [amplitudes(shortcuts, group).mean(1) for of_red in data.shortcut.orbits for group, _ in of_red]
    shown = labels < 32
    assert (np.argmax(sums, axis=0) == labels // 8)[shown].mean() > 0.85
