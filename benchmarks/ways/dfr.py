"""DFR, deep feature reweighting: fit a network's last layer anew on held-out images of balanced groups (ICLR 2023).

P. Kirichenko, P. Izmailov, A. G. Wilson, "Last layer re-training is sufficient for robustness to spurious
correlations", arXiv 2204.02937. The groups are told. As in the authors' code, PolinaKirichenko/
deep_feature_reweighting (dfr_evaluate_spurious.py), the layer is the mean of 20 logistic regressions with an L1
penalty, each on as many images of every group. One half of the images chooses the penalty for the other half. Three
things differ. The held-out images standardise the features, not the training images. The penalty with the best mean
over groups is chosen, not with the best worst group, since the smallest group of a half has few images. Each class is
fitted against the rest, by a solver in NumPy.
"""

import contextlib
import dataclasses

import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from benchmarks.ways import training_images
from fsjax.experiment import runner
from fsjax.models.trained_network import TrainedNetwork, load_checkpoint
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.storage import Path

HELD_OUT = 0.2  # share of the training images
STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)  # C, from the authors' code
REPEATS = 20


def train(config: ConfigDict, directory: Path, groups: Int[np.ndarray, " n"]) -> None:
    """Train in `directory`/first, and save its network with a new last layer in `directory`."""
    (images, labels), count = training_images.load(config), round(HELD_OUT * len(groups))
    training_images.select(config, np.arange(count, len(groups)), directory / "trained")
    runner.run(config, directory / "first")
    trained = load_checkpoint(config, directory / "first")
    width = len(trained.variables["params"]["fc"]["kernel"])
    # With the identity as its last layer a network returns its features.
    features = training_images.logits(_with(trained, np.eye(width), np.zeros(width)).model(), images[:count])
    layer = last_layer(features, labels[:count], groups[:count], np.random.default_rng(config.seed))
    with contextlib.closing(Checkpoints(directory / "first" / "checkpoints")) as checkpoints:
        step = config.train.steps
        metadata = checkpoints.metadata(step)
    with contextlib.closing(Checkpoints(directory / "checkpoints")) as checkpoints:
        checkpoints.save(step, _with(trained, *layer).variables, {"none": np.zeros(1)}, metadata)


def _with(network: TrainedNetwork, kernel: np.ndarray, bias: np.ndarray) -> TrainedNetwork:
    """Return the network with another last layer."""
    layer = {"kernel": np.float32(kernel), "bias": np.float32(bias)}
    params = {**network.variables["params"], "fc": layer}
    return dataclasses.replace(network, variables={**network.variables, "params": params})


def last_layer(
    features: Float[np.ndarray, "n features"],
    labels: Int[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "features classes"], Float[np.ndarray, " classes"]]:
    """Return kernel and bias for features as they are."""
    mean, std = features.mean(0), features.std(0)
    scaled = (features - mean) / np.where(std > 0, std, 1)
    fitted, judged = np.array_split(rng.permutation(len(labels)), 2)
    fitted = fitted[balanced(groups[fitted], rng)]
    accuracies = []
    for strength in STRENGTHS:
        kernel, bias = l1_logistic(scaled[fitted], labels[fitted], strength)
        right = (scaled[judged] @ kernel + bias).argmax(-1) == labels[judged]
        accuracies.append(np.mean([right[groups[judged] == group].mean() for group in np.unique(groups[judged])]))
    best = STRENGTHS[int(np.argmax(accuracies))]
    chosen = (balanced(groups, rng) for _ in range(REPEATS))
    layers = [l1_logistic(scaled[part], labels[part], best) for part in chosen]
    kernel, bias = (np.mean(part, axis=0) for part in zip(*layers, strict=True))
    kernel /= np.where(std > 0, std, 1)[:, None]
    return kernel, bias - mean @ kernel


def balanced(groups: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " m"]:
    """Draw as many images of each group as the smallest has, without replacement."""
    names, counts = np.unique(groups, return_counts=True)
    return np.concatenate([rng.permutation(np.flatnonzero(groups == name))[: counts.min()] for name in names])


def l1_logistic(
    features: Float[np.ndarray, "n features"], labels: Int[np.ndarray, " n"], strength: float, steps: int = 3000
) -> tuple[Float[np.ndarray, "features classes"], Float[np.ndarray, " classes"]]:
    """Minimise |w|_1 + |b| + strength * (sum of logistic losses) for each class against the rest, by FISTA."""
    rows = np.pad(features.astype(float), ((0, 0), (0, 1)), constant_values=1)
    signs = 2.0 * (labels[:, None] == np.arange(labels.max() + 1)) - 1
    rate = 4 / (strength * np.linalg.norm(rows, 2) ** 2)
    weights = ahead = np.zeros((rows.shape[1], signs.shape[1]))
    momentum = 1.0
    for _ in range(steps):
        slopes = -strength * rows.T @ (signs / (1 + np.exp(np.clip(signs * (rows @ ahead), -500, 500))))
        moved = ahead - rate * slopes
        before, weights = weights, np.sign(moved) * np.maximum(np.abs(moved) - rate, 0)
        momentum, last = (1 + np.sqrt(1 + 4 * momentum**2)) / 2, momentum
        ahead = weights + (last - 1) / momentum * (weights - before)
    return weights[:-1], weights[-1]
