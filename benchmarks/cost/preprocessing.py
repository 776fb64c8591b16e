"""Compare our preprocessing with torchvision's on every image of a folder.

  python benchmarks/cost/preprocessing.py --root=DIR --size=224                        # DIR/test/<class>/, both sides
  python benchmarks/cost/preprocessing.py --root=DIR --size=224 --resize_shorter=256   # Resize(256) + CenterCrop(224)

Prints one JSON object: `levels`, the largest difference in grey levels; `differ`, the share in [0, 1] of the values
that differ at all; `normalised`, the largest difference after normalisation as for ImageNet. torchvision's loader opens
the images for torchvision's transforms. Exit status 1 if `levels` is above 1.
"""

import json
import pathlib
import sys

import numpy as np
import PIL
import torch
import torchvision
from absl import app, flags
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from configs import common
from fsjax import data
from fsjax.data.folder import open_folder
from fsjax.data.normalisation import normalise

BATCH = 64

ROOT = flags.DEFINE_string("root", None, "Folder with <split>/<class>/ in it.", required=True)
SIZE = flags.DEFINE_integer("size", None, "Side of the images that a model reads, pixels.", required=True)
SHORTER = flags.DEFINE_integer("resize_shorter", 0, "0 = both sides to size; else the shorter side, then a crop.")
SPLIT = flags.DEFINE_string("split", "test", "Name of the folder under the root.")


def main(_: list[str]) -> int:
    config = common.base().data
    config.update({"source": "folder", "root": ROOT.value, "image_size": SIZE.value, "resize_shorter": SHORTER.value})
    data.check(config)
    source = open_folder(config, SPLIT.value)
    ours = data.Dataset(source, SIZE.value, cache_gib=0.0, resize_shorter=SHORTER.value)
    asked = {"split": SPLIT.value, "size": SIZE.value, "resize_shorter": SHORTER.value, "images": len(source)}
    differences = compare(ours, source.files)
    versions = {"pillow": PIL.__version__, "torchvision": torchvision.__version__}
    print(json.dumps({"benchmark": "preprocessing", **asked, **differences, **versions}))
    return int(differences["levels"] > 1)


def compare(dataset: data.Dataset, files: list[str]) -> dict[str, float]:
    """Return the differences between the dataset's images and torchvision's images of the same files."""
    size = dataset.image_size
    theirs = Compose([Resize(SHORTER.value), CenterCrop(size)] if SHORTER.value else [Resize((size, size))])
    tensors = Compose([ToTensor(), Normalize(*common.IMAGENET)])
    levels, differ, normalised = 0, 0, 0.0
    for start in range(0, len(files), BATCH):
        images = dataset.images(range(start, min(start + BATCH, len(files))))
        expected = [theirs(pil_loader(file)) for file in files[start : start + BATCH]]
        apart = np.abs(images.astype(int) - np.stack([np.asarray(image) for image in expected]))
        levels, differ = max(levels, int(apart.max())), differ + int(np.count_nonzero(apart))
        read = torch.stack([tensors(image) for image in expected]).permute(0, 2, 3, 1).numpy()
        apart = np.abs(np.asarray(normalise(images, *common.IMAGENET)) - read)
        normalised = max(normalised, float(apart.max()))
    return {"levels": levels, "differ": differ / (len(files) * size**2 * 3), "normalised": normalised}


if __name__ == "__main__":
    app.run(main)
