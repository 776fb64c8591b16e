"""Rounds of the stage probe: each trains and searches a network, and measures what it leans on."""

import copy
import itertools
import logging
import textwrap
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.data.operations import OPERATIONS
from fsjax.data.selection import sample_of_class
from fsjax.engine.model import Model
from fsjax.evaluation import operations, probes
from fsjax.evaluation.graft_outcomes import GraftSample
from fsjax.evaluation.probes import ProbeRound
from fsjax.evaluation.rates import evaluate_unfiltered
from fsjax.experiment import pipeline
from fsjax.experiment.stage import Workspace
from fsjax.experiment.stages import search, train
from fsjax.fourier import masks, spectrum
from fsjax.runtime import config_fields, files, parallel
from fsjax.runtime.storage import Path
from fsjax.training import ways

logger = logging.getLogger(__name__)

# Evenly spaced training images whose energy is measured.
_ENERGY_IMAGES = 512
# Shares of the plane: of a class's map, and of all frequencies to graft, the first of each class's map.
SHARE, _MOST = 0.02, 0.25


class Found(NamedTuple):
    """What probes found, and a training avoids: a file with the frequencies to graft, and operations in order."""

    file: Path | None = None
    operations: tuple[str, ...] = ()


NOTHING = Found()


class Rounds:
    """The rounds of a workdir so far, each a run in probes/<number>. All processes call the methods together.

    Attributes:
      exempt: whether each class is exempt, so that its maps are not grafted.
      done: the result of each round, in order.
      grafted: all frequencies found so far, centred, which the next round grafts.
      found: what the next round avoids.
      point: the workdir of the last round that probed the final training, if any.
    """

    def __init__(self, workspace: Workspace):
        self._workspace, self._folder = workspace, workspace.directory / "probes"
        classes = workspace.dataset("train").classes
        text = workspace.config.probe.exempt_classes
        names = config_fields.names("probe.exempt_classes", text, classes, each="class")
        self.exempt: Bool[np.ndarray, " classes"] = np.isin(classes, names)
        self.done: list[ProbeRound] = []
        self.grafted = np.zeros(2 * [workspace.config.data.image_size], bool)
        self.found = NOTHING
        self.point: Path | None = None

    def train_anew(self, lengths: int) -> bool:
        """Probe a fresh network after `lengths` short lengths, or resume this; return whether it found anything new."""
        short = short_config(self._workspace.config, len(self.done) + 1, self.found, lengths)
        return self._probe(short, lengths * short.probe.length, own=True)

    def continue_final(self, end: float) -> None:
        """Continue the final training from its last point up to a share of its steps, or resume this, and probe it."""
        up_to_point = _round_config(self._workspace.config, len(self.done) + 1, self.found)
        up_to_point.seed, up_to_point.train.until = self._workspace.config.seed, end
        up_to_point.train.graft.start = str(self.point or "")
        self._probe(up_to_point, end, own=False)
        self.point = self._folder / str(len(self.done))

    def _probe(self, round_config: ConfigDict, end: float, *, own: bool) -> bool:
        """Train, search and measure a network, and return whether its maps add to the grafted frequencies."""
        config, number = self._workspace.config, len(self.done) + 1
        logger.info(f"probe: round {number}, {'a training of' if own else 'the final training up to'} {end:.0%}")
        directory = self._folder / str(number)
        pipeline.run(round_config, directory, {"train": train.STAGE, "search": search.STAGE})
        workspace, images = Workspace(round_config, directory), self._workspace.dataset("train")
        classifier = workspace.classifier.at(config.search.precision, config.search.transform)
        ranked = workspace.maps
        assert ranked.scores is not None
        energy, unmeasured = _energy(images, classifier.mean_std), np.full(len(images.classes), np.nan)
        sample = GraftSample(
            images=lambda rows: normalise(images.images(rows), *classifier.mean_std),
            labels=images.labels,
            usable=np.arange(len(images)),
            tpr=unmeasured,
            fpr=unmeasured,
            pairs=config.probe.pairs,
            seed=config.seed,
            why_none="",
        )
        measured = probes.measure(
            classifier,
            probes.decisive(ranked.at(SHARE), ranked.scores, energy),
            sample,
            scores=ranked.scores,
            energy=energy,
            share=SHARE,
            memory_mib=config.run.memory_mib,
            directory=directory / "search" / "probe",
        )
        chosen = measured.used & ~self.exempt
        added = _added(measured.prefixes[chosen], ranked.scores[chosen], self.grafted)
        self.grafted = self.grafted | added
        told, became = self._told_by(classifier, images)
        result = ProbeRound(
            end=end,
            own=own,
            accuracy=evaluate_unfiltered(classifier, self._workspace.dataset("test")).accuracy,
            base=measured.base,
            positions=tuple(measured.prefixes.sum((1, 2)).tolist()),
            swapped=measured.swapped,
            psi=measured.psi,
            psi_ci=measured.psi_ci,
            used=tuple(measured.used.tolist()),
            operations=told,
            became=became,
            added=int(added.sum()),
            share=float(self.grafted.mean()),
        )
        self.done.append(result)
        _log(images.classes, result, number)
        file, known = self._folder / f"frequencies-{number}.npy", self.found.operations
        parallel.decide(lambda: files.write_npy(file, self.grafted))
        self.found = Found(file, tuple(name for name in OPERATIONS if name in {*known, *told}))
        return bool(added.any()) or self.found.operations != known

    def _told_by(self, classifier: Model, images: Dataset) -> tuple[tuple[str, ...], Float[np.ndarray, " classes"]]:
        """Return the operation that tells each class, '' = none, and the share of others' images that it turns."""
        seed, classes = self._workspace.config.seed, len(images.classes)
        count = -(-operations.IMAGES // classes)
        rows = np.concatenate([sample_of_class(images.labels, label, count, seed) for label in range(classes)])
        found = operations.measure(classifier, images.images(rows), images.labels[rows], seed)
        used = found.used & ~self.exempt[:, None]
        names = tuple("".join(itertools.compress(OPERATIONS, of_class)) for of_class in used)
        return names, (found.share * used).sum(1)


def short_config(config: ConfigDict, number: int, found: Found = NOTHING, lengths: int = 1) -> ConfigDict:
    """Return the config of round `number`, from 1: a training of `lengths` short lengths that avoids what was found."""
    short, length = _round_config(config, number, found), lengths * config.probe.length
    short.train.epochs = length * config.train.epochs
    short.train.steps = max(1, round(length * config.train.steps)) if config.train.steps else 0
    short.train.warmup_steps = int(length * config.train.warmup_steps)
    return short


def _round_config(config: ConfigDict, number: int, found: Found) -> ConfigDict:
    """Return the config of a run that trains as `config` does, avoiding what was found so far, and searches."""
    run = copy.deepcopy(config)
    run.seed, run.stages = config.seed + number, "train,search"
    given = {"graft": str(found.file or ""), "operations": ",".join(found.operations)}
    probed = ways.probed(config.train)
    run.train.ways = ",".join(name for name in ways.chosen(config.train) if name not in probed or given[name])
    if found.file:
        run.train.graft.maps = given["graft"]
    if "operations" in probed:
        run.train.operations.names = given["operations"]
    run.search.update(method="graft", split="train", shares=(SHARE,), resamples=0, patch=1)
    return run


def _energy(dataset: Dataset, mean_std: tuple[np.ndarray, np.ndarray]) -> Float[np.ndarray, "size size"]:
    """Return mean |F x|^2 of training images without the mean image."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, _ENERGY_IMAGES).astype(int))
    images = normalise(dataset.images(rows), *mean_std)
    return spectrum.energy(images - images.mean(0))


def _added(
    maps: Bool[np.ndarray, "chosen size size"],
    scores: Float[np.ndarray, "chosen size size"],
    grafted: Bool[np.ndarray, "size size"],
) -> Bool[np.ndarray, "size size"]:
    """Return the new frequencies in the maps of the chosen classes."""
    new = maps & ~grafted
    room = masks.budget(_MOST, *grafted.shape) - int(grafted.sum())
    added = masks.union(new, scores, room)
    if added.sum() < new.any(0).sum():
        most = f"{_MOST:.3g} of the plane"
        logger.warning(f"probe: the maps in use exceed {most}; the first frequencies of each are grafted")
    return added


def _log(classes: tuple[str, ...], result: ProbeRound, number: int) -> None:
    by_class = list(zip(classes, result.psi, result.used, result.swapped, strict=True))
    in_use = _listed([f"{name} (psi {psi:.2f})" for name, psi, used, _ in by_class if used])
    told = zip(classes, result.operations, result.became, strict=True)
    by_operations = _listed([f"{name} ({by} {100 * became:.0f} %)" for name, by, became in told if by])
    unlearned = [name for name, _, _, swapped in by_class if not swapped >= probes.RECOGNISED]
    logger.info(
        f"probe: round {number}, accuracy {result.accuracy:.2f}; maps in use: {in_use}; "
        f"told by operations: {by_operations}; grafted from now on: {100 * result.share:.1f} % of the plane"
    )
    if unlearned:
        logger.warning(
            f"probe: the network of round {number} recognises fewer than half of the training images of "
            f"{_listed(unlearned)}, and says little about them: train.steps or probe.length may be too low, or the "
            "grafted frequencies are their only cue (probe.exempt_classes)"
        )


def _listed(names: list[str]) -> str:
    return textwrap.shorten(", ".join(names) or "none", 200, placeholder=" ...")
