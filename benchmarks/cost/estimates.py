"""Estimate what experiments cost from operation counts: forward passes of each stage, and hours on a given device.

  python benchmarks/cost/estimates.py                                     # all of EXPERIMENTS, at 27 TFLOP/s
  python benchmarks/cost/estimates.py --tflops=27 --devices=8 configs/dfm_resnet.py:imagenet10
  python benchmarks/cost/estimates.py --microseconds=134.5 --gradient=3.1 --devices=64 --images=100 \
    configs/dfm_resnet.py:imagenet1k

Prints one JSON object a stage, and one for each method of search. `gflop` is XLA's count for one image; a step of
training counts as three forward passes. `hours` is an ESTIMATE: passes x gflop over the assumed speed of the devices,
or passes x --microseconds, which aot.py prints beside what --gradient divides; nothing is run. 27 TFLOP/s is 40 % of an
H100's 67 in float32 without tensor cores, the mode that a search in 'highest' uses.
"""

import importlib
import json
import pathlib
import sys

from absl import app, flags
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.cost.accelerator_parts.comparisons import forward_flops
from fsjax import models
from fsjax.evaluation import judge_maps, rates
from fsjax.fourier import patches
from fsjax.search import SEARCHES, graft, hierarchical

# Data set -> (classes, training images, test images), for data sets that a config may name.
SETS = {"cifar10": (10, 50_000, 10_000), "imagenet10": (10, 13_000, 500), "imagenet1k": (1000, 1_281_167, 50_000)}
# Masks of `learned` beside the learned: by energy, by gradient, low-pass and random.
_SIMPLE_MASKS = 4
EXPERIMENTS = [f"configs/{name}.py:{data}" for name in ("dfm_resnet", "dfm_vit") for data in SETS]

TFLOPS = flags.DEFINE_float("tflops", 27.0, "Speed of a device, 10^12 floating-point operations a second.")
IMAGES = flags.DEFINE_integer("images", 0, "Searched images of a class; 0 = as in the config.")
GRADIENT = flags.DEFINE_float("gradient", graft.PASSES, "Forward passes that an image's gradient takes in a search.")
MICROSECONDS = flags.DEFINE_float("microseconds", 0.0, "Of a device for one image's forward pass; 0 = by --tflops.")
DEVICES = flags.DEFINE_integer("devices", 1, "Number of devices.")


def main(arguments: list[str]) -> None:
    for name in arguments[1:] or EXPERIMENTS:
        path, _, data = name.partition(":")
        config = importlib.import_module(path.removesuffix(".py").replace("/", ".")).get_config(data)
        network = models.build(config.model.name, num_classes=SETS[data][0], image_size=config.data.image_size)
        gflop = forward_flops(network) / 1e9
        for stage, passes in forward_passes(config, *SETS[data]).items():
            seconds = MICROSECONDS.value / 1e6 or gflop / (TFLOPS.value * 1000)
            hours = passes * seconds / DEVICES.value / 3600
            row = {"config": name, "model": config.model.name, "stage": stage, "forward_passes": passes}
            print(json.dumps({**row, "gflop": round(gflop, 3), "hours": round(hours, 4)}), flush=True)


def forward_passes(config: ConfigDict, classes: int, training: int, test: int) -> dict[str, int]:
    """Return the forward passes of each stage and method of search, for the config's number of images."""
    options, plane = config.search, (config.data.image_size,) * 2
    trained_on = training * (1 - config.data.validation_share)
    images = round(min(IMAGES.value or options.images_per_class or training, trained_on / classes))
    frequencies, patch = images * classes * (1 + patches.count(*plane, 1)), max(options.patch, 8)
    learned, judged = options.learned, min(options.learned.judged, images)
    masks = classes * len(options.shares)
    gradients = masks * learned.restarts * learned.steps * learned.batch + classes * judged
    stages = hierarchical.plan_stages(options, plane)
    searches = {
        "graft": round(
            GRADIENT.value / graft.PASSES * SEARCHES["graft"].forward_passes(options, (images,) * classes, plane)
        ),
        "learned": round(GRADIENT.value * gradients) + masks * judged * (_SIMPLE_MASKS + learned.restarts),
        f"removal, patches of {patch}": images * classes * (1 + patches.count(*plane, patch)),
        "hierarchical": images * classes * sum(stage.count for stage in stages),
        "removal": frequencies,
        "greedy": frequencies,
    }
    tested = sum(share <= config.report.share for share in {*judge_maps.curve_shares(*plane), *options.shares})
    grafts = classes * judge_maps.grafts_a_class(config.evaluate.pairs, tested)
    grid_images = round(min(config.evaluate.grid_images or test, test / classes) * classes)
    rated = rates.filtered_passes(test, classes, len(options.shares))
    rated += rates.filtered_passes(grid_images, classes, len({*config.evaluate.grid} - {*options.shares}))
    return {
        "train": round(3 * trained_on * config.train.epochs),
        **{f"search, {method}": passes for method, passes in searches.items()},
        "evaluate, unfiltered": test,
        "evaluate, rates": rated,
        "evaluate, grafts at most": grafts,
    }


if __name__ == "__main__":
    app.run(main)
