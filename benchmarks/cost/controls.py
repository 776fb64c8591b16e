"""Compare the cost of the controls of maps with the removal search on the same images, with the same model.

  python benchmarks/cost/controls.py                              # an ESTIMATED twenty minutes on two cores
  python benchmarks/cost/controls.py --judged_images=100          # a run's default; ten times as long

Prints one JSON object a line. `controls`: time of config.evaluate's controls at one share over the time of the removal
of every orbit. The controls are a class's own map, low-pass, highest energy, `random_masks` random masks a class for
all classes, and the same number of radial-matched masks. Both sides use all classes, random images, a network with
random weights and float32 'highest'. The ratio is the median over interleaved pairs, with a bootstrap 95 % interval.
`by_passes` is the ratio of the numbers of forward passes. Few images are the harder case, because the time to make a
class's masks does not depend on its images. `memory`: peak memory of a process that runs one of the two sides once, on
the host and, if the device reports it, on the device.
"""

import json
import pathlib
import resource
import subprocess
import sys

import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import paired
from benchmarks.cost.plain_search import Search
from fsjax import models
from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine
from fsjax.engine.model import Model
from fsjax.evaluation import controls
from fsjax.evaluation.filtered import GROUP
from fsjax.fourier import masks
from fsjax.models.folding import fold
from fsjax.runtime import parallel, startup
from fsjax.search.removal import removal_masks

MEAN_STD = (np.full(3, 0.5), np.full(3, 0.25))

MODEL = flags.DEFINE_string("judged_model", "resnet20", "A name of fsjax.models.")
SIZE = flags.DEFINE_integer("judged_size", 32, "Side of the images, pixels.")
CLASSES = flags.DEFINE_integer("judged_classes", 10, "Number of classes.")
IMAGES = flags.DEFINE_integer("judged_images", 10, "Images of each class.")
RANDOM = flags.DEFINE_integer("random_masks", 20, "As config.evaluate.random_masks.")
SHARE = flags.DEFINE_float("judged_share", 0.05, "Share of the plane that the maps keep.")
PAIRS = flags.DEFINE_integer("judged_pairs", 20, "Interleaved pairs.")
SIDE = flags.DEFINE_enum("judged_side", None, ["controls", "removal"], "Side that a memory process runs.")


class Made:
    """Noise images in classes of equal size."""

    planted = None

    def __init__(self):
        self.classes = tuple(f"class {label}" for label in range(CLASSES.value))
        self.labels = np.repeat(np.arange(CLASSES.value, dtype=np.int32), IMAGES.value)
        shape = (len(self.labels), SIZE.value, SIZE.value, 3)
        self._images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self._images[index]


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    startup.use_cores(128)
    if SIDE.value:
        sides()[SIDE.value]()
        peak = parallel.peak_bytes()
        host = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(json.dumps({"host_mib": host, "device_mib": peak and round(peak / 2**20)}))
        return
    for row in (cost(), memory()):
        settings = {"model": MODEL.value, "image_size": SIZE.value, "classes": CLASSES.value, "images": IMAGES.value}
        print(json.dumps({**row, **settings, "random_masks": RANDOM.value, "devices": parallel.describe()}), flush=True)


def cost() -> dict:
    """Measure the time of the controls over the time of the search."""
    both = sides()
    for side in both.values():
        side()
    # These are rounds a second, so the ratio of times is the inverse ratio of rates.
    rates = paired.rates(both, PAIRS.value)
    seconds = {name: round(1 / float(np.median(rate)), 2) for name, rate in rates.items()}
    passes = controls_masks() / removal_masks((SIZE.value, SIZE.value), 1).count
    ratio = paired.ratio(rates["removal"], rates["controls"])
    return {"benchmark": "controls", **ratio, "by_passes": round(passes, 4), "seconds": seconds, "pairs": PAIRS.value}


def controls_masks() -> int:
    """Return the number of masks a class."""
    return 1 + len(controls.TRIVIAL) + RANDOM.value * (1 + CLASSES.value)


def memory() -> dict:
    """Measure the peak memory of a process of each side."""
    flagged = [f"--{flag.name}={flag.value}" for flag in (MODEL, SIZE, CLASSES, IMAGES, RANDOM, SHARE)]
    peaks = {}
    for side in ("controls", "removal"):
        command = [sys.executable, __file__, f"--judged_side={side}", *flagged]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[side] = json.loads(printed.splitlines()[-1])
    return {"benchmark": "controls memory", **peaks}


def sides() -> dict:
    """Return each side as a function that does all its work once; programs are compiled once."""
    network = models.build(MODEL.value, num_classes=CLASSES.value, image_size=SIZE.value)
    image, test = (SIZE.value, SIZE.value, 3), Dataset(Made(), SIZE.value)
    model = Model(*fold(network, network.init(0)), image)
    budget = masks.budget(SHARE.value, *image[:2])
    rng = np.random.default_rng(1)
    maps = np.stack([masks.random(*image[:2], budget, rng) for _ in range(CLASSES.value)])
    tile_images = tile_size.fit(model, resident_images=min(GROUP, len(test)))
    engine = Engine(model, statistics=("correct",), tile_images=tile_images)
    search = Search(model, [IMAGES.value])
    orbits = removal_masks(image[:2], 1)

    def judged() -> int:
        options = {"images": 0, "random_masks": RANDOM.value, "seed": 0}
        controls.judge(engine, MEAN_STD, maps, budget, test, **options)
        return 1

    def searched() -> int:
        for label in range(CLASSES.value):
            images = np.asarray(normalise(test.images(np.flatnonzero(test.labels == label)), *MEAN_STD))
            search.losses(search.image_batches(images, np.full(len(images), label)), orbits)
        return 1

    return {"controls": judged, "removal": searched}


if __name__ == "__main__":
    app.run(main)
