"""Resize, centre crop and normalisation equal torchvision's, on images with the spectra of photographs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
from torchvision.transforms.v2 import functional

from configs import common
from fsjax import data
from fsjax.data.normalisation import normalise
from fsjax.runtime.image_files import resize
from tests.helpers.data_config import data_config, save_images

# (height, width); the comments hold where the shorter side becomes 256 and 224 x 224 are cut out.
SHAPES = [
    (375, 500),  # 341: the offset of 58.5 goes down, to even
    (402, 300),  # 343: the offset of 59.5 goes up, to even
    (301, 403),  # 342.75 is rounded down
    (51, 49),  # scaled up; 256 / 49 is not a float, and 49 times the nearest one is below 256
    (256, 341),  # only cropped
    (97, 640),
    (640, 97),
    (224, 224),
]
TARGETS = [(224, 0), (224, 256), (224, 224), (32, 0), (32, 40), (33, 33), (400, 0)]  # (size, shorter)


def photograph(height, width):
    """uint8 RGB of amplitude 1/f, random phases and a standard deviation of 60, some of it clipped; channels alike."""
    generator = np.random.default_rng([height, width])
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    phases = generator.uniform(0, 1, (3, 1, 1)) + generator.uniform(0, 2 * np.pi, frequency.shape)
    noise = np.fft.irfft2(np.exp(1j * phases) / frequency, (height, width))
    return np.clip(np.rint(128 + 60 * noise / noise.std()), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def torchvision_transform(size, shorter, interpolation="bilinear"):
    """What torchvision does to a PIL image, up to the tensor."""
    resized = Resize(shorter or (size, size), InterpolationMode(interpolation))
    return Compose([resized, CenterCrop(size)] if shorter else [resized])


def difference(ours, theirs):
    """Largest difference, in grey levels; the shapes must be the same."""
    assert ours.shape == theirs.shape
    return np.abs(ours.astype(int) - theirs.astype(int)).max()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_an_image_is_torchvisions_of_the_pil_image_and_to_a_grey_level_of_the_tensor(shape):
    image = photograph(*shape)
    tensor = torch.tensor(image).permute(2, 0, 1)
    for size, shorter in TARGETS:
        expected = np.asarray(torchvision_transform(size, shorter)(Image.fromarray(image)))
        for given in (image, Image.fromarray(image)):
            assert difference(resize(given, size, shorter), expected) == 0, (size, shorter)
        resized = functional.resize(tensor, [shorter] if shorter else [size, size])
        by_tensor = functional.center_crop(resized, [size, size]).permute(1, 2, 0).numpy()
        assert difference(resize(image, size, shorter), by_tensor) <= 1, (size, shorter)


def test_an_image_of_the_models_size_stays_and_arrays_of_numpy_and_of_jax_are_normalised_alike():
    image = photograph(224, 224)
    assert difference(resize(image, 224), image) == difference(resize(image, 224, 224), image) == 0
    grey = np.random.default_rng(0).integers(0, 256, (4, 5, 7, 3), np.uint8)
    mean_std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
    found, expected = normalise(grey, *mean_std), normalise(jnp.asarray(grey), *mean_std)
    assert isinstance(found, np.ndarray) and isinstance(expected, jax.Array) and found.dtype == np.float32
    for made in (found, expected):
        np.testing.assert_allclose(made, (grey / 255 - mean_std[0]) / mean_std[1], atol=1e-6)


@pytest.mark.parametrize(("mean", "std"), [common.IMAGENET, common.IMAGENET10, common.CIFAR10])
def test_normalised_images_are_torchvisions(mean, std):
    """Every grey level in every channel, and whole images through the whole of the preprocessing."""
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=-1)
    tensors = Compose([ToTensor(), Normalize(mean, std)])
    np.testing.assert_allclose(normalise(grey, mean, std), tensors(grey).permute(1, 2, 0), rtol=0, atol=1e-6)
    images = [photograph(375, 500), photograph(51, 49)]
    ours = normalise(np.stack([resize(image, 224, 256) for image in images]), mean, std)
    whole = Compose([torchvision_transform(224, 256), tensors])
    theirs = torch.stack([whole(Image.fromarray(image)) for image in images]).permute(0, 2, 3, 1)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("shorter", "interpolation"), [(0, "bilinear"), (32, "bilinear"), (40, "bicubic")])
def test_the_config_chooses_how_images_are_resized(tmp_path, shorter, interpolation):
    image = photograph(45, 33)
    save_images(tmp_path / "test" / "a", [image])
    config = data_config("folder", root=tmp_path, image_size=32, resize_shorter=shorter, interpolation=interpolation)
    theirs = torchvision_transform(32, shorter, interpolation)(Image.fromarray(image))
    assert difference(data.load(config, "test", 0)[0], np.asarray(theirs)) == 0
