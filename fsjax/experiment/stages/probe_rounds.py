"""Rounds of the stage probe: each grafts the frequencies of earlier rounds, trains a network, and adds its findings."""

import copy
import logging

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.engine.model import Model
from fsjax.evaluation import probes
from fsjax.evaluation.graft_outcomes import GraftSample
from fsjax.evaluation.probes import ProbeRound
from fsjax.evaluation.rates import evaluate_unfiltered
from fsjax.experiment import pipeline
from fsjax.experiment.stage import Workspace
from fsjax.experiment.stages import search, train
from fsjax.fourier import masks, spectrum
from fsjax.runtime import files, parallel
from fsjax.runtime.storage import Path
from fsjax.training import ways

logger = logging.getLogger(__name__)

# Evenly spaced training images whose energy is measured.
_ENERGY_IMAGES = 512
_MOST_LOGGED = 10


class Rounds:
    """The rounds of a workdir so far, each a run in probes/<number>. All processes call the methods together.

    Attributes:
      done: the result of each round, in order.
      grafted: all frequencies found so far, centred, which the next round grafts.
      point: the workdir of the last round that probed the final training, if any.
    """

    def __init__(self, workspace: Workspace, exempt: Bool[np.ndarray, " classes"]):
        """Start before the first round; maps of `exempt` classes are not grafted."""
        self._workspace, self._exempt = workspace, exempt
        self._folder = workspace.directory / "probes"
        self.done: list[ProbeRound] = []
        self.grafted = np.zeros(2 * [workspace.config.data.image_size], bool)
        self.point: Path | None = None

    def train_anew(self, lengths: int) -> bool:
        """Probe a fresh network after `lengths` short lengths, or resume this; return whether it found anything new."""
        config = self._workspace.config
        end = lengths * config.probe.length
        short = short_config(config, len(self.done) + 1, self._grafted_file, lengths)
        return self._probe(short, end, f"a training of {end:.0%} of the steps", own=True)

    def continue_final(self, end: float) -> None:
        """Continue the final training from its last point up to a share of its steps, or resume this, and probe it."""
        assert self._grafted_file is not None, "short trainings come first"
        up_to_point = _round_config(self._workspace.config, len(self.done) + 1, self._grafted_file)
        up_to_point.seed, up_to_point.train.until = self._workspace.config.seed, end
        up_to_point.train.graft.start = str(self.point or "")
        self._probe(up_to_point, end, f"the final training up to {end:.0%}", own=False)
        self.point = self._folder / str(len(self.done))

    @property
    def _grafted_file(self) -> Path | None:
        return self._folder / f"frequencies-{len(self.done)}.npy" if self.done else None

    def _probe(self, round_config: ConfigDict, end: float, what: str, *, own: bool) -> bool:
        """Train, search and measure a network, and return whether its maps add to the grafted frequencies."""
        config, number = self._workspace.config, len(self.done) + 1
        logger.info("probe: round %d, %s", number, what)
        directory = self._folder / str(number)
        pipeline.run(round_config, directory, {"train": train.STAGE, "search": search.STAGE})
        workspace, images = Workspace(round_config, directory), self._workspace.dataset("train")
        classifier, ranked = workspace.classifier, workspace.maps
        assert ranked.scores is not None, "the graft search ranks frequencies"
        energy = _energy(images, classifier.mean_std)
        maps = probes.decisive(ranked.at(config.probe.share), ranked.scores, energy)
        measured = probes.measure(
            classifier,
            maps,
            _sample(config, classifier, images),
            scores=ranked.scores,
            energy=energy,
            share=config.probe.share,
            memory_mib=config.run.memory_mib,
            directory=directory / "search" / "probe",
        )
        chosen = measured.used & ~self._exempt
        added = _added(config, measured.prefixes[chosen], ranked.scores[chosen], self.grafted)
        self.grafted = self.grafted | added
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
            added=int(added.sum()),
            share=float(self.grafted.mean()),
        )
        self.done.append(result)
        _log(images.classes, result, number)
        parallel.decide(lambda: files.write_npy(self._folder / f"frequencies-{number}.npy", self.grafted))
        return bool(added.any())


