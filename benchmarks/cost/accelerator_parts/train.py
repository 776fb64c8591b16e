"""Part `train`: a training from end to end, and the training loop against its step on resident data."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.common import paired, resident_step
from benchmarks.cost.accelerator_parts import peaks, trained_model
from benchmarks.cost.accelerator_parts.settings import Settings
from benchmarks.cost.accelerator_parts.trained_model import TrainedModel
from fsjax import models
from fsjax.data.loader import batches
from fsjax.evaluation.rates import evaluate_unfiltered
from fsjax.runtime import storage
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.metrics import Metrics
from fsjax.search.gradient import PASSES
from fsjax.training import loop
from fsjax.training.setup import build, restore

# Of config.train.precision: the mode of an accelerator's matrix units.
_MODES = {"bfloat16": "bfloat16", "float32": "tensorfloat32"}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield one row.

    `seconds` and `compile_seconds` are of the stage that trained the model. `images_per_second` is of that stage
    without compilation, but with reading, saving and the start. `ratio` is that of the training loop, with its loader
    and checkpoints, over the bare step, in interleaved rounds.
    """
    trained = trained_model.load_or_train(settings)
    config, costs = trained.config, trained.costs()
    images = config.train.steps * config.train.batch_size
    rate = images / (costs["stage_seconds"] - costs["compile_seconds"])
    rates = paired_rates(trained, settings)
    network = models.build(
        config.model.name, num_classes=len(trained.classifier.classes), image_size=config.data.image_size
    )
    peak_gib, batch = costs.get("device_peak_gib"), config.train.batch_size
    yield {
        **trained.row(),
        "precision": config.train.precision,
        "seconds": costs["stage_seconds"],
        "compile_seconds": costs["compile_seconds"],
        "accuracy": evaluate_unfiltered(trained.classifier, trained.test).accuracy,
        "images": images,
        "images_per_second": rate,
        **paired.ratio(rates["loop"], rates["step"]),
        "loop_images_per_second": float(np.median(rates["loop"])) * batch,
        "step_images_per_second": float(np.median(rates["step"])) * batch,
        **peaks.utilisation(PASSES * rate, network, _MODES[config.train.precision], settings.peaks),
        "peak_mib": peak_gib and round(peak_gib * 1024),
    }


def paired_rates(trained: TrainedModel, settings: Settings) -> dict[str, np.ndarray]:
    """Return steps a second of the training loop and of the bare step, round by round."""
    sizes, config, dataset = settings.sizes, trained.config, trained.training
    built = build(config, dataset, trained.classifier.mean_std, trained.directory)
    training = dataclasses.replace(built, steps=sizes.round_steps)
    scratch = settings.directory / "training-rounds"
    storage.remove(scratch)
    with contextlib.ExitStack() as stack:
        metrics = stack.enter_context(Metrics(scratch))
        starts = []
        for number in range(sizes.long_rounds + 2):
            checkpoints = Checkpoints(scratch / f"checkpoints{number}")
            stack.enter_context(contextlib.closing(checkpoints))
            starts.append((restore(training, checkpoints), checkpoints))
        (state, _), *starts = starts
        left = iter(starts)

        def trained_steps() -> int:
            start, checkpoints = next(left)
            loop.run_steps(training, start, [], checkpoints, metrics)
            return sizes.round_steps

        stream = batches(dataset, batch_size=config.train.batch_size, seed=config.seed, num_steps=1)
        resident = resident_step.place(next(iter(stream)))
        bare = resident_step.stepper(training.update, state.replicas, resident)
        sides: dict[str, Callable[[], int]] = {
            "loop": trained_steps,
            "step": functools.partial(bare, sizes.round_steps),
        }
        for side in sides.values():
            side()  # compiles
        rates = paired.rates(sides, sizes.long_rounds)
    storage.remove(scratch)
    return rates
