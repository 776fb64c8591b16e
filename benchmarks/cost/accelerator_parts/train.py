"""Part `train`: a training; other parts load the trained model."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from benchmarks.cost.accelerator_parts import comparisons
from benchmarks.cost.accelerator_parts.settings import Settings
from configs import common
from fsjax import data, models, search
from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.evaluation.rates import evaluate_unfiltered
from fsjax.experiment import runner
from fsjax.models.source import model_source
from fsjax.runtime import files, storage
from fsjax.search.graft import PASSES
from fsjax.search.method import make_problem

# config.train.precision -> the mode of an accelerator's matrix units.
_MODES = {"bfloat16": "bfloat16", "float32": "tensorfloat32"}


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A finished training.

    Attributes:
      config: the config of the run.
      directory: its workdir.
      classifier: the model of the last step, also in bfloat16.
      test: the test images.
    """

    config: ConfigDict
    directory: pathlib.Path
    classifier: Model
    test: Dataset

    def row(self) -> dict[str, Any]:
        """Return the fields that every row about this model has."""
        config = self.config
        return {"model": config.model.name, "image_size": config.data.image_size, "images_from": config.data.source}

    def costs(self) -> dict[str, float]:
        """Return `stage_seconds`, `compile_seconds` and, where devices report it, `device_peak_gib` of the training."""
        lines = (self.directory / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if "stage_seconds" in row][-1]

    def problem(
        self, method: str, precision: str, images: int, settings: Settings, directory: pathlib.Path | None = None
    ) -> search.Problem:
        """Return a search of at most `images` test images of a class; partial results go to `directory`."""
        options = search.options()
        options.update_from_flattened_dict(dict(settings.sizes.search_options))
        options.update(method=method, precision=precision, split="test", images_per_class=images)
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
    """Return the workdir's trained model, trained by the project's own runner if there is none.

    A stopped training restarts from the beginning, because its seconds are measured.
    """
    config, directory = run_config(settings), settings.directory / "run"
    record = directory / "stages" / "train.json"
    if record.exists() and not files.read_json(record)["done"]:
        storage.remove(directory)
    runner.run(config, directory)
    loaded = config.copy_and_resolve_references()
    loaded.search.precision = "bfloat16"  # so that the classifier can compute in it
    test = data.load(config.data, "test", config.seed)
    return TrainedModel(config, directory, model_source(loaded).model(directory), test)


def run_config(settings: Settings) -> ConfigDict:
    """Return the config of the training.

    With such recipes a CIFAR ResNet-18 reaches 94 to 95 % in 24 to 30 epochs: SGD with Nesterov momentum, batches of
    512, a rate of 0.4 that rises over a fifth of the steps and falls by a cosine, flips and crops, smoothed labels. We
    expect at least 94 %; it has not been run on an accelerator yet.
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


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield one row.

    `seconds` and `compile_seconds` measure the training stage. `images_per_second` excludes compilation, but includes
    reading, saving and the start.
    """
    trained = load_or_train(settings)
    config, costs = trained.config, trained.costs()
    images = config.train.steps * config.train.batch_size
    rate = images / (costs["stage_seconds"] - costs["compile_seconds"])
    network = models.build(
        config.model.name, num_classes=len(trained.classifier.classes), image_size=config.data.image_size
    )
    peak_gib = costs.get("device_peak_gib")
    yield {
        **trained.row(),
        "precision": config.train.precision,
        "seconds": costs["stage_seconds"],
        "compile_seconds": costs["compile_seconds"],
        "accuracy": evaluate_unfiltered(trained.classifier, trained.test).accuracy,
        "images": images,
        "images_per_second": rate,
        **comparisons.utilisation(PASSES * rate, network, _MODES[config.train.precision], settings.peaks),
        "peak_mib": peak_gib and round(peak_gib * 1024),
    }