def short_config(config: ConfigDict, number: int, grafted: Path | None = None, lengths: int = 1) -> ConfigDict:
    """Return the config of round `number`, from 1: a training of `lengths` short lengths with `grafted` frequencies."""
    short, length = _round_config(config, number, grafted), lengths * config.probe.length
    short.train.epochs = length * config.train.epochs
    short.train.steps = max(1, round(length * config.train.steps)) if config.train.steps else 0
    short.train.warmup_steps = int(length * config.train.warmup_steps)
    return short


def _round_config(config: ConfigDict, number: int, grafted: Path | None) -> ConfigDict:
    """Return the config of a run that trains as `config` does, with `grafted` frequencies, and searches."""
    run = copy.deepcopy(config)
    run.seed, run.stages = config.seed + number, "train,search"
    if grafted is None:
        run.train.ways = ",".join(name for name in ways.chosen(config.train) if name != "graft")
    else:
        run.train.graft.maps = str(grafted)
    run.search.update(
        {"method": "graft", "split": "train", "shares": (config.probe.share,), "resamples": 0, "patch": 1}
    )
    return run


def _energy(dataset: Dataset, mean_std: tuple[np.ndarray, np.ndarray]) -> Float[np.ndarray, "size size"]:
    """Return mean |F x|^2 of training images without the mean image."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, _ENERGY_IMAGES).astype(int))
    images = np.asarray(normalise(dataset.images(rows), *mean_std))
    return spectrum.energy(images - images.mean(0))


def _sample(config: ConfigDict, classifier: Model, dataset: Dataset) -> GraftSample:
    """Return the training images whose pairs are grafted."""
    unknown = np.full(len(dataset.classes), np.nan)
    return GraftSample(
        images=lambda rows: np.asarray(normalise(dataset.images(rows), *classifier.mean_std)),
        labels=dataset.labels,
        usable=np.arange(len(dataset)),
        tpr=unknown,
        fpr=unknown,
        pairs=config.probe.pairs,
        seed=config.seed,
        why_none="",
    )


def _added(
    config: ConfigDict,
    maps: Bool[np.ndarray, "chosen size size"],
    scores: Float[np.ndarray, "chosen size size"],
    grafted: Bool[np.ndarray, "size size"],
) -> Bool[np.ndarray, "size size"]:
    """Return the new frequencies in the maps of the chosen classes."""
    new = maps & ~grafted
    room = masks.budget(config.probe.max_share, *grafted.shape) - int(grafted.sum())
    added = masks.union(new, scores, room)
    if added.sum() < new.any(0).sum():
        logger.warning(
            "probe: the maps in use hold %.1f %% of the plane; the first frequencies of each are grafted, up to %g %% "
            "(probe.max_share)",
            100 * (grafted | new.any(0)).mean(),
            100 * config.probe.max_share,
        )
    return added


def _log(classes: tuple[str, ...], result: ProbeRound, number: int) -> None:
    by_class = zip(classes, result.psi, result.used, strict=True)
    in_use = [f"{name} (psi {psi:.2f})" for name, psi, used in by_class if used]
    logger.info(
        "probe: round %d, accuracy %.2f; maps in use: %s; grafted from now on: %.1f %% of the plane",
        number,
        result.accuracy,
        _first(in_use),
        100 * result.share,
    )
    learned = result.swapped >= probes.RECOGNISED
    if unlearned := [name for name, known in zip(classes, learned, strict=True) if not known]:
        logger.warning(
            "probe: the network of round %d recognises fewer than half of the training images of %s, and says little "
            "about them: train.steps or probe.length may be too low, or the grafted frequencies are their only cue "
            "(probe.exempt_classes)",
            number,
            _first(unlearned),
        )


def _first(texts: list[str]) -> str:
    more = f", and {len(texts) - _MOST_LOGGED} more" if len(texts) > _MOST_LOGGED else ""
    return ", ".join(texts[:_MOST_LOGGED]) + more or "none"
