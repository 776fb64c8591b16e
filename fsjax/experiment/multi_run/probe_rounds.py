"""Rounds of the stage probe: each trains a network under what the ones before have found, and adds what it finds."""

import copy
import functools
import logging

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.data import frequencies
from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.evaluation import probes
from fsjax.evaluation.graft_outcomes import GraftSample
from fsjax.evaluation.probes import Measured, ProbeRound
from fsjax.evaluation.rates import evaluate_unfiltered
from fsjax.experiment import pipeline
from fsjax.experiment.stages import STAGES
from fsjax.experiment.workspace import Workspace
from fsjax.fourier import masks, spectrum
from fsjax.runtime import files, parallel
from fsjax.runtime.storage import Path
from fsjax.training import ways

logger = logging.getLogger(__name__)

EXEMPT_FREQUENCIES = "probe.exempt_frequencies"
# Images that show how much of the energy a frequency has, evenly over the training images.
_ENERGY_IMAGES = 512


class Rounds:
    """The rounds of a workdir so far, each a run of its own under probes/<number>.

    Attributes:
      done: what each has found, in order.
      grafted: the frequencies that the next one grafts, centred: all that were found.
      point: the workdir of the round that probed the final training last; None = none has.
    """

    def __init__(self, workspace: Workspace, exempt: Bool[np.ndarray, " classes"]):
        """Begin before the first round.

        Args:
          workspace: of the experiment.
          exempt: whether each class's maps stay out of what is grafted.
        """
        self._workspace, self._exempt = workspace, exempt
        self._folder = workspace.directory / "probes"
        self.done: list[ProbeRound] = []
        self.grafted = np.zeros(2 * [workspace.config.data.image_size], bool)
        self.point: Path | None = None

    def train_anew(self, lengths: int) -> bool:
        """Probe a fresh network after a training of so many short lengths, and return whether that found anything new.

        In several processes every one calls this and `train_on`. Both resume a round that was stopped.
        """
        config = self._workspace.config
        end = lengths * config.probe.length
        one = short_config(config, len(self.done) + 1, self._before, lengths)
        return self._probe(one, end, f"a training of {end:.0%} of the steps")

    def train_on(self, end: float) -> None:
        """Probe the final training at a share of it, to which it goes on from the last such point."""
        assert self._before is not None, "short trainings come first"
        one = point_config(self._workspace.config, len(self.done) + 1, end, self._before, self.point)
        self._probe(one, end, f"the final training up to {end:.0%}", own=False)
        self.point = self._folder / str(len(self.done))

    @property
    def _before(self) -> Path | None:
        """The file of what is grafted, which may be nothing; None before the first round."""
        return self._folder / f"frequencies-{len(self.done)}.npy" if self.done else None

    def _probe(self, one: ConfigDict, end: float, what: str, *, own: bool = True) -> bool:
        """Train, search and measure a network, and return whether its maps add anything to what is grafted."""
        config, number = self._workspace.config, len(self.done) + 1
        logger.info("probe: round %d, %s", number, what)
        directory = self._folder / str(number)
        pipeline.run(one, directory, STAGES)
        of_round = Workspace(one, directory)
        classifier, ranked, images = of_round.classifier, of_round.maps, self._workspace.dataset("train")
        assert ranked.scores is not None, "the graft search ranks frequencies"
        energy = _energy(images, classifier.mean_std)
        maps = probes.decisive(ranked.at(config.probe.share), ranked.scores, energy)
        measured = _measure(config, of_round, maps, ranked.scores, energy, images)
        chosen = measured.used & ~self._exempt
        added = _added(config, measured.prefixes[chosen], ranked.scores[chosen], self.grafted)
        self.grafted = self.grafted | added
        accuracy = evaluate_unfiltered(classifier, self._workspace.dataset("test")).accuracy
        found = ProbeRound(
            end,
            own,
            accuracy,
            measured.base,
            tuple(measured.prefixes.sum((1, 2)).tolist()),
            measured.swapped,
            measured.psi,
            measured.psi_ci,
            tuple(measured.used.tolist()),
            int(added.sum()),
            float(self.grafted.mean()),
        )
        self.done.append(found)
        _log(images.classes, found, number)
        if added.any():
            logger.info(
                "probe: grafted from now on: %.1f %% of the plane, %.2g %% of the energy in which images differ",
                100 * self.grafted.mean(),
                100 * probes.energy_held(self.grafted[None], energy)[0],
            )
        parallel.decide(functools.partial(files.write_npy, self._folder / f"frequencies-{number}.npy", self.grafted))
        return bool(added.any())


def short_config(config: ConfigDict, number: int, grafted: Path | None = None, lengths: int = 1) -> ConfigDict:
    """Return the config of a round's run with a short training of its own.

    Args:
      config: of the experiment.
      number: of the round, from 1.
      grafted: file of the frequencies that are grafted; None = none are.
      lengths: how many times as long as config.probe.length it is.
    """
    one, length = _round_config(config, number, grafted), lengths * config.probe.length
    one.train.epochs = length * config.train.epochs
    one.train.steps = max(1, round(length * config.train.steps)) if config.train.steps else 0
    one.train.warmup_steps = int(length * config.train.warmup_steps)
    return one


