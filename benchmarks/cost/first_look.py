"""Time a first look at a PyTorch network from Python: seconds to the table and to the page, and passes by stage.

  python benchmarks/cost/first_look.py --network=torchvision/resnet18 --size=32
  python benchmarks/cost/first_look.py --network=timm/efficientnet_lite0 --size=224

Ten classes of noise have a wave each. The network has random weights but for its last layer, which ridge regression on
its features fits, so that it recognises the classes. Prints a JSON line; with --full, the full answer's as well.
"""

import json
import pathlib
import sys
import tempfile
import time
from typing import Any, ClassVar

import numpy as np
import torch
from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.cost import beside_torch
from fsjax.runtime import progress
from fsjax.runtime.progress import Progress

CLASSES, TRAIN, TEST = 10, 60, 100
_RIDGE = 1e-2

NETWORK = flags.DEFINE_string("network", "torchvision/resnet18", "A network of torchvision or timm.")
SIZE = flags.DEFINE_integer("size", 32, "Side of the images, pixels.")
FULL = flags.DEFINE_boolean("full", False, "Time the full answer as well.")


class Counted(Progress):
    """A progress bar that keeps what it counted."""

    stages: ClassVar[dict[str, dict[str, Any]]] = {}

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self.stages[self.label] = {self.unit: self.count, "seconds": round(self.seconds, 1)}


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # absl shows the log of every library
    analyse = fsjax.analyse  # loads the stages
    for module in [one for name, one in sys.modules.items() if name.startswith("fsjax.") and hasattr(one, "Progress")]:
        module.Progress = Counted  # type: ignore[attr-defined]
    splits = {"train": images_of(TRAIN, 1), "test": images_of(TEST, 2)}
    module = fitted(beside_torch.build(NETWORK.value, SIZE.value), *splits["train"])
    for quick in (True, False) if FULL.value else (True,):
        Counted.stages = {}
        before, began = progress.compiled(), time.monotonic()
        model = fsjax.from_torch(module, np.moveaxis(splits["train"][0][:1], -1, 1))
        converted = time.monotonic() - began
        result = analyse(model, **splits, quick=quick)
        print(result, file=sys.stderr)
        table = time.monotonic() - began
        with tempfile.TemporaryDirectory() as folder:
            result.report(folder)
        page, after = time.monotonic() - began, progress.compiled()
        compiled = {"programs": after[0] - before[0], "seconds": round(after[1] - before[1], 1)}
        measured = {"converted": round(converted, 1), "table": round(table, 1), "page": round(page, 1)}
        row = {"benchmark": "first_look", "network": NETWORK.value, "size": SIZE.value, "quick": quick, **measured}
        search = result.maps.forward_equivalents
        print(json.dumps({**row, "compiled": compiled, "search_passes": search, "stages": Counted.stages}), flush=True)


def images_of(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised images [n, H, W, 3] and labels: noise, and a wave of each class's own, in any phase."""
    rng, size = np.random.default_rng(seed), SIZE.value
    labels = np.repeat(np.arange(CLASSES), count)
    place = np.arange(size) / size
    images = rng.normal(size=(len(labels), size, size, 3)).astype(np.float32)
    for image, label in zip(images, labels.tolist(), strict=True):
        phase = rng.uniform(0, 2 * np.pi)
        wave = np.cos(2 * np.pi * ((label + 1) * place[:, None] + (3 * label % 7) * place) + phase)
        image += 2 * wave[..., None].astype(np.float32)
    return images, labels


def fitted(module: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> torch.nn.Module:
    """Fit the last linear layer to the labels by ridge regression on its inputs."""
    last = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)][-1]
    inputs: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda layer, arguments, _: inputs.append(arguments[0]))
    with torch.inference_mode():
        for batch in np.array_split(np.moveaxis(images, -1, 1), 20):
            module(torch.from_numpy(np.ascontiguousarray(batch)))
    hook.remove()
    features = torch.cat(inputs).double().numpy()
    mean, scale = features.mean(0), features.std(0) + 1e-12
    scaled, targets = (features - mean) / scale, 10 * (np.eye(CLASSES)[labels] - 1 / CLASSES)
    gram = scaled.T @ scaled + _RIDGE * len(scaled) * np.eye(len(mean))
    weight = np.linalg.solve(gram, scaled.T @ targets) / scale[:, None]
    with torch.no_grad():
        last.weight.copy_(torch.from_numpy(weight.T))
        last.bias.copy_(torch.from_numpy(-mean @ weight))
    return module


if __name__ == "__main__":
    app.run(main)
