"""torchvision's AutoAugment, AugMix and RandAugment, on the host, on uint8 images; an extra, fsjax[augment].

AutoAugment (Cubuk et al. 2019) takes the policy found on CIFAR-10 for images of up to 64 pixels and the one found on
ImageNet for larger ones; AugMix (Hendrycks et al. 2020) and RandAugment (Cubuk et al. 2020) take torchvision's
defaults. They act on PIL images.
"""

import functools
import importlib.util
import os
import signal
import threading
import time
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
_PACKAGES = ("loky", "torchvision")
_IDLE_SECONDS = 60  # after which processes without work end

# (images, epochs, indices in the dataset) -> images
HostAugment = Callable[
    [UInt8[np.ndarray, "n size size 3"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]],
    UInt8[np.ndarray, "n size size 3"],
]


def make_host_augment(names: tuple[str, ...], seed: int, processes: int = 1) -> HostAugment | None:
    """Return (images, epochs, indices in the dataset) -> images, the named augmentations in order; None without a name.

    An image comes out as torchvision's transforms leave it after torch.manual_seed(torch_seed(seed, epoch, index)),
    whatever batch, thread or process it is in. The state of torch's own generator is restored.

    Args:
      names: of HOST_AUGMENTATIONS.
      seed: of the run.
      processes: that share a batch's images; with one it is this process, and its threads take turns.

    Raises:
      InputError: torchvision is not installed; from the function, a process was ended from outside.
    """
    if not names:
        return None
    check(names)
    augment = functools.partial(_augment, names, seed)
    if processes == 1:
        return augment
    import loky

    def augment_in_processes(images: np.ndarray, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
        # Unlike those of concurrent.futures, its processes do not run the caller's script, which may have no guard.
        executor = loky.get_reusable_executor(processes, timeout=_IDLE_SECONDS, initializer=_follow_parent)
        parts = np.array_split(np.arange(len(images)), min(processes, len(images)))
        try:
            shares = [executor.submit(augment, images[part], epochs[part], indices[part]) for part in parts]
            return np.concatenate([share.result() for share in shares])
        except loky.process_executor.TerminatedWorkerError as error:
            raise InputError(f"train.augment: a process of {names[0]} was ended, maybe for want of memory") from error

    return augment_in_processes


def available_cores() -> int:
    """Return how many cores this process may use, at most 32."""
    of_process = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(32, of_process)


def _augment(
    names: tuple[str, ...],
    seed: int,
    images: UInt8[np.ndarray, "n size size 3"],
    epochs: Int[np.ndarray, " n"],
    indices: Int[np.ndarray, " n"],
) -> UInt8[np.ndarray, "n size size 3"]:
    import torch

    # torch's own threads would share the cores with training, and spin.
    torch.set_num_threads(1)
    augmentations = _augmentations(names, images.shape[1])

    def augment_one(image: np.ndarray, epoch: SupportsInt, index: SupportsInt) -> np.ndarray:
        torch.default_generator.manual_seed(torch_seed(seed, epoch, index))
        picture = Image.fromarray(image)
        for augmentation in augmentations:
            picture = augmentation(picture)
        return np.asarray(picture)

    with _LOCK, torch.random.fork_rng(devices=[]):
        return np.stack([augment_one(*row) for row in zip(images, epochs, indices, strict=True)])


@functools.lru_cache(maxsize=8)
def _augmentations(names: tuple[str, ...], size: int) -> list[Callable]:
    from torchvision import transforms

    return [HOST_AUGMENTATIONS[name](transforms, size) for name in names]


def _follow_parent() -> None:
    """Let a process of loky end when its parent does, however that ends, and not before.

    A scheduler sends SIGTERM to all processes, and the one that trains ends its step first. After a SIGKILL of it the
    others would stay.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def check(names: tuple[str, ...]) -> None:
    """Raise InputError where host augmentations are asked for and what they need is not installed."""
    for package in _PACKAGES if names else ():
        if not importlib.util.find_spec(package):
            needed = f"{names[0]!r} needs {package}"
            raise InputError(f"train.augment: {needed}; install it with: pip install fsjax[augment]")


def torch_seed(seed: int, epoch: SupportsInt, index: SupportsInt) -> int:
    """Return the seed of torch's generator for an image, of 32 bits: all that it uses."""
    return int(np.random.SeedSequence([seed % 2**64, int(epoch), int(index)]).generate_state(1)[0])
