"""torchvision's AutoAugment, AugMix and RandAugment, on the host, on uint8 images; an extra, fsjax[augment].

AutoAugment (Cubuk et al. 2019) uses the CIFAR-10 policy for images of up to 64 pixels and the ImageNet policy for
larger images. AugMix (Hendrycks et al. 2020) and RandAugment (Cubuk et al. 2020) use torchvision's defaults.
"""

import functools
import threading
from collections.abc import Callable
from typing import SupportsInt

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from fsjax.runtime import workers
from fsjax.runtime.random_streams import Stream, seed_sequence

_SMALL = 64  # pixels: up to here images are like CIFAR-10's

# name -> (torchvision.transforms, size of the images) -> transform of a PIL image
HOST_AUGMENTATIONS: dict[str, Callable] = {
    "autoaugment": lambda transforms, size: transforms.AutoAugment(
        transforms.AutoAugmentPolicy.CIFAR10 if size <= _SMALL else transforms.AutoAugmentPolicy.IMAGENET
    ),
    "augmix": lambda transforms, size: transforms.AugMix(),
    "randaugment": lambda transforms, size: transforms.RandAugment(),
}

# torch has one generator a process, and several threads read batches.
_LOCK = threading.Lock()

Images = UInt8[np.ndarray, "n size size 3"]
Rows = Int[np.ndarray, " n"]
HostAugment = Callable[[Images, Rows, Rows], Images]  # (images, epochs, indices in the dataset) -> images


def make_host_augment(names: tuple[str, ...], seed: int, processes: int = 1) -> HostAugment | None:
    """Return a function that applies the named augmentations in order; None without a name.

    An image equals torchvision's transforms of it after torch.manual_seed(torch_seed(seed, epoch, index)), in any
    batch, thread or process. The state of torch's generator is restored. processes: number of processes that share a
    batch; 1 = this process, whose threads take turns. The function raises InputError where a process was killed.
    """
    if not names:
        return None
    if processes == 1:
        return functools.partial(_augment, names, seed)

    def augment(images: np.ndarray, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
        count = min(processes, len(images))
        parts = zip(*(np.array_split(rows, count) for rows in (images, epochs, indices)), strict=True)
        calls = [(names, seed, *part) for part in parts]
        return np.concatenate(workers.call(processes, f"train.augment: a process of {names[0]}", _augment, calls))

    return augment


def _augment(names: tuple[str, ...], seed: int, images: Images, epochs: Rows, indices: Rows) -> Images:
    import torch
    from torchvision import transforms

    # torch's threads would spin on the cores of the training.
    torch.set_num_threads(1)
    augmentations = [HOST_AUGMENTATIONS[name](transforms, images.shape[1]) for name in names]

    def augment_one(image: np.ndarray, epoch: SupportsInt, index: SupportsInt) -> np.ndarray:
        torch.default_generator.manual_seed(torch_seed(seed, epoch, index))
        picture = Image.fromarray(image)
        for augmentation in augmentations:
            picture = augmentation(picture)
        return np.asarray(picture)

    with _LOCK, torch.random.fork_rng(devices=[]):
        return np.stack([augment_one(*row) for row in zip(images, epochs, indices, strict=True)])


def torch_seed(seed: int, epoch: SupportsInt, index: SupportsInt) -> int:
    """Return the 32-bit seed of torch's generator for an image."""
    return int(seed_sequence(seed, Stream.HOST_AUGMENTATION, int(epoch), int(index)).generate_state(1)[0])
