"""The published searches in PyTorch and NumPy, written from their descriptions: a reference for results and timing.

`search` is the removal search of Wang et al., ICCV 2023: every mask in turn, whole batches, transforms on the host in
complex64. `eliminate` is DFM-X's greedy elimination.
"""

from collections.abc import Iterable

import numpy as np
import torch

Batch = tuple[torch.Tensor, torch.Tensor]


def batches(images: np.ndarray, labels: np.ndarray, size: int = 100) -> list[Batch]:
    """Return images [n, H, W, C] and labels as batches in the given order, like the published loader."""
    tensors = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), torch.from_numpy(labels).long()
    return list(zip(*(tensor.split(size) for tensor in tensors), strict=True))


def search(model: torch.nn.Module, data: list[Batch], classes: int, patch: int) -> np.ndarray:
    """Return the stored losses of every class, [classes, S, S] float32 on the centred plane."""
    size = data[0][0].shape[-1]
    maps = torch.zeros(classes, size, size)
    for label in range(classes):
        for row in range(size // patch):
            for column in range(size // (2 * patch) + 1):
                loss = loss_without(model, data, label, patch, row, column)
                for rows, columns in blocks(size, patch, row, column):
                    maps[label, rows, columns] = loss
    return maps.numpy()


def blocks(size: int, patch: int, row: int, column: int) -> Iterable[tuple[slice, slice]]:
    """Yield the block at (row, column) of the grid and, if both are above 0, its mirror block."""
    yield slice(patch * row, patch * row + patch), slice(patch * column, patch * column + patch)
    if row and column:
        yield (
            slice(size - patch * row, size - patch * (row - 1)),
            slice(size - patch * column, size - patch * (column - 1)),
        )


@torch.no_grad()
def loss_without(
    model: torch.nn.Module, data: list[Batch], label: int, patch: int, row: int, column: int
) -> torch.Tensor:
    """Return the loss of a class without one block, summed over the batches that hold an image of the class."""
    total = torch.zeros(())
    for images, labels in data:
        if not (labels == label).any():
            continue
        spectrum = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1))
        for rows, columns in blocks(images.shape[-1], patch, row, column):
            spectrum[..., rows, columns] = 0
        logits = model(torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real)
        others = labels != label
        logits[others] = 0
        total += torch.nn.functional.cross_entropy(logits, labels.masked_fill(others, 0))
    return total


def at_threshold(losses: np.ndarray, share: float) -> np.ndarray:
    """Return the published map: 1 where the loss is at least the int(share * S * S)-th largest."""
    rank = int(share * losses.size)
    return (losses >= np.sort(losses.ravel())[::-1][rank - 1]).astype(np.float32)


def eliminate(model: torch.nn.Module, data: list[Batch], classes: int, order: np.ndarray, tolerance: int) -> np.ndarray:
    """Return DFM-X's map of every class, [classes, H, W] of 0 and 1 on the centred plane.

    Wang et al., ICCVW 2023: positions with the same value of the removal order are removed together, the largest value
    first; transforms on the host in complex128.

    Args:
      model: in evaluation mode.
      data: batches of images [n, C, H, W] and labels, of all classes.
      classes: their number.
      order: larger = earlier, 0 = always removed, [H, W].
      tolerance: correct images that one step may cost a class.
    """
    return np.stack([_eliminate_class(model, data, label, order, tolerance) for label in range(classes)])


def _eliminate_class(
    model: torch.nn.Module, data: list[Batch], label: int, order: np.ndarray, tolerance: int
) -> np.ndarray:
    """Return one class's map."""
    current = _correct(model, data, label, np.ones(order.shape))  # before even the positions of 0 are removed
    waiting, left = order.copy(), order.copy()
    while waiting.any():
        turn = waiting.max()
        found = _correct(model, data, label, ((left > 0) & (left != turn)).astype(float))
        if found >= current - tolerance:
            current = found
            left[left == turn] = 0
        waiting[waiting == turn] = 0
    return (left > 0).astype(float)


@torch.no_grad()
def _correct(model: torch.nn.Module, data: list[Batch], label: int, mask: np.ndarray) -> int:
    """Return how many images of a class are predicted correctly under a mask."""
    total = 0
    for images, labels in data:
        if not (labels == label).any():
            continue
        spectrum = np.fft.fftshift(np.fft.fft2(images.numpy().astype(np.float64)), axes=(-2, -1)) * mask
        filtered = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1))).real
        predicted = model(torch.from_numpy(filtered.astype(np.float32))).argmax(1)
        total += int(((predicted == label) & (labels == label)).sum())
    return total
