"""Corruptions against closed forms in NumPy, their order of severity, and their draws."""

import io

import numpy as np
import pytest
from PIL import Image

from fsjax.data.dataset import ArrayDataset
from fsjax.data.noise import coloured_noise, noise_amplitude
from fsjax.evaluation.ood import corruptions
from fsjax.evaluation.ood.corruptions import CORRUPTIONS, SEVERITIES
from tests.helpers.refused import refused

SIZE = 32


def natural(count, seed=0):
    """Grey levels of 1/f noise."""
    rng = np.random.default_rng(seed)
    images = coloured_noise(rng, np.broadcast_to(noise_amplitude(SIZE), (count, SIZE, SIZE)))
    return np.rint(np.clip(128 + 45 * images, 0, 255))


def corrupted(name, levels, severity=2, seed=0):
    return CORRUPTIONS[name](levels, severity, np.random.default_rng(seed))


def test_contrast_shrinks_about_the_mean_and_noise_has_its_deviation_independently_in_every_channel():
    levels = natural(1)[0]
    made = corrupted("contrast", levels, 1)
    np.testing.assert_allclose(made.mean((0, 1)), levels.mean((0, 1)))
    np.testing.assert_allclose(made.std((0, 1)), 0.5 * levels.std((0, 1)))
    added = corrupted("noise", np.full((256, 256, 3), 128.0), 1) - 128
    np.testing.assert_allclose(added.std((0, 1)), 0.08 * 255, rtol=0.02)
    assert np.abs(np.corrcoef(added.reshape(-1, 3).T) - np.eye(3)).max() < 0.02


@pytest.mark.parametrize("size", [32, 48])
def test_blur_is_a_convolution_of_a_mirrored_image_as_wide_as_the_image_asks(size):
    rng = np.random.default_rng(0)
    levels = rng.uniform(0, 255, (size, size, 3))
    width = 0.9 * size / 32
    reach = int(4 * width + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    kernel /= kernel.sum()
    expected = np.pad(levels, [(reach, reach), (reach, reach), (0, 0)], mode="symmetric")
    for axis in (0, 1):
        expected = np.apply_along_axis(np.convolve, axis, expected, kernel, "valid")
    np.testing.assert_allclose(corrupted("blur", levels), expected, atol=1e-9)


def test_jpeg_is_a_file_of_that_quality_and_fog_one_bright_field_in_all_channels():
    levels = natural(1)[0]
    file = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(file, "JPEG", quality=25)
    np.testing.assert_array_equal(corrupted("jpeg", levels), np.asarray(Image.open(file)))
    field = (corrupted("fog", levels, 2) - 0.5 * levels) / (255 * 0.5)
    np.testing.assert_allclose(field, np.broadcast_to(field[..., :1], field.shape))
    assert field.mean() == pytest.approx(0.8) and 0.05 < field.std() < 0.15


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_changes_more(name):
    images = natural(8)
    apart = [
        np.mean([(corrupted(name, levels, severity, seed) - levels) ** 2 for seed, levels in enumerate(images)])
        for severity in range(len(SEVERITIES))
    ]
    assert (np.diff(apart) > 0).all() and apart[0] > 0


def test_an_images_draws_depend_on_its_number_the_corruption_the_severity_and_the_seed_alone():
    dataset = ArrayDataset(natural(6), np.arange(6) % 2, ("a", "b"))
    numbers = np.arange(6) + 40

    def images(rows, *, name="noise", severity=2, seed=3):
        rows = np.array(rows)
        made = corruptions.corrupted(dataset.subset(rows), numbers[rows], name, severity, seed)
        return made.images(np.arange(len(rows)))

    whole = images(range(6))
    assert whole.dtype == np.uint8 and whole.shape == (6, SIZE, SIZE, 3)
    np.testing.assert_array_equal(images([4, 1]), whole[[4, 1]])
    for other in ({"severity": 3}, {"seed": 4}, {"name": "fog"}):
        assert not np.array_equal(images(range(6), **other), whole)
    residuals = (whole - natural(6)).reshape(6, -1)
    assert np.abs(np.corrcoef(residuals) - np.eye(6)).max() < 0.2


def test_names_are_read_and_others_are_refused():
    assert corruptions.parse("all") == tuple(CORRUPTIONS) and corruptions.parse("") == ()
    assert corruptions.parse("jpeg, fog") == ("jpeg", "fog")
    for names, said in (("mist", "got 'mist'; expected "), ("fog,fog", "got 'fog,fog'; expected each corruption once")):
        refused(rf"^ood\.corruptions: {said}", corruptions.parse, names)
