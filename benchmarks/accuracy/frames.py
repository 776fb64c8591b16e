"""Frames of photographs: shortcuts of Caltech-101 that nobody planted, and what ways of training leave of them.

  python benchmarks/accuracy/frames.py --workdir=DIR --root=CALTECH --size=112 --steps=500 --ways=standard,probe

CALTECH/{train,test}/<class> holds classes of Caltech-101, whose airplanes have white strips to the left and right, and
whose leopards a black frame; cars, bonsais and others have neither. The ways are those of the mitigation benchmark
(benchmarks/planted/mitigation.py, with its flags), on the images as they are.

Prints a JSON line a way: accuracy on the test images, and for both classes `called`, the share of all others' images
that are called the class, as they are and with its strips or frame; and `recognised`, that of its own images, as they
are and with the border cut off and the rest made as large.
"""

import json
import pathlib
import sys

import jax
import numpy as np
from absl import app
from jaxtyping import UInt8
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.planted import mitigation
from benchmarks.planted.mitigation_sets import TEST, BiasedSet
from fsjax.data.in_memory import ArrayDataset
from fsjax.evaluation.unfiltered import evaluate_unfiltered
from fsjax.experiment.workspace import Workspace
from fsjax.models.classifier import Classifier
from fsjax.runtime import files, storage

# Of the side: white strips as wide as most airplanes', a black frame a pixel wider than the leopards', and what is cut.
STRIP, FRAME = 12 / 112, 3 / 112
CUT = {"airplanes": (0.0, 14 / 112), "leopards": (4 / 112, 4 / 112)}

Images = UInt8[np.ndarray, "n size size 3"]


def main(_: list[str]) -> None:
    for seed in map(int, mitigation.SEEDS.value):
        data = BiasedSet("clean", mitigation.SIZE.value, seed, mitigation.ROOT.value)
        for name in mitigation.WAYS_RUN.value:
            mitigation.run(name, mitigation.WAYS[name], data)
            directory = storage.path(mitigation.directory_of(name, data))
            classifier = Workspace(ConfigDict(files.read_json(directory / "config.json")), directory).classifier
            print(json.dumps({"seed": seed, "way": name, **measured(classifier, data)}), flush=True)


def measured(classifier: Classifier, data: BiasedSet) -> dict:
    """Return the accuracy, and what borders do to the predictions."""
    images, labels = data.draw(mitigation.TESTED, "absent", TEST)
    row: dict = {"accuracy": share(classifier, images, labels)}
    for name, bordered in (("airplanes", with_strips), ("leopards", with_frame)):
        label = data.classes.index(name)
        own, others = images[labels == label], images[labels != label]
        row[name] = {
            "called": [share(classifier, shown, label) for shown in (others, bordered(others))],
            "recognised": [share(classifier, shown, label) for shown in (own, cut(own, *CUT[name]))],
        }
    return row


def share(classifier: Classifier, images: Images, labels: np.ndarray | int) -> float:
    """Return the share of images that are called their label, or all one label."""
    labels = np.broadcast_to(labels, len(images)).astype(np.int32)
    return round(evaluate_unfiltered(classifier, ArrayDataset(images, labels, classifier.classes)).accuracy, 3)


def with_strips(images: Images) -> Images:
    """Return images whose columns at the left and right are white."""
    width, bordered = round(STRIP * images.shape[2]), images.copy()
    bordered[:, :, :width] = bordered[:, :, -width:] = 255
    return bordered


def with_frame(images: Images) -> Images:
    """Return images with a black frame."""
    width = round(FRAME * images.shape[1])
    inside = images[:, width:-width, width:-width]
    return np.pad(inside, [(0, 0), (width, width), (width, width), (0, 0)])


def cut(images: Images, rows: float, columns: float) -> Images:
    """Return images without these shares of the side at each border, scaled to the size that they had."""
    size = images.shape[1]
    top, left = round(rows * size), round(columns * size)
    inside = images[:, top : size - top, left : size - left]
    scaled = jax.image.resize(inside.astype(np.float32), images.shape, "linear", antialias=False)
    return np.asarray(scaled).round().clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    app.run(main)
