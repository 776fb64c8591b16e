"""The published greedy elimination in PyTorch and NumPy, written from its description, as a reference for results.

Wang et al., ICCVW 2023 (DFM-X): positions of one value of the removal order go together, the largest value first;
transforms on the host in complex128.
"""

import numpy as np
import torch

from benchmarks.parity.published import Batch


def search(model: torch.nn.Module, data: list[Batch], classes: int, order: np.ndarray, tolerance: int) -> np.ndarray:
    """Return the map of every class, [classes, H, W] of 0 and 1 on the centred plane.

    Args:
      model: in evaluation mode.
      data: batches of images [n, C, H, W] and labels, of all classes.
      classes: their number.
      order: larger = earlier, 0 = always removed, [H, W].
      tolerance: images that one step may cost a class.
    """
    return np.stack([map_of_class(model, data, label, order, tolerance) for label in range(classes)])


def map_of_class(
    model: torch.nn.Module, data: list[Batch], label: int, order: np.ndarray, tolerance: int
) -> np.ndarray:
    """Return one class's map."""
    current = correct(model, data, label, np.ones(order.shape))  # before even the positions of 0 are removed
    waiting, left = order.copy(), order.copy()
    while waiting.any():
        turn = waiting.max()
        found = correct(model, data, label, ((left > 0) & (left != turn)).astype(float))
        if found >= current - tolerance:
            current = found
            left[left == turn] = 0
        waiting[waiting == turn] = 0
    return (left > 0).astype(float)


@torch.no_grad()
def correct(model: torch.nn.Module, data: list[Batch], label: int, mask: np.ndarray) -> int:
    """Return how many images of a class are called it under a mask."""
    total = 0
    for images, labels in data:
        if not (labels == label).any():
            continue
        spectrum = np.fft.fftshift(np.fft.fft2(images.numpy().astype(np.float64)), axes=(-2, -1)) * mask
        filtered = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1))).real
        predicted = model(torch.from_numpy(filtered.astype(np.float32))).argmax(1)
        total += int(((predicted == label) & (labels == label)).sum())
    return total
