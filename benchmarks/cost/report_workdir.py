"""A workdir whose report can be written without a training and a search: random scores, made-up rates.

For what measures and tests the page: the figures mean nothing, their number and size are those of a run.
"""

import numpy as np

from configs import common
from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.fourier import dfm, spectrum
from fsjax.models.classifier import Classifier
from fsjax.report import page
from fsjax.runtime import files
from fsjax.runtime.storage import Path

IMAGES = 4  # of each class
HEADLINE = 0.05  # the share with controls: config.report.share, or the nearest to it


def write(
    directory: Path,
    classes: tuple[str, ...],
    size: int,
    *,
    shares: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2),
    grid: tuple[float, ...] = (0.02, 0.03, 0.07, 0.15, 0.3, 0.4, 0.5),
    patch: int = 1,
    samples: int = 3,
) -> dfm.DominantFrequencyMaps:
    """Writes evaluation.json and the report, and returns the maps.

    Args:
      directory: the workdir.
      classes: names.
      size: side of the images.
      shares: of the maps.
      grid: further shares at which rates are given.
      patch: scores are constant on squares of this side, as those of a search with patches nearly are.
      samples: images of a class that are shown.
    """
    rng = np.random.default_rng(0)
    radius = spectrum.radius(size, size)

    def scores(_: int) -> np.ndarray:
        drawn = np.kron(rng.normal(size=(-(-size // patch),) * 2), np.ones((patch, patch)))[:size, :size]
        drawn = (drawn + spectrum.conjugate(drawn)) / (0.05 + radius)
        return drawn.astype(np.float32)

    maps = dfm.from_scores(
        map(scores, range(len(classes))),
        shares,
        classes=classes,
        method="removal",
        searched_on="train",
        images=np.full(len(classes), 9),
        forward_equivalents=1,
        provenance={},
    )
    files.write_json(directory / "evaluation.json", evaluation(classes, shares, grid, rng))
    files.write_json(directory / "command.json", ["python", "launch.py", "--config=configs/x.py"])
    config = common.base()
    config.search.shares, config.data.image_size, config.report.samples = shares, size, samples
    mean_std = (np.full(3, 0.5), np.full(3, 0.25))
    classifier = Classifier(Model(lambda params, images: images, {}, (size, size, 3)), mean_std, classes)
    page.write(config, directory, classifier, maps, Dataset(_Pictures(classes, size), size))
    return maps


def evaluation(classes: tuple[str, ...], shares: tuple[float, ...], grid: tuple[float, ...], rng) -> dict:
    """An evaluation.json of made-up rates, with controls at the headline share."""
    count = len(classes)

    def rates() -> dict:
        tpr = rng.random(count)
        limits = np.stack([tpr * 0.9, tpr * 0.9 + 0.1], axis=1)
        return {"tpr": tpr.tolist(), "tpr_ci": limits.tolist(), "fpr": (rng.random(count) / 10).tolist()}

    controls = ("control_tpr", "low_pass_tpr", "highest_energy_tpr", "random_tpr", "radial_tpr", "p_value", "q_value")
    judged = {name: rng.random(count).tolist() for name in controls} | {
        "best_trivial": ["low-pass"] * count,
        "margin": (rng.random(count) - 0.5).tolist(),
        "margin_ci": [[-0.1, 0.3]] * count,
        "shortcut": [index % 3 == 0 for index in range(count)],
        "random_masks": 20,
        "radial_masks": 20,
        "control_images": [IMAGES] * count,
    }
    of_grid = [rates() for _ in grid]
    method = {f"{share:g}": rates() for share in shares}
    method[f"{min(shares, key=lambda share: abs(share - HEADLINE)):g}"] |= judged
    if grid:
        columns = {rate: [one[rate] for one in of_grid] for rate in of_grid[0]}
        method["grid"] = {"images": [IMAGES] * count, "shares": list(grid), **columns}
    confusion = rng.integers(0, 3, (count, count)) + IMAGES * np.eye(count, dtype=int)
    return {
        "classes": list(classes),
        "images": [IMAGES] * count,
        "unfiltered": {"accuracy": 0.5, **rates(), "confusion": confusion.tolist()},
        "removal": method,
    }


class _Pictures:
    """A source of noise with the amplitudes of a natural image, 1/f."""

    planted = None

    def __init__(self, classes: tuple[str, ...], size: int):
        self.classes, self._size = classes, size
        self.labels = np.repeat(np.arange(len(classes)), IMAGES).astype(np.int32)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> np.ndarray:
        white = np.random.default_rng(index).normal(size=(self._size, self._size, 3)).astype(np.float32)
        radius = np.maximum(np.fft.ifftshift(spectrum.radius(self._size, self._size)), 1 / self._size)
        pink = np.fft.ifft2(np.fft.fft2(white, axes=(0, 1)) / radius[..., None], axes=(0, 1)).real
        return np.clip(128 + 45 * pink / pink.std(), 0, 255).astype(np.uint8)
