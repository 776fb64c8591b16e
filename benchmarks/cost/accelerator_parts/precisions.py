"""Part `precision`: agreement of removal scores in TF32 and bfloat16 with those in 'highest', on the trained model."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.cost.accelerator_parts import oracle, trained_model
from benchmarks.cost.accelerator_parts.settings import Settings
from benchmarks.cost.accelerator_parts.trained_model import TrainedModel
from fsjax.engine import tile_size
from fsjax.search.reliability import rank_correlation, top_iou
from fsjax.search.removal import removal_masks
from fsjax.search.sweep import sweep


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield a row for each precision; that of 'highest' compares it with itself in tiles of half the size.

    `spearman` and `top_iou`, of the best 5 %, are the median over the classes, and `worst_...` the least.
    """
    trained = trained_model.load_or_train(settings)
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
            "loss_difference_from_cpu": oracle.loss_difference(
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
