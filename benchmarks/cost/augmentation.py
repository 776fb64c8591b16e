"""Measure what augmentation costs: a share of the training step on the device, images a second on the host.

  python benchmarks/cost/augmentation.py               # device rows: ResNet-20 at 32 pixels, batches of 128
  python benchmarks/cost/augmentation.py --host=true   # host rows, at 32 and 224 pixels

Prints one JSON object a line. Device: `ratio` is time with the augmentation over time without, the median of
interleaved pairs in one run, with a bootstrap 95 % interval; `seconds` is a step without. `dfmx` filters with
probability 0.3 by random masks of a tenth of the plane, and `graft` grafts a tenth; `amplitude_swap` and
`orbit_dropout` have their defaults; `frequencies` is the filter that data.frequencies=low:0.25 puts before the network.
Host: `images_per_core_second`, by CPU time, on images of noise, in one process; `ratio` is the rate of a process on
every core, as in a training, over the rate of a single process, the median of interleaved rounds.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import paired, resident_step
from benchmarks.ways import orbit_dropout
from configs import common
from fsjax import models
from fsjax.data import frequencies
from fsjax.data.augment import AUGMENTATIONS, make_augment
from fsjax.data.host_augment import HOST_AUGMENTATIONS, make_host_augment
from fsjax.runtime import parallel, startup
from fsjax.runtime.workers import most_processes
from fsjax.training import optimizers, state, step
from fsjax.training.ways import amplitude_swap, dfmx, graft

PAIRS = flags.DEFINE_integer("pairs", 30, "Interleaved pairs.", lower_bound=20)
BATCH = flags.DEFINE_integer("batch", 128, "Images a step.")
STEPS = flags.DEFINE_integer("steps", 1, "Steps in each half of a pair.")
MODEL = flags.DEFINE_string("model", "resnet20", "A name of fsjax.models.")
SIZE = flags.DEFINE_integer("size", 32, "Pixels a side.")
ONLY = flags.DEFINE_list("only", [], "Names of rows; all by default.")
HOST = flags.DEFINE_boolean("host", False, "Measure the host's augmentations instead.")

CLASSES = 10
DEVICE_ROWS = (*AUGMENTATIONS, "dfmx", "graft", "amplitude_swap", "orbit_dropout", "frequencies")


def main(_: list[str]) -> None:
    startup.use_cores(BATCH.value)
    for row in host_rows() if HOST.value else device_rows():
        print(json.dumps({"benchmark": "augmentation", **row}), flush=True)


def device_rows() -> Iterator[dict]:
    """Yield a row for each augmentation on the device."""
    settings = {"device": parallel.describe(), "model": MODEL.value, "size": SIZE.value, "batch": BATCH.value}
    plain = step_side("", SIZE.value)
    for name in ONLY.value or DEVICE_ROWS:
        yield {**settings, "name": name, **cost(plain, name)}


def host_rows() -> Iterator[dict]:
    """Yield a row for each size and each augmentation on the host."""
    for size in (32, 224):
        for name in ONLY.value or HOST_AUGMENTATIONS:
            rate = round(host_rate(name, size), 1)
            yield {"size": size, "name": name, "images_per_core_second": rate, **gain_of_processes(name, size)}


def cost(plain: Callable[[], int], name: str) -> dict:
    """Measure the time of a step with an augmentation over the time of the plain step."""
    sides = {"without": plain, "with": step_side(name, SIZE.value)}
    for side in sides.values():
        side()  # compiles
    rates = paired.rates(sides, PAIRS.value)
    seconds = BATCH.value / float(np.median(rates["without"]))
    return {"pairs": PAIRS.value, "seconds": round(seconds, 5), **paired.ratio(rates["without"], rates["with"])}


def step_side(name: str, size: int) -> Callable[[], int]:
    """Return a function that runs training steps with one augmentation and returns their number of images."""
    options = common.base().train
    network = models.build(MODEL.value, num_classes=CLASSES, image_size=size)
    if name == "frequencies":
        network = network.limited_to(frequencies.read("low:0.25", size))
    masks = np.random.default_rng(0).random((CLASSES, size, size)) < 0.1
    optimizer = optimizers.make(ConfigDict(options))
    augment = make_augment(name if name in AUGMENTATIONS else "")
    changes = {
        "dfmx": dfmx.make_dfmx(masks, 0.3),
        "graft": graft.make_graft(masks[0]),
        "amplitude_swap": amplitude_swap.make_amplitude_swap(options.amplitude_swap.probability, common.CIFAR10),
        "orbit_dropout": orbit_dropout.make_orbit_dropout(size, probability=0.75, share=0.5),
    }
    ways = [changes[name]] if name in changes else []
    update = step.PmappedUpdate(step.Update(network, optimizer, augment, common.CIFAR10, 0, ways))
    batch = resident_step.place(resident_step.random_batch(BATCH.value, size, CLASSES))
    run = resident_step.stepper(update, state.replicate(state.create(network.init(0), optimizer)), batch)
    return lambda: run(STEPS.value) * BATCH.value


def host_rate(name: str, size: int, seconds: float = 5.0) -> float:
    """Measure images a core-second, batch by batch, in CPU time: other load on the machine does not lengthen it."""
    augment, done = make_host_augment((name,), 0), 0
    images = np.random.default_rng(0).integers(0, 256, (64, size, size, 3), np.uint8)
    augment(images[:2], np.zeros(2, int), np.arange(2))
    started = time.process_time()
    while time.process_time() - started < seconds:
        augment(images, np.zeros(64, int), np.arange(done, done + 64))
        done += 64
    return done / (time.process_time() - started)


def gain_of_processes(name: str, size: int) -> dict:
    """Measure images a second of a process on every core over a single process."""
    images = np.random.default_rng(0).integers(0, 256, (256, size, size, 3), np.uint8)

    def side(processes: int) -> Callable[[], int]:
        augment = make_host_augment((name,), 0, processes)
        return lambda: len(augment(images, np.zeros(len(images), int), np.arange(len(images))))

    sides = {"one": side(1), "all": side(most_processes())}
    for run in sides.values():
        run()  # starts the processes
    rates = paired.rates(sides, 10)
    return {"processes": most_processes(), **paired.ratio(rates["all"], rates["one"])}


if __name__ == "__main__":
    app.run(main)
