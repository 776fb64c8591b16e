"""Compare rankings of single images' frequencies: how many predictions do the first frequencies of each ranking keep?

  python benchmarks/accuracy/attribution.py --config=configs/cifar10_cpu.py --config.data.root=DIR --workdir=DIR

Set other fields of the config in the same way, as for launch.py. Trains the classifier if the workdir has none. Test
images are drawn by seed: `--images` of them, after the first `--skip`. The baseline is the empty spectrum. Prints a
JSON line for each order and share, with the share of predictions kept by the first frequencies (`kept`) and without
them (`kept_without`), and a line for each order beside `fsjax.attribute`: how many more predictions `fsjax.attribute`
keeps, with a bootstrap 95 % interval over the images of paired differences.

`ffc1` and `ffc20` are the order of Liu et al. (arXiv 2411.18343, their code: 1 step for ImageNet, 20 for CIFAR-10): the
image x takes 1 or 20 steps of length 1,000 down the gradient of the cross-entropy to its prediction, to x', and a
frequency of a channel scores 2 Re(conj(F x') F x) / |F x| - |F x|. As published, they choose frequencies of single
channels, so that a share covers three planes; `_orbits` sums the scores over channels, as fsjax does.
"""

import functools
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from fsjax.data.normalisation import normalise
from fsjax.evaluation import attribution, statistics
from fsjax.experiment import runner
from fsjax.experiment.stage import Workspace
from fsjax.runtime import startup

SHARES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
STEP = 1000
# Images of a call of the peer's method.
BATCH = 25


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    startup.use_cores(128)
    own, config = flags.FLAGS, flags.FLAGS.config
    config.stages = "train"
    directory = pathlib.Path(own.workdir)
    runner.run(config, directory)
    workspace = Workspace(config, directory)
    classifier, test = workspace.classifier, workspace.dataset("test")
    drawn = np.random.default_rng(0).permutation(len(test))[own.skip : own.skip + own.images]
    images = np.asarray(normalise(test.images(np.sort(drawn)), *classifier.mean_std), np.float32)
    for row in rows(classifier, images, own.refinements):
        print(json.dumps(row), flush=True)


def rows(model, images: np.ndarray, refinements: int):
    """Yield the rows of a model and normalised images."""
    baselines = np.zeros_like(images)
    grafts = attribution.BaselineGrafts(model, images, baselines)
    found = attribution.attribute(grafts, shares=SHARES, refinements=refinements)
    kept, kept_without = dict(found.kept), dict(found.kept_without)

    def measure(name: str, scores: np.ndarray) -> None:
        sets = [attribution.first_orbits(scores.astype(float), share) for share in SHARES]
        kept[name] = np.stack([grafts.keep(chosen) for chosen in sets], axis=1)
        kept_without[name] = np.stack([grafts.keep(~chosen) for chosen in sets], axis=1)

    measure("integrated_gradients", found.scores)
    for steps in (1, 20):
        scores = ffc(model, images, found.predicted, steps)
        measure(f"ffc{steps}_orbits", scores.sum(-1))
        kept[f"ffc{steps}"], kept_without[f"ffc{steps}"] = keep_channels(model, images, found.predicted, scores)
    about = {
        "images": len(images),
        "as_baseline": float((found.predicted == found.baseline_predicted).mean()),
        "median_smallest_share": float(np.median(found.smallest_shares)),
    }
    yield about
    for name, order_kept in kept.items():
        for index, share in enumerate(SHARES):
            rates = {"kept": order_kept[:, index].mean(), "kept_without": kept_without[name][:, index].mean()}
            yield {"order": name, "share": share, **{key: round(float(rate), 4) for key, rate in rates.items()}}
    for name in kept:
        if name != "attribution":
            differences = found.kept["attribution"].astype(float) - kept[name]
            intervals = statistics.bootstrap_interval(differences)
            mean_interval = statistics.bootstrap_interval(differences.mean(1))
            yield {
                "over": name,
                "shares": SHARES,
                "difference": np.round(differences.mean(0), 4).tolist(),
                "interval": np.round(intervals, 4).tolist(),
                "mean_over_shares": round(float(differences.mean()), 4),
                "mean_interval": np.round(mean_interval, 4).tolist(),
            }


def ffc(model, images: np.ndarray, labels: np.ndarray, steps: int) -> np.ndarray:
    """Return the peer's score of each frequency and channel, [n, H, W, C] on the centred plane."""

    @jax.jit
    def moved(params, images, labels):
        def loss(images):
            return -jnp.take_along_axis(jax.nn.log_softmax(model.apply(params, images)), labels[:, None], 1).sum()

        return jax.lax.fori_loop(0, steps, lambda _, moved: moved - STEP * jax.grad(loss)(moved), images)

    scores = []
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        after = np.asarray(moved(model.params, images[rows], labels[rows]), float)
        before, after = (np.fft.fftshift(np.fft.fft2(of, axes=(1, 2)), axes=(1, 2)) for of in (images[rows], after))
        size = np.abs(before)
        scores.append(2 * (after.conj() * before).real / np.maximum(size, 1e-12) - size)
    return np.concatenate(scores)


def keep_channels(model, images: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the best frequencies of single channels keep predictions, and whether all others do."""
    spectra = np.fft.fft2(images, axes=(1, 2))
    ordered = -np.sort(-scores.reshape(len(images), -1), axis=1)
    predict = jax.jit(functools.partial(model.apply, model.params))
    outcomes: tuple[list, list] = [], []
    for share in SHARES:
        least = ordered[:, int(share * ordered.shape[1])]
        chosen = np.fft.ifftshift(scores > least[:, None, None, None], axes=(1, 2))
        for outcome, kept in zip(outcomes, (chosen, ~chosen), strict=True):
            filtered = np.fft.ifft2(spectra * kept, axes=(1, 2)).real.astype(np.float32)
            logits = [predict(filtered[start : start + BATCH]) for start in range(0, len(images), BATCH)]
            outcome.append(np.concatenate(logits).argmax(-1) == labels)
    return np.stack(outcomes[0], axis=1), np.stack(outcomes[1], axis=1)


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", "configs/cifar10_cpu.py", "Config of the classifier.")
    flags.DEFINE_string("workdir", None, "Folder of the classifier.", required=True)
    flags.DEFINE_integer("images", 200, "Test images.")
    flags.DEFINE_integer("skip", 0, "Drawn images that are passed over.")
    flags.DEFINE_integer("refinements", 24, "As of fsjax.attribute.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
