"""Parts `search` and `precision`: every search method on the trained model, and removal scores of each precision."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.cost.accelerator_parts import comparisons
from benchmarks.cost.accelerator_parts.settings import Settings
from benchmarks.cost.accelerator_parts.train import TrainedModel, load_or_train
from fsjax import models, search
from fsjax.engine import tile_size
from fsjax.evaluation.statistics import rank_correlation
from fsjax.fourier import patches
from fsjax.runtime import parallel, progress, storage
from fsjax.search.removal import removal_masks
from fsjax.search.sweep import sweep

# Test images of CIFAR-10: the seconds of exact removal are scaled to them.
CIFAR10 = 10_000


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a row for each method and precision of the settings."""
    trained = load_or_train(settings)
    for method, precision in settings.searches():
        yield search_row(trained, method, precision, settings)


def search_row(trained: TrainedModel, method: str, precision: str, settings: Settings) -> dict[str, Any]:
    """Measure one search, from its start to its file of maps, with partial results in the workdir.

    `seconds` include `compile_seconds`. `images_per_second` counts forward equivalents over the remaining seconds. In
    TF32 both include the precision check of two masks and the unfiltered images; by default it takes 256 masks.
    """
    directory = settings.directory / "search" / f"{method}-{precision}"
    storage.remove(directory)  # nothing is resumed
    problem = trained.problem(method, precision, settings.image_count(method, precision), settings, directory)
    compiled_before, started = progress.compiled()[1], time.perf_counter()
    maps = search.run(problem)
    maps.save(directory / "maps.npz")
    seconds = time.perf_counter() - started
    compile_seconds, passes = progress.compiled()[1] - compiled_before, int(maps.forward_equivalents)
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
        **comparisons.utilisation(rate, network, precision, settings.peaks),
    }
    if method == "removal":
        scaled = compile_seconds + CIFAR10 * (1 + patches.count(*problem.plane, 1)) / rate
        measured = sum(problem.counts) == CIFAR10
        row |= {
            "seconds_for_cifar10": seconds if measured else scaled,
            "seconds_for_cifar10_are": "measured" if measured else "an estimate",
            "loss_difference_from_cpu": comparisons.loss_difference(
                problem.searched_model,
                trained.classifier,
                *trained.test_images(settings.sizes.checked),
                masks=settings.sizes.checked,
                tile_images=tile_size.layout(problem.searched_model, problem.counts)["tile_images"],
            ),
        }
    peak = parallel.peak_bytes()
    return row | {"peak_mib": peak and round(peak / 2**20)}


def measure_precisions(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a row for each precision: its removal scores beside 'highest', and 'highest' in tiles of half the size.

    `spearman` and `top_iou` (of the best 5 %) are medians over the classes, and `worst_...` minima.
    """
    trained = load_or_train(settings)
    expected, _ = scores(trained, "highest", settings)
    images, labels = trained.test_images(settings.sizes.checked)
    for precision in ("highest", "tensorfloat32", "bfloat16"):
        found, tile_images = scores(trained, precision, settings, smaller=precision == "highest")
        model = trained.problem("removal", precision, 1, settings).searched_model
        yield {
            **trained.row(),
            "method": "removal",
            "precision": precision,
            "classes": len(found),
            "images": settings.sizes.precision_images * len(found),
            **agreement(found, expected),
            "loss_difference_from_cpu": comparisons.loss_difference(
                model,
                trained.classifier,
                images,
                labels,
                masks=settings.sizes.checked,
                tile_images=tile_images,
            ),
        }


def scores(
    trained: TrainedModel, precision: str, settings: Settings, *, smaller: bool = False
) -> tuple[Float[np.ndarray, "classes orbits"], int]:
    """Return how much each orbit's removal raises each class's mean loss, in nats, and the images of a tile."""
    problem = trained.problem("removal", precision, settings.sizes.precision_images, settings)
    layout = tile_size.layout(problem.searched_model, problem.counts)
    if smaller:
        layout = {name: -(-size // 2) for name, size in layout.items()}
    losses = sweep(problem, removal_masks(problem.plane, 1), layout=layout) / np.array(problem.counts)[:, None]
    return losses[:, 1:] - losses[:, :1], layout["tile_images"]


def agreement(
    found: Float[np.ndarray, "classes orbits"], expected: Float[np.ndarray, "classes orbits"]
) -> dict[str, float | None]:
    """Return median and least over the classes of Spearman's correlation and of the IoU of the best 5 %."""
    row: dict[str, float | None] = {}
    for name, compare in (("spearman", rank_correlation), ("top_iou", top_iou)):
        values = [value for pair in zip(found, expected, strict=True) if (value := compare(*pair)) is not None]
        row[name] = float(np.median(values)) if values else None
        row[f"worst_{name}"] = min(values, default=None)
    return row


def top_iou(found: Float[np.ndarray, " n"], expected: Float[np.ndarray, " n"]) -> float:
    """Return the intersection over union of the best 5 % by either, at least one orbit, in [0, 1]."""
    count = max(1, round(0.05 * len(found)))
    best, truth = (set(np.argsort(-values, kind="stable")[:count]) for values in (found, expected))
    return len(best & truth) / len(best | truth)
