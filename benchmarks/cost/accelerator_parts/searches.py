"""Part `search`: every search method on the trained model, as a user runs it."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.common import paired
from benchmarks.cost.accelerator_parts import class_searches, masked_forward, oracle, peaks, trained_model
from benchmarks.cost.accelerator_parts.settings import Settings
from benchmarks.cost.accelerator_parts.trained_model import TrainedModel
from fsjax import models, search
from fsjax.fourier import patches
from fsjax.runtime import parallel, profiling, storage

# The test images of CIFAR-10, to which the seconds of exact removal are scaled.
CIFAR10 = 10_000


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a row for each method and precision of the settings."""
    trained = trained_model.load_or_train(settings)
    for method, precision in settings.searches():
        yield search_row(trained, method, precision, settings)


def search_row(trained: TrainedModel, method: str, precision: str, settings: Settings) -> dict[str, Any]:
    """Measure one search, from its start to its file of maps, with partial results in the workdir.

    `seconds` include `compile_seconds`, `images_per_second` does not: forward equivalents over the seconds left. In
    TF32 both include the precision check, of two masks and the whole images in place of the default's 256.
    """
    directory = settings.directory / "search" / f"{method}-{precision}"
    storage.remove(directory)  # of an earlier call: nothing is resumed
    problem = trained.problem(method, precision, settings.image_count(method, precision), settings, directory)
    compiled_before, started = profiling.compiled()[1], time.perf_counter()
    maps = search.run(problem)
    maps.save(directory / "maps.npz")
    seconds = time.perf_counter() - started
    compile_seconds, passes = profiling.compiled()[1] - compiled_before, int(maps.forward_equivalents)
    rate = passes / (seconds - compile_seconds)
    network = models.build(trained.config.model.name, num_classes=len(problem.classes), image_size=problem.plane[0])
    row = {
        **trained.row(),
        "method": method,
        "precision": precision,
        "classes": len(problem.classes),
        "images": sum(problem.counts),
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "forward_equivalents": passes,
        "images_per_second": rate,
        **peaks.utilisation(rate, network, precision, settings.peaks),
    }
    if method == "removal":
        scaled = compile_seconds + CIFAR10 * (1 + patches.count(*problem.plane, 1)) / rate
        measured = sum(problem.counts) == CIFAR10
        row |= {
            "seconds_for_cifar10": seconds if measured else scaled,
            "seconds_for_cifar10_are": "measured" if measured else "an estimate",
            **removal_ratios(problem, rate, settings),
        }
        row["loss_difference_from_cpu"] = oracle.loss_difference(
            problem.searched_model,
            trained.classifier,
            *trained.test_images(settings.sizes.checked),
            masks=settings.sizes.checked,
            tile_images=row["tile_images"],
        )
    peak = parallel.peak_bytes()
    return row | {"peak_mib": peak and round(peak / 2**20)}


def removal_ratios(problem: search.Problem, rate: float, settings: Settings) -> dict[str, Any]:
    """Compare exact removal with plain forward passes of the same model, in interleaved rounds.

    Returns:
      `ratio` of searches of two classes, with their boundary, over plain forward passes, and its `interval`;
      `tile_ratio` of full tiles, and `tile_interval`; `whole_ratio`, of the whole search, whose rate is given, over the
      median of the rounds' plain passes.
    """
    sizes, directory = settings.sizes, problem.directory
    assert directory is not None
    in_rounds = dataclasses.replace(problem, directory=directory.with_name(f"{directory.name}-rounds"))
    sides, layout = masked_forward.sides(
        problem.searched_model, problem.images(0)[: sizes.round_images], seconds=sizes.seconds
    )
    sides["search"] = class_searches.side(in_rounds, sizes.round_images)
    sides["search"]()  # compiles
    rates = paired.rates(sides, sizes.long_rounds)
    storage.remove(in_rounds.directory)
    tile = paired.ratio(rates["masked"], rates["forward"])
    plain = float(np.median(rates["forward"]))
    return {
        **paired.ratio(rates["search"], rates["forward"]),
        "whole_ratio": rate / plain,
        "tile_ratio": tile["ratio"],
        "tile_interval": tile["interval"],
        "forward_images_per_second": plain,
        "tile_images": layout["tile_images"],
        "tiles": layout["tiles"],
    }
