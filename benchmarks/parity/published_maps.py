"""Compare the maps of an imported model with maps by the published procedure in PyTorch, on the same weights.

  python benchmarks/parity/published_maps.py --weights=runs/cifar10/export/resnet20.pt --root=DIR  # DIR/test/<class>/
  python benchmarks/parity/published_maps.py --weights=FILE --model=resnet18_cifar --root=DIR --patches=2 --images=50
  python benchmarks/parity/published_maps.py --weights=FILE --root=DIR --order=removal_order.pkl --tolerance=6

PyTorch loads the state dict strictly; ours reads the same file. Both search the same images in class order, ours with
`removal` with compat. Prints one JSON object a patch size: the largest difference of a loss, in units of the tolerance,
2e-6 * max(1, loss); and for each share the number of positions that differ in the maps of all classes, and the number
of positions within twice the tolerance of their class's threshold, where maps may differ. Exit status 1 if a position
differs elsewhere.

With a removal order it compares DFM-X's elimination, `greedy` with `compat`, instead: the number of positions that
differ, that each keeps, and that have no conjugate beside them. Exit status 1 if one differs.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.parity import published
from benchmarks.parity.torch_models import torch_resnet
from configs import common
from fsjax import data
from fsjax.data.normalisation import normalise
from fsjax.fourier import published_maps, spectrum
from fsjax.fourier.dfm import DominantFrequencyMaps

WEIGHTS = flags.DEFINE_string("weights", None, "A state dict of the model.", required=True)
MODEL = flags.DEFINE_string("model", "resnet20", "A ResNet of fsjax.models.MODELS, with 10 outputs.")
ROOT = flags.DEFINE_string("root", None, "Folder with test/<class>/ in it.", required=True)
SIZE = flags.DEFINE_integer("size", 32, "Side of the images, pixels.")
IMAGES = flags.DEFINE_integer("images", 100, "Number of images of each class, from the first.")
PATCHES = flags.DEFINE_list("patches", ["1", "2"], "Patch sizes.")
ORDER = flags.DEFINE_string("order", "", "A removal order of DFM-X; '' compares the removal search.")
TOLERANCE = flags.DEFINE_integer("tolerance", 6, "Images that a step of DFM-X's elimination may cost.")
SHARES = (0.01, 0.05, 0.1, 0.2)


def main(_: list[str]) -> int:
    images, labels, classes = read_images()
    model = torch_resnet(MODEL.value)
    model.load_state_dict(torch.load(WEIGHTS.value, weights_only=True), strict=True)
    model.eval()
    logits_fn = fsjax.load_weights(WEIGHTS.value, MODEL.value, image_size=SIZE.value)
    if ORDER.value:
        return compare_elimination(model, logits_fn, images, labels, classes)
    failed = False
    for patch in map(int, PATCHES.value):
        started = time.perf_counter()
        expected = published.search(model, published.batches(images, labels), classes, patch)
        between = time.perf_counter()
        maps = fsjax.dominant_frequencies(
            logits_fn, images, labels, search="removal", compat=True, patch=patch, shares=SHARES
        )
        seconds = {"pytorch": round(between - started, 1), "ours": round(time.perf_counter() - between, 1)}
        differences = compare(maps, expected)
        failed |= differences["elsewhere"] > 0
        settings = {"model": MODEL.value, "classes": classes, "images": len(images), "patch": patch}
        print(json.dumps({"benchmark": "published_maps", **settings, **differences, "seconds": seconds}), flush=True)
    return int(failed)


def compare_elimination(
    model: torch.nn.Module, logits_fn: Callable, images: np.ndarray, labels: np.ndarray, classes: int
) -> int:
    """Print the comparison of DFM-X's maps; return 1 where they differ."""
    order, tolerance = published_maps.read_order(ORDER.value), TOLERANCE.value
    started = time.perf_counter()
    data = published.batches(images, labels, size=IMAGES.value)  # a class a batch: only counts are taken
    expected = published.eliminate(model, data, classes, order, tolerance)
    between = time.perf_counter()
    fields = {"order": ORDER.value, "compat": True, "tolerance": float(tolerance)}
    maps = fsjax.dominant_frequencies(logits_fn, images, labels, search="greedy", shares=(1.0,), **fields)
    found = maps.at(1.0)
    row = {
        "model": MODEL.value,
        "classes": classes,
        "images": len(images),
        "tolerance": tolerance,
        "differ": int((found != expected).sum()),
        "kept": found.sum((1, 2)).tolist(),
        "half": int((found & ~spectrum.conjugate(found)).sum()),
        "seconds": {"pytorch": round(between - started, 1), "ours": round(time.perf_counter() - between, 1)},
    }
    print(json.dumps({"benchmark": "published_maps", "method": "greedy", **row}), flush=True)
    return int(row["differ"] > 0)


def read_images() -> tuple[np.ndarray, np.ndarray, int]:
    """Return normalised test images in class order, their labels, and the number of classes."""
    config = common.base().data
    config.update({"source": "folder", "root": ROOT.value, "image_size": SIZE.value})
    dataset = data.load(config, "test", 0)
    chosen = [np.flatnonzero(dataset.labels == label)[: IMAGES.value] for label in range(len(dataset.classes))]
    indices = np.concatenate(chosen)
    return np.array(normalise(dataset.images(indices), *common.CIFAR10)), dataset.labels[indices], len(chosen)


def compare(maps: DominantFrequencyMaps, expected: np.ndarray) -> dict:
    """Return the differences of losses and maps as JSON values."""
    tolerance = 2e-6 * np.maximum(1, expected)
    differ, near, elsewhere = {}, {}, 0
    for index, share in enumerate(SHARES):
        theirs = np.stack([published.at_threshold(losses, share) for losses in expected]).astype(bool)
        thresholds = np.array([losses[mask].min() for losses, mask in zip(expected, theirs, strict=True)])
        close = np.abs(expected - thresholds[:, None, None]) <= 2 * tolerance
        wrong = maps.masks[index] != theirs
        differ[f"{share:g}"], near[f"{share:g}"] = int(wrong.sum()), int(close.sum())
        elsewhere += int((wrong & ~close).sum())
    apart = float((np.abs(maps.scores - expected) / tolerance).max())
    return {"loss": round(apart, 3), "differ": differ, "near_threshold": near, "elsewhere": elsewhere}


if __name__ == "__main__":
    app.run(main)