def point_config(config: ConfigDict, number: int, end: float, grafted: Path, start: Path | None) -> ConfigDict:
    """Return the config of a round's run that is the final training up to a point, of the same seed.

    Args:
      config: of the experiment.
      number: of the round, from 1.
      end: the point, as a share of the training.
      grafted: file of the frequencies that are grafted.
      start: workdir of the run up to the point before; None = this is the first.
    """
    one = _round_config(config, number, grafted)
    one.seed, one.train.until, one.train.graft.start = config.seed, end, str(start or "")
    return one


def _round_config(config: ConfigDict, number: int, grafted: Path | None) -> ConfigDict:
    """Return the config of a run that trains as `config` does, under what was found, and searches."""
    options, one = config.probe, copy.deepcopy(config)
    one.seed, one.stages = config.seed + number, "train,search"
    if grafted is None:
        one.train.ways = ",".join(name for name in ways.chosen(config.train) if name != "graft")
    else:
        one.train.graft.maps = str(grafted)
    one.search.method, one.search.split, one.search.shares, one.search.resamples = "graft", "train", (options.share,), 0
    one.search.patch = 1
    return one


def _energy(dataset: Dataset, mean_std: tuple[np.ndarray, np.ndarray]) -> Float[np.ndarray, "size size"]:
    """Return mean |F x|^2 of training images without the mean image."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, _ENERGY_IMAGES).astype(int))
    images = np.asarray(normalise(dataset.images(rows), *mean_std))
    return spectrum.energy(images - images.mean(0))


def _measure(
    config: ConfigDict,
    of_round: Workspace,
    maps: Bool[np.ndarray, "classes size size"],
    scores: Float[np.ndarray, "classes size size"],
    energy: Float[np.ndarray, "size size"],
    dataset: Dataset,
) -> Measured:
    """Measure what a round's network uses of maps, on the training images."""
    classifier = of_round.classifier
    nothing = np.full(len(maps), np.nan)
    sample = GraftSample(
        images=lambda rows: np.asarray(normalise(dataset.images(rows), *classifier.mean_std)),
        labels=dataset.labels,
        usable=np.arange(len(dataset)),
        tpr=nothing,
        fpr=nothing,
        pairs=config.probe.pairs,
        seed=config.seed,
        why_none="",
    )
    directory = of_round.directory / "search" / "probe"
    return probes.measure(
        classifier,
        maps,
        sample,
        scores=scores,
        energy=energy,
        share=config.probe.share,
        memory_mib=config.run.memory_mib,
        directory=directory,
    )


def _added(
    config: ConfigDict,
    maps: Bool[np.ndarray, "chosen size size"],
    scores: Float[np.ndarray, "chosen size size"],
    grafted: Bool[np.ndarray, "size size"],
) -> Bool[np.ndarray, "size size"]:
    """Return what the maps of the chosen classes add to the frequencies that are grafted."""
    spared = frequencies.read(config.probe.exempt_frequencies, config.data.image_size, EXEMPT_FREQUENCIES)
    new = maps & ~grafted & (True if spared is None else ~spared)
    room = masks.budget(config.probe.max_share, *grafted.shape) - int(grafted.sum())
    added = masks.union(new, scores, room)
    if added.sum() < new.any(0).sum():
        logger.warning(
            "probe: the maps in use hold %.1f %% of the plane; the first frequencies of each go up to %g %% "
            "(probe.max_share)",
            100 * (grafted | new.any(0)).mean(),
            100 * config.probe.max_share,
        )
    return added


def _log(classes: tuple[str, ...], found: ProbeRound, number: int) -> None:
    told = []
    for label in np.argsort(-found.psi_ci[:, 0], kind="stable").tolist():  # NaN last
        low, high = found.psi_ci[label]
        in_use = " in use" if found.used[label] else ""
        told.append(f"{classes[label]} {found.psi[label]:.2f} [{low:.2f}, {high:.2f}]{in_use}")
    logger.info(
        "probe: round %d, accuracy %.2f; %d of %d maps in use; psi, the highest lower limit first: %s",
        number,
        found.accuracy,
        sum(found.used),
        len(classes),
        _first(told),
    )
    learned = probes.learned(found.swapped)
    if unlearned := [name for name, known in zip(classes, learned, strict=True) if not known]:
        logger.warning(
            "probe: the network of round %d recognises fewer than half of the training images of %s, and says little "
            "of these: train.steps or probe.length may be too low, or what is grafted is their only cue "
            "(probe.exempt_classes)",
            number,
            _first(unlearned),
        )


def _first(told: list[str]) -> str:
    """Return at most ten, and how many more there are."""
    return ", ".join(told[:10]) + (f", and {len(told) - 10} more" if len(told) > 10 else "")
