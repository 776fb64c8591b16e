"""White strips and black frames around photographs, and a classifier's predictions with and without them."""

import jax
import numpy as np
from jaxtyping import Bool, Int, UInt8
from matplotlib.figure import Figure

from fsjax.data.dataset import ArrayDataset
from fsjax.engine.model import Model
from fsjax.evaluation.predict import make_predictor
from fsjax.report import style

# Shares of the side: white strips as wide as most airplanes', a frame a pixel wider than the leopards', and the cuts.
STRIP, FRAME = 12 / 112, 3 / 112
CUT = {"airplanes": (0.0, 14 / 112), "leopards": (4 / 112, 4 / 112)}

# Classes in the figure, at most.
_DRAWN = 6

Images = UInt8[np.ndarray, "n size size 3"]
Labels = Int[np.ndarray, " n"]


def measured(classifier: Model, images: Images, labels: Labels) -> dict:
    """Return accuracies with and without borders, and the predictions of the classes of CUT."""
    shown = (images, with_strips(images), with_frame(images))
    plain, strips, frame = (predicted(classifier, one) for one in shown)
    row: dict = {"accuracy": [_share(said == labels) for said in (plain, strips, frame)]}
    for name, bordered in (("airplanes", strips), ("leopards", frame)):
        label = classifier.classes.index(name)
        own = labels == label
        without = predicted(classifier, cut(images[own], *CUT[name]))
        row[name] = {
            "called": [_share(said[~own] == label) for said in (plain, bordered)],
            "recognised": [_share(said == label) for said in (plain[own], without)],
        }
    return row


@style.paper
def draw(classifiers: dict[str, Model], images: Images, labels: Labels) -> Figure:
    """Draw the first image of some classes plain, with strips and with a frame, and each classifier's prediction."""
    classes = next(iter(classifiers.values())).classes
    others = [name for name in classes if name not in CUT][:_DRAWN]
    firsts = images[[int(np.argmax(labels == classes.index(name))) for name in others]]
    figure = style.empty(1.25 * len(others), 4.9)
    axes = figure.subplots(3, len(others), squeeze=False)
    for row, shown in zip(axes, (firsts, with_strips(firsts), with_frame(firsts)), strict=True):
        said = {way: predicted(classifier, shown) for way, classifier in classifiers.items()}
        for column, (axis, name) in enumerate(zip(row, others, strict=True)):
            axis.imshow(shown[column])
            axis.set(xticks=[], yticks=[])
            for line, (way, labels_said) in enumerate(said.items()):
                answer = classes[labels_said[column]]
                colour = style.BLUE if answer == name else style.VERMILION
                place = {"transform": axis.transAxes, "ha": "center", "va": "top", "fontsize": 6, "color": colour}
                axis.text(0.5, -0.03 - 0.1 * line, f"{way}: {answer}", **place)
    return figure


def predicted(classifier: Model, images: Images) -> Labels:
    """Return the predicted class of each image."""
    dataset = ArrayDataset(images, np.zeros(len(images), np.int32), classifier.classes)
    predict = make_predictor(classifier.apply, *classifier.mean_std)
    return np.concatenate([logits.argmax(-1) for _, logits in predict(classifier.params, dataset)])


def _share(hits: Bool[np.ndarray, " n"]) -> float:
    return round(float(hits.mean()), 3)


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
    """Cut these shares of the side off at each border and scale images back to their size."""
    size = images.shape[1]
    top, left = round(rows * size), round(columns * size)
    inside = images[:, top : size - top, left : size - left]
    scaled = jax.image.resize(inside.astype(np.float32), images.shape, "linear", antialias=False)
    return np.asarray(scaled).round().clip(0, 255).astype(np.uint8)
