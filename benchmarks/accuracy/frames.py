"""Frames of photographs: shortcuts of Caltech-101 that nobody planted, and what ways of training leave of them.

  python benchmarks/accuracy/frames.py --workdir=DIR --root=CALTECH --size=112 --steps=500 --ways=standard,probe
  python benchmarks/accuracy/frames.py ... --seeds=8 --ways=standard,probe --figure=frames.png

CALTECH/{train,test}/<class> holds classes of Caltech-101, whose airplanes have white strips to the left and right, and
whose leopards a black frame; cars, bonsais and others have neither. The ways are those of the mitigation benchmark
(benchmarks/planted/mitigation.py, with its flags), on the images as they are.

Prints a JSON line a way: `accuracy` on the test images as they are, all with strips, and all with a frame; and for both
classes `called`, the share of all others' images that are called the class, as they are and with its strips or frame,
and `recognised`, that of its own images, as they are and with the border cut off and the rest made as large. The
figure has the first test image of each of some other classes, with both borders, and what each way calls it.
"""

import json
import pathlib
import sys

import jax
import numpy as np
from absl import app, flags
from jaxtyping import Int, UInt8
from matplotlib.figure import Figure
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.planted import mitigation
from benchmarks.planted.mitigation_sets import TEST, BiasedSet
from fsjax.data.in_memory import ArrayDataset
from fsjax.evaluation.predict import make_predictor
from fsjax.experiment.workspace import Workspace
from fsjax.models.classifier import Classifier
from fsjax.report import style
from fsjax.runtime import files, storage

_FIGURE = flags.DEFINE_string("figure", "", "File of the figure, of the last seed; none = none.")

# Of the side: white strips as wide as most airplanes', a black frame a pixel wider than the leopards', and what is cut.
STRIP, FRAME = 12 / 112, 3 / 112
CUT = {"airplanes": (0.0, 14 / 112), "leopards": (4 / 112, 4 / 112)}

# Classes in the figure, at most.
_DRAWN = 6

Images = UInt8[np.ndarray, "n size size 3"]


def main(_: list[str]) -> None:
    for seed in map(int, mitigation.SEEDS.value):
        data = BiasedSet("clean", mitigation.SIZE.value, seed, mitigation.ROOT.value)
        classifiers = {}
        for name in mitigation.WAYS_RUN.value:
            mitigation.run(name, mitigation.WAYS[name], data)
            directory = storage.path(mitigation.directory_of(name, data))
            classifiers[name] = Workspace(ConfigDict(files.read_json(directory / "config.json")), directory).classifier
            print(json.dumps({"seed": seed, "way": name, **measured(classifiers[name], data)}), flush=True)
        if _FIGURE.value:
            draw(classifiers, data).savefig(_FIGURE.value, dpi=150)


def measured(classifier: Classifier, data: BiasedSet) -> dict:
    """Return the accuracy, and what borders do to the predictions."""
    images, labels = tested(data)
    shown = (images, with_strips(images), with_frame(images))
    row: dict = {"accuracy": [share(classifier, one, labels) for one in shown]}
    for name, bordered in (("airplanes", with_strips), ("leopards", with_frame)):
        label = data.classes.index(name)
        own, others = images[labels == label], images[labels != label]
        row[name] = {
            "called": [share(classifier, shown, label) for shown in (others, bordered(others))],
            "recognised": [share(classifier, shown, label) for shown in (own, cut(own, *CUT[name]))],
        }
    return row


def tested(data: BiasedSet) -> tuple[Images, Int[np.ndarray, " n"]]:
    """Return the test images and their labels."""
    return data.draw(mitigation.TESTED, "absent", TEST)


@style.paper
def draw(classifiers: dict[str, Classifier], data: BiasedSet) -> Figure:
    """Draw images without, with strips and with a frame, a row each; below stands what each classifier calls them."""
    images, labels = tested(data)
    others = [name for name in data.classes if name not in CUT][:_DRAWN]
    of_each = images[[int(np.argmax(labels == data.classes.index(name))) for name in others]]
    figure = style.empty(1.25 * len(others), 4.9)
    axes = figure.subplots(3, len(others), squeeze=False)
    for row, shown in zip(axes, (of_each, with_strips(of_each), with_frame(of_each)), strict=True):
        said = {way: predicted(classifier, shown) for way, classifier in classifiers.items()}
        for column, (axis, name) in enumerate(zip(row, others, strict=True)):
            axis.imshow(shown[column])
            axis.set(xticks=[], yticks=[])
            for line, (way, labels_said) in enumerate(said.items()):
                answer = data.classes[labels_said[column]]
                colour = style.BLUE if answer == name else style.VERMILION
                place = {"transform": axis.transAxes, "ha": "center", "va": "top", "fontsize": 6, "color": colour}
                axis.text(0.5, -0.03 - 0.1 * line, f"{way}: {answer}", **place)
    return figure


def share(classifier: Classifier, images: Images, labels: Int[np.ndarray, " n"] | int) -> float:
    """Return the share of images that are called their label, or all one label."""
    return round(float((predicted(classifier, images) == labels).mean()), 3)


def predicted(classifier: Classifier, images: Images) -> Int[np.ndarray, " n"]:
    """Return the class that each image is called."""
    dataset = ArrayDataset(images, np.zeros(len(images), np.int32), classifier.classes)
    predict = make_predictor(classifier.model.apply, *classifier.mean_std)
    return np.concatenate([logits.argmax(-1) for _, logits in predict(classifier.model.params, dataset)])


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
