"""Rows as a Markdown table."""

from typing import Any

# Field of a row -> title of its column.
COLUMNS = {
    "part": "part",
    "method": "method",
    "model": "model",
    "image_size": "pixels",
    "precision": "precision",
    "images": "images",
    "seconds": "s",
    "compile_seconds": "s to compile",
    "seconds_for_cifar10": "s for CIFAR-10",
    "seconds_for_cifar10_are": "these are",
    "accuracy": "accuracy",
    "images_per_second": "images/s",
    "ratio": "over plain, or over the step",
    "tile_ratio": "tiles over plain",
    "share_of_peak": "of peak",
    "peak_mib": "peak MiB",
    "temporary_mib": "temporary MiB",
    "spearman": "Spearman",
    "worst_spearman": "worst",
    "top_iou": "top-5 % IoU",
    "worst_top_iou": "worst",
    "loss_difference_from_cpu": "from CPU",
}


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table; a value that a row lacks is an empty cell."""
    lines = [list(COLUMNS.values()), ["---"] * len(COLUMNS)]
    lines += [[_cell(row.get(name)) for name in COLUMNS] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
