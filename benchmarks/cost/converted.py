"""Compare the search of a converted PyTorch model with our own model with the same weights.

  python benchmarks/cost/converted.py                                # 64 pixels
  python benchmarks/cost/converted.py --model=resnet50_imagenet --image_size=224

Prints a JSON line for `from_torch` and a line for a model file: masked images a second over our model's rate, medians
over interleaved rounds with a bootstrap 95 % interval. All in float32 'highest', each with the tile that a search
chooses for it.
"""

import functools
import json
import pathlib
import sys
import tempfile

import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.common import paired
from benchmarks.cost.plain_search import Search, random_images
from benchmarks.parity import torch_models
from fsjax import models
from fsjax.engine.model import Model
from fsjax.models.callables import as_model
from fsjax.models.network import fold
from fsjax.runtime import parallel, startup

MODEL = flags.DEFINE_string("model", "resnet18_imagenet", "A ResNet of fsjax.models that torchvision has.")
SIZE = flags.DEFINE_integer("image_size", 64, "Side of the images, pixels.")
IMAGES = flags.DEFINE_integer("images", 16, "Images of a class.")
TILES = flags.DEFINE_integer("tiles", 2, "Tiles of masks of one side in a round.")
PAIRS = flags.DEFINE_integer("pairs", 20, "Interleaved rounds.")


def main(_: list[str]) -> None:
    startup.use_cores(128)
    size = SIZE.value
    images = random_images(IMAGES.value, size)
    sides, layouts = {}, {}
    for name, model in classifiers(images).items():
        search = Search(model, [len(images)])
        batches = search.image_batches(images)
        sides[name] = functools.partial(search.masked_images, batches, search.removals(TILES.value), len(images))
        sides[name]()  # compiles
        layouts[name] = search.layout
    rates = paired.rates(sides, PAIRS.value)
    for name in ("from_torch", "file"):
        row = {
            "benchmark": "converted",
            "model": MODEL.value,
            "image_size": size,
            "converted": name,
            **paired.ratio(rates[name], rates["ours"]),
            "our_masked_images_per_second": round(float(np.median(rates["ours"])), 1),
            "layouts": [layouts["ours"], layouts[name]],
        }
        print(json.dumps({**row, "devices": parallel.describe(), "pairs": PAIRS.value}), flush=True)


def classifiers(images: np.ndarray) -> dict[str, Model]:
    """Return one network three times: our own, converted, and converted and read from a file."""
    size = images.shape[1]
    module = torch_models.torch_resnet(MODEL.value).eval()
    torch_models.randomise(module)
    network = models.build(MODEL.value, num_classes=10, image_size=size)
    ours = Model(*fold(network, torch_models.from_torch(module)), images.shape[1:])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.fsjax"
        fsjax.save_model(path, module, image_size=size)
        return {"ours": ours, "from_torch": as_model(module, images, 10), "file": fsjax.load_model(path)}


if __name__ == "__main__":
    app.run(main)
