"""Augmentation against PIL and torchvision; keys that follow the image and nothing else."""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chi2_contingency, ks_2samp
from torchvision import transforms
from torchvision.transforms import RandomResizedCrop

from configs import common
from fsjax import data
from fsjax.data import augment
from fsjax.data.augment import make_augment, split_names
from fsjax.data.host_augment import make_host_augment, torch_seed
from fsjax.training import settings
from tests.helpers.data_config import data_config, smooth_images
from tests.helpers.refused import refused


def keys(count, seed=0):
    return augment.image_keys(seed, jnp.zeros(count, jnp.int32), jnp.arange(count))


def test_boxes_are_distributed_as_torchvision_draws_them():
    side, draws = 40, 4000
    boxes = np.asarray(jax.jit(jax.vmap(lambda k: augment.random_box(k, side, 0.08)))(keys(draws)))
    torch.manual_seed(0)
    blank = torch.zeros(1, side, side)
    oracle = np.array([RandomResizedCrop.get_params(blank, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(draws)])
    for ours, theirs in zip(
        (boxes[:, 2] * boxes[:, 3], boxes[:, 3] / boxes[:, 2], *boxes.T),
        (oracle[:, 2] * oracle[:, 3], oracle[:, 3] / oracle[:, 2], *oracle.T),
        strict=True,
    ):
        assert ks_2samp(ours, theirs).pvalue > 1e-3


def test_flip_gives_the_image_or_its_exact_mirror_half_the_time_each():
    images = smooth_images(1, 8).astype(np.float32).repeat(2000, 0)
    out = np.asarray(jax.jit(augment.make_augment("flip"))(keys(2000), images))
    same, mirrored = (out == images).all((1, 2, 3)), (out == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(2000)


def test_crop_takes_every_offset_of_the_zero_padded_image_equally_often():
    pad, count = 1, 3000
    image = np.arange(1, 5 * 5 * 3 + 1, dtype=np.float32).reshape(5, 5, 3)
    out = np.asarray(jax.jit(augment.make_augment("crop", pad=pad))(keys(count), image[None].repeat(count, 0)))
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    windows = [padded[i : i + 5, j : j + 5] for i in range(3) for j in range(3)]
    hits = np.array([[(window == o).all() for window in windows] for o in out])
    assert (hits.sum(1) == 1).all()
    assert chi2_contingency([hits.sum(0), np.full(9, count // 9)]).pvalue > 1e-3


def test_resized_crop_is_its_own_box_of_the_padded_image():
    images = smooth_images(16, 32).astype(np.float32)
    out = np.asarray(jax.jit(augment.make_augment("resized_crop", pad=4, min_scale=0.2))(keys(16), images))
    box_keys = jax.vmap(lambda k: jax.random.fold_in(k, 0))(keys(16))
    boxes = np.asarray(jax.jit(jax.vmap(lambda k: augment.random_box(k, 40, 0.2)))(box_keys))
    for ours, image, (top, left, height, width) in zip(out, images, boxes, strict=True):
        padded = Image.fromarray(np.pad(image.astype(np.uint8), ((4, 4), (4, 4), (0, 0))))
        oracle = padded.crop((left, top, left + width, top + height)).resize((32, 32), Image.Resampling.BILINEAR)
        assert np.abs(ours - np.asarray(oracle, float)).max() <= 1.01


def test_an_image_is_augmented_alike_in_any_batch_and_differently_in_another_epoch_or_seed():
    images = smooth_images(12, 16).astype(np.float32)
    run = jax.jit(augment.make_augment("flip,resized_crop,crop", pad=2))

    def of(indices, epoch=0, seed=3):
        indices = np.array(indices)
        keys = augment.image_keys(seed, jnp.full(len(indices), epoch), jnp.array(indices))
        return np.asarray(run(keys, images[indices]))

    whole = of(range(12))
    np.testing.assert_allclose(of([7, 2, 11]), whole[[7, 2, 11]], atol=1e-3)
    np.testing.assert_allclose(np.concatenate([of([i]) for i in range(12)]), whole, atol=1e-3)
    for other in (of(range(12), epoch=1), of(range(12), seed=4)):
        assert (np.abs(other - whole).reshape(12, -1).max(1) > 1).mean() > 0.9
    data = jax.random.key_data(augment.image_keys(3, jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 0, 1])))
    assert len(np.unique(data, axis=0)) == 4


def test_augmentations_are_applied_in_the_order_named():
    image = jnp.asarray(smooth_images(1, 8), jnp.float32)
    one = jax.random.split(jax.random.key(5), 1)
    first, second = (jax.random.fold_in(one[0], place) for place in range(2))
    by_hand = augment.flip(second, augment.crop(first, image[0], pad=2))
    np.testing.assert_array_equal(augment.make_augment("crop, flip", pad=2)(one, image)[0], by_hand)
    np.testing.assert_array_equal(augment.make_augment("")(one, image), image)
    refused("train.augment: got 'spin'; expected flip, crop, resized_crop", augment.make_augment, "flip,spin")


# On the host


def by_hand(made, images, seed, epochs, indices):
    out = []
    for image, epoch, index in zip(images, epochs, indices, strict=True):
        torch.manual_seed(torch_seed(seed, epoch, index))
        out.append(np.asarray(made(Image.fromarray(image))))
    return np.stack(out)


@pytest.mark.parametrize(
    ("names", "size", "made"),
    [
        (("autoaugment",), 64, transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)),
        (("autoaugment",), 65, transforms.AutoAugment(transforms.AutoAugmentPolicy.IMAGENET)),
        (("augmix",), 32, transforms.AugMix()),
        (("randaugment",), 32, transforms.RandAugment()),
        (("randaugment", "augmix"), 16, transforms.Compose([transforms.RandAugment(), transforms.AugMix()])),
    ],
)
def test_an_image_is_what_torchvision_makes_of_it_from_its_seed(names, size, made):
    images, epochs, indices = smooth_images(24, size), np.arange(24) // 12, np.arange(24) * 7
    expected = by_hand(made, images, 3, epochs, indices)
    augment = make_host_augment(names, 3)
    before = torch.get_rng_state()
    out = augment(images, epochs, indices)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, expected)
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator goes on where it was"
    assert (out != images).any((1, 2, 3)).mean() > 0.5
    np.testing.assert_array_equal(augment(images[[5, 2]], epochs[[5, 2]], indices[[5, 2]]), expected[[5, 2]])


def test_an_image_of_a_batch_is_augmented_by_its_epoch_and_index():
    config = data_config("synthetic", image_size=24, synthetic={"train_per_class": 10, "test_per_class": 2})
    images, augment = data.load(config, "train", 0), make_host_augment(("augmix",), 5)
    batch = next(iter(data.batches(images, batch_size=16, seed=5, start_step=2, num_steps=1, augment=augment)))
    expected = by_hand(transforms.AugMix(), images.images(batch["index"]), 5, batch["epoch"], batch["index"])
    np.testing.assert_array_equal(batch["image"], expected)


def test_threads_do_not_draw_from_each_others_generator():
    images, epochs, indices = smooth_images(60, 16), np.zeros(60, int), np.arange(60)
    augment = make_host_augment(("autoaugment",), 0)
    alone = augment(images, epochs, indices)

    def run(thread):
        return [augment(images[i : i + 3], epochs[i : i + 3], indices[i : i + 3]) for i in range(0, 60, 3)]

    with ThreadPoolExecutor(4) as pool:
        for parts in pool.map(run, range(4)):
            np.testing.assert_array_equal(np.concatenate(parts), alone)


def test_processes_that_share_a_batch_make_the_same_images():
    images, epochs, indices = smooth_images(7, 32), np.arange(7) % 2, np.arange(7) * 5
    augment = make_host_augment(("randaugment", "augmix"), 4, processes=2)
    made = transforms.Compose([transforms.RandAugment(), transforms.AugMix()])
    expected = by_hand(made, images, 4, epochs, indices)
    for count in (7, 1):
        np.testing.assert_array_equal(augment(images[:count], epochs[:count], indices[:count]), expected[:count])


def test_names_of_the_host_come_first_and_each_of_seed_epoch_and_image_changes_the_draws():
    assert split_names(" autoaugment, augmix,flip,crop") == (("autoaugment", "augmix"), ("flip", "crop"))
    assert make_host_augment((), 0) is None
    for names in ("flip,augmix", "augmix,crop,randaugment"):
        refused(r"^train\.augment: got '.*'; expected autoaugment, .* before flip, crop", make_augment, names)
    assert len({torch_seed(*key) for key in itertools.product(range(5), repeat=3)}) == 125


def test_without_torchvision_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    config = common.base()
    config.train.augment, config.train.steps = "augmix,flip", 1
    refused("^torchvision: got no such package; expected the extra augment: pip install", settings.check, config)
    config.train.augment = "flip"
    settings.check(config)
