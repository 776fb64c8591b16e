"""Measure how soon the live page answers a stroke, and whether 200 strokes take more memory.

  python benchmarks/cost/explore.py

Prints a row for each network of --networks, name@pixels, with random weights and images. Times are of requests to the
server, in ms, median and largest of --strokes: `answer` is the edited image with its probabilities, `others` the same
edit on one group of the 32 other images. `grown_mib` is what the process's largest memory grew by after the
first 20 strokes.
"""

import json
import pathlib
import resource
import sys
import time
import urllib.request

import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from fsjax import models
from fsjax.data.dataset import ArrayDataset
from fsjax.explore import edits
from fsjax.explore.server import Page
from fsjax.explore.subject import GROUP, OTHERS, Subject
from fsjax.fourier import dfm, spectrum
from fsjax.models.trained_network import TrainedNetwork

NETWORKS = flags.DEFINE_list("networks", ["vit_micro_patch8@32", "resnet18_imagenet@224"], "Networks, a row each.")
STROKES = flags.DEFINE_integer("strokes", 200, "Number of strokes.")
_WARM, _MEAN_STD = 20, (np.full(3, 0.5), np.full(3, 0.25))


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    for network in NETWORKS.value:
        name, _, size = network.partition("@")
        print(json.dumps({"network": network, **measure(subject(name, int(size)), STROKES.value)}), flush=True)


def subject(name: str, size: int, classes: int = 10) -> Subject:
    """Return random images, scores and weights."""
    rng, names = np.random.default_rng(0), tuple(map(str, range(classes)))
    network = models.build(name, num_classes=classes, image_size=size)
    model = TrainedNetwork(network, network.init(0), _MEAN_STD, names).model()
    images = rng.integers(0, 256, (60, size, size, 3)).astype(np.uint8)
    scores = rng.random((classes, size, size)).astype(np.float32)
    about = {"method": "removal", "searched_on": "train", "forward_equivalents": 1, "provenance": {}}
    scores = (scores + spectrum.conjugate(scores)) / 2
    maps = dfm.from_scores(scores, (0.05,), classes=names, images=np.full(classes, 9), **about)
    return Subject(model, ArrayDataset(images, np.arange(60) % classes, names), maps, name, "")


def measure(subject: Subject, strokes: int) -> dict:
    """Return times and memory of strokes with a brush of five positions, each with one group of other images."""
    page, (height, width, _) = Page(subject), subject.model.image_shape
    rng, times, after_warm = np.random.default_rng(0), {"answer": [], "others": []}, 0

    def ask(route: str, request: dict) -> dict:
        begun = time.perf_counter()
        address = page.address.replace("/?", f"/{route}?")
        with urllib.request.urlopen(address, json.dumps(request).encode()) as reply:
            content = json.loads(reply.read())
        times[route].append(1000 * (time.perf_counter() - begun))
        return content

    for stroke in range(strokes):
        mask = np.zeros((height, width), bool)
        row, column = rng.integers(0, height - 4), rng.integers(0, width - 4)
        mask[row : row + 5, column : column + 5] = True
        request = {"recipient": {"class": 0, "nth": 0}, "donor": {"class": 1, "nth": 0}, "mask": edits.write_mask(mask)}
        request["operation"] = list(edits.OPERATIONS)[stroke % len(edits.OPERATIONS)]
        target = ask("answer", request)["target"]
        ask("others", {**request, "group": stroke % (OTHERS // GROUP), "target": target})
        if stroke == min(_WARM, strokes // 2):
            after_warm = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - after_warm
    page.close()
    found = {name: [round(float(np.median(each[1:])), 1), round(max(each[1:]), 1)] for name, each in times.items()}
    return {**found, "first_ms": round(times["answer"][0]), "grown_mib": round(grown / 1024, 1)}


if __name__ == "__main__":
    app.run(main)
