"""torchvision's augmentations on the host: as torchvision called by hand, and the same whoever calls them when."""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from configs import common
from fsjax import data
from fsjax.data.augment import make_augment, split_names
from fsjax.data.host_augment import make_host_augment, torch_seed
from fsjax.training import settings
from tests.helpers.data_config import data_config, smooth_images
from tests.helpers.refused import refused


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


def test_batches_are_the_same_in_one_and_two_processes_and_from_any_step():
    config = data_config("synthetic", image_size=24, synthetic={"train_per_class": 10, "test_per_class": 2})
    images, augment = data.load(config, "train", 0), make_host_augment(("augmix",), 5)

    def images_of(start, steps, process=0, processes=1):
        options = {"process_index": process, "process_count": processes, "augment": augment}
        stream = data.batches(images, batch_size=16, seed=5, start_step=start, num_steps=steps, **options)
        return np.stack([batch["image"] for batch in stream])

    whole = images_of(0, 5)
    halves = [images_of(0, 5, process, 2) for process in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), whole)
    np.testing.assert_array_equal(images_of(3, 2), whole[3:])
    batch = next(iter(data.batches(images, batch_size=16, seed=5, num_steps=1, augment=augment)))
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
