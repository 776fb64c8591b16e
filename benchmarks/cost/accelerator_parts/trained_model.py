"""The model that is trained once in the workdir, by the project's own runner, and that the other parts find there."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from benchmarks.cost.accelerator_parts.settings import Settings
from configs import common
from fsjax import data, search
from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.experiment import runner
from fsjax.models.source import model_source
from fsjax.runtime import files, storage
from fsjax.search.method import make_problem


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A finished training.

    Attributes:
      config: of the run.
      directory: its workdir.
      classifier: of the last step, also in bfloat16.
      training, test: the images.
    """

    config: ConfigDict
    directory: pathlib.Path
    classifier: Model
    training: Dataset
    test: Dataset

    def row(self) -> dict[str, Any]:
        """Return what every row about this model says of it."""
        config = self.config
        return {"model": config.model.name, "image_size": config.data.image_size, "images_from": config.data.source}

    def costs(self) -> dict[str, float]:
        """Return `stage_seconds`, `compile_seconds` and, where devices report it, `device_peak_gib` of the training."""
        lines = (self.directory / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if "stage_seconds" in row][-1]

    def problem(
        self, method: str, precision: str, images: int, settings: Settings, directory: pathlib.Path | None = None
    ) -> search.Problem:
        """Return the search of at most so many test images of a class; partial results go to the directory."""
        options = search.options()
        options.update_from_flattened_dict(dict(settings.sizes.search_options))
        # The part `precision` measures the agreement; as by default it would take longer than the search itself.
        options.update(method=method, precision=precision, split="test", images_per_class=images, agreement_masks=2)
        search.check(options, self.classifier.image_shape[:2])
        return make_problem(
            self.classifier,
            self.test,
            options=options,
            seed=self.config.seed,
            searched_on="test",
            run=self.config.run,
            provenance={},
            directory=directory,
        )

    def test_images(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return test images spread over the classes, normalised, and their labels."""
        chosen = np.linspace(0, len(self.test) - 1, min(count, len(self.test)), dtype=int)
        images = np.asarray(normalise(self.test.images(chosen), *self.classifier.mean_std))
        return images, self.test.labels[chosen]


def load_or_train(settings: Settings) -> TrainedModel:
    """Return the workdir's trained model; train it where there is none.

    A training that was stopped begins anew, since its seconds are measured.
    """
    config, directory = run_config(settings), settings.directory / "run"
    record = directory / "stages" / "train.json"
    if record.exists() and not files.read_json(record)["done"]:
        storage.remove(directory)
    runner.run(config, directory)
    loaded = config.copy_and_resolve_references()
    loaded.search.precision = "bfloat16"  # so that the classifier has this form too
    training, test = (data.load(config.data, split, config.seed) for split in ("train", "test"))
    return TrainedModel(config, directory, model_source(loaded).model(directory), training, test)


def run_config(settings: Settings) -> ConfigDict:
    """Return the config of the training.

    The recipe follows those with which a CIFAR ResNet-18 reaches 94 to 95 % in 24 to 30 epochs: SGD with Nesterov
    momentum, batches of 512, a rate of 0.4 that rises over a fifth of the steps and falls by a cosine, flips and crops,
    smoothed labels. At least 94 % is what we expect of it; it has not been run on an accelerator yet.
    """
    sizes, config = settings.sizes, common.base()
    config.stages = "train"
    images, train = config.data, config.train
    if settings.root:
        images.source, images.root = "folder", settings.root
        images.mean, images.std = common.CIFAR10
    images.image_size, images.validation_share = sizes.image_size, 0.0
    images.synthetic.update(train_per_class=sizes.train_per_class, test_per_class=sizes.test_per_class)
    config.model.name = sizes.model
    train.update(steps=sizes.steps, warmup_steps=sizes.warmup_steps, batch_size=sizes.batch_size)
    train.update(learning_rate=sizes.learning_rate, weight_decay=5e-4, label_smoothing=0.1)
    train.update(precision=sizes.train_precision, augment="flip,crop", evaluators="")
    config.run.checkpoint_every = 98  # as once an epoch of CIFAR-10; the planted set is smaller
    return config
