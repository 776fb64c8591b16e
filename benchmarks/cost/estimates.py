"""Estimate what experiments cost from operation counts: forward passes of each stage, and hours on a given device.

  python benchmarks/cost/estimates.py                                     # all of EXPERIMENTS, at 27 TFLOP/s
  python benchmarks/cost/estimates.py --tflops=27 --devices=8 configs/dfm_resnet.py:imagenet10
  python benchmarks/cost/estimates.py --microseconds=72.8 --devices=256 configs/dfm_resnet.py:imagenet1k  # of aot.py

Prints one JSON object a stage. `gflop` is XLA's count for one image; a step of training counts as three forward passes.
`hours` is an ESTIMATE: passes x gflop over the assumed speed of the devices, or passes x --microseconds; nothing is
run. 27 TFLOP/s is 40 % of an H100's 67 in float32 without tensor cores, the mode that a search in 'highest' uses.
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

# Data set -> (classes, training images, test images), for data sets that a config may name.
SETS = {"cifar10": (10, 50_000, 10_000), "imagenet10": (10, 13_000, 500), "imagenet1k": (1000, 1_281_167, 50_000)}
EXPERIMENTS = [f"configs/{name}.py:{data}" for name in ("dfm_resnet", "dfm_vit") for data in SETS]

TFLOPS = flags.DEFINE_float("tflops", 27.0, "Speed of a device, 10^12 floating-point operations a second.")
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
    """Return the forward passes of each stage, for removal searches and the config's number of images."""
    trained_on = training * (1 - config.data.validation_share)
    images = min(config.search.images_per_class or training, trained_on / classes) * classes
    masks = 1 + patches.count(*[config.data.image_size] * 2, config.search.patch)
    shares = {*judge_maps.curve_shares(*[config.data.image_size] * 2), *config.search.shares}
    tested = sum(share <= config.report.share for share in shares)
    grafts = classes * judge_maps.grafts_a_class(config.evaluate.pairs, tested)
    grid_images = round(min(config.evaluate.grid_images or test, test / classes) * classes)
    rated = rates.filtered_passes(test, classes, len(config.search.shares))
    rated += rates.filtered_passes(grid_images, classes, len(set(config.evaluate.grid) - set(config.search.shares)))
    return {
        "train": round(3 * trained_on * config.train.epochs),
        "search": round(images * masks),
        "evaluate": test + rated + grafts,
    }


if __name__ == "__main__":
    app.run(main)
