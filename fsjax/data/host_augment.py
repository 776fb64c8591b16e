"""torchvision's AutoAugment, AugMix and RandAugment, on the host, on uint8 images; an extra, fsjax[augment].

AutoAugment (Cubuk et al. 2019) takes the policy found on CIFAR-10 for images of up to 64 pixels and the one found on
ImageNet for larger ones; AugMix (Hendrycks et al. 2020) and RandAugment (Cubuk et al. 2020) take torchvision's
defaults. They act on PIL images.
"""

import contextlib
import functools
import importlib.util
import math
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, SupportsInt

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

# torch has one generator a process, and several threads read batches. They also share the processes that augment.
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
      processes: that share a batch's images, at most `most_processes()`; 1 = this one, whose threads take turns.

    Raises:
      InputError: torchvision is not installed; from the function, a process was ended from outside.
    """
    if not names:
        return None
    check(names)
    if processes == 1:
        return functools.partial(_augment, names, seed)
    import loky

    def augment(images: np.ndarray, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
        parts = np.array_split(np.arange(len(images)), min(processes, len(images)))
        try:
            with _shared_copy(images) as (shared, path):
                submit = functools.partial(_submit, processes, _augment_part, names, seed, path, images.shape)
                for share in [submit(part[0], epochs[part], indices[part]) for part in parts]:
                    share.result()
                return shared
        except loky.process_executor.TerminatedWorkerError as error:
            _executor.cache_clear()
            raise InputError(f"train.augment: a process of {names[0]} was ended, maybe for want of memory") from error

    return augment


def _submit(processes: int, function: Callable, *arguments: Any) -> Any:
    """Return the future of a call in one of so many processes."""
    with _LOCK:  # two threads would start them twice
        return _executor(processes).submit(function, *arguments)


@functools.lru_cache(maxsize=1)
def _executor(processes: int) -> Any:
    """Unlike those of concurrent.futures, loky's processes do not run the caller's script, which may have no guard."""
    import loky

    return loky.ProcessPoolExecutor(processes, timeout=_IDLE_SECONDS, initializer=_follow_parent)


@contextlib.contextmanager
def _shared_copy(images: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    """Copy images into memory that other processes open by the path: sending large ones costs as much as AutoAugment.

    It has no name that could outlive a kill. After the context the path is gone, and the copy stays.
    """
    file = os.memfd_create("fsjax-augment")
    try:
        os.ftruncate(file, images.nbytes)
        shared = np.frombuffer(mmap.mmap(file, images.nbytes), np.uint8).reshape(images.shape)
        shared[:] = images
        yield shared, f"/proc/{os.getpid()}/fd/{file}"
    finally:
        os.close(file)


def _augment_part(
    names: tuple[str, ...],
    seed: int,
    path: str,
    shape: tuple[int, ...],
    first: int,
    epochs: np.ndarray,
    indices: np.ndarray,
) -> None:
    part = len(epochs), *shape[1:]
    shared = np.memmap(path, np.uint8, "r+", int(first) * math.prod(shape[1:]), part)
    shared[:] = _augment(names, seed, np.asarray(shared), epochs, indices)


def most_processes() -> int:
    """Return how many processes can share a batch: one for each core, at most 32; one where there is no Linux."""
    return min(32, len(os.sched_getaffinity(0))) if hasattr(os, "memfd_create") else 1


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
