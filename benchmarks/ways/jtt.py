"""JTT, just train twice: the images that a short training gets wrong weigh more in the training after it (ICML 2021).

E. Z. Liu et al., "Just train twice: improving group robustness without training group information", arXiv 2107.09044.
It needs no groups. As in the authors' code, anniesch/jtt (process_training.py and run_expt.py), the wrong images are
appended to the training images FACTOR times. Two things differ. Here both trainings together have the steps of one. The
length of the first and the factor are not tuned on validation images with groups: the first has a fifth of the steps,
as in the authors' command for Waterbirds, and the factor is the smallest of the authors' three.
"""

import numpy as np
from jaxtyping import Bool, Int
from ml_collections import ConfigDict

from benchmarks.ways import training_images
from fsjax.experiment import runner
from fsjax.experiment.stage import Workspace
from fsjax.runtime.storage import Path

FIRST, FACTOR = 0.2, 20


def train(config: ConfigDict, directory: Path) -> None:
    """Train twice, with the first training in `directory`/first and the second in `directory`."""
    images, labels = training_images.load(config)
    first, second = config.copy_and_resolve_references(), config
    first.train.steps = round(FIRST * config.train.steps)
    first.train.warmup_steps = round(FIRST * config.train.warmup_steps)
    second.train.steps -= first.train.steps
    second.train.warmup_steps -= first.train.warmup_steps
    runner.run(first, directory / "first")
    found = training_images.logits(Workspace(first, directory / "first").classifier, images).argmax(-1)
    training_images.select(second, upweighted(found != labels), directory / "upweighted")
    runner.run(second, directory)


def upweighted(wrong: Bool[np.ndarray, " n"], factor: int = FACTOR) -> Int[np.ndarray, " m"]:
    """Return the indices of the second training's images: each once, and wrong ones `factor` times more."""
    return np.concatenate([np.arange(len(wrong)), np.tile(np.flatnonzero(wrong), factor)])
