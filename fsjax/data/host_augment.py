"""torchvision's AutoAugment, AugMix and RandAugment, on the host, on uint8 images; an extra, fsjax[augment].

AutoAugment (Cubuk et al. 2019) takes the policy found on CIFAR-10 for images of up to 64 pixels and the one found on
ImageNet for larger ones; AugMix (Hendrycks et al. 2020) and RandAugment (Cubuk et al. 2020) take torchvision's
defaults. They act on PIL images.
"""

import importlib.util
import threading
from collections.abc import Callable
from typing import SupportsInt

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from fsjax.runtime.errors import InputError

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


# (images, epochs, indices in the dataset) -> images
HostAugment = Callable[
    [UInt8[np.ndarray, "n size size 3"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]],
    UInt8[np.ndarray, "n size size 3"],
]


def make_host_augment(names: tuple[str, ...], seed: int, size: int) -> HostAugment | None:
    """Return (images, epochs, indices in the dataset) -> images, the named augmentations in order; None without a name.

    An image comes out as torchvision's transforms leave it after torch.manual_seed(torch_seed(seed, epoch, index)),
    whatever batch, thread or process it is in. The state of torch's own generator is restored.
    Raises InputError where torchvision is not installed.
    """
    if not names:
        return None
    check(names)
    import torch
    from torchvision import transforms

    # Images go through in the readers' threads; torch's own would share the cores with training, and spin.
    torch.set_num_threads(1)
    made = [HOST_AUGMENTATIONS[name](transforms, size) for name in names]

    def augment_one(image: np.ndarray, epoch: SupportsInt, index: SupportsInt) -> np.ndarray:
        torch.default_generator.manual_seed(torch_seed(seed, epoch, index))
        picture = Image.fromarray(image)
        for transform in made:
            picture = transform(picture)
        return np.asarray(picture)

    def augment(images: np.ndarray, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
        with _LOCK, torch.random.fork_rng(devices=[]):
            return np.stack([augment_one(*row) for row in zip(images, epochs, indices, strict=True)])

    return augment


def check(names: tuple[str, ...]) -> None:
    """Raise InputError where host augmentations are asked for and torchvision is not installed."""
    if names and not importlib.util.find_spec("torchvision"):
        raise InputError(f"train.augment: {names[0]!r} needs torchvision; install it with: pip install fsjax[augment]")


def torch_seed(seed: int, epoch: SupportsInt, index: SupportsInt) -> int:
    """Return the seed of torch's generator for an image, of 32 bits: all that it uses."""
    return int(np.random.SeedSequence([seed % 2**64, int(epoch), int(index)]).generate_state(1)[0])
