"""The stage probe: short trainings show which frequencies a network leans on, so that the final training avoids them.

In each round a fresh network is trained for a part of the steps, with the frequencies found so far grafted
(`training.ways.graft`). The graft search ranks the frequencies of each class; if the top frequencies control the class,
later rounds graft them too. Short rounds end when two in a row add nothing: a single network may learn the true cue by
chance. If the network has not learned most classes, the next rounds are longer. Probing is separate from the final
training because a network that is cured while it learns stays near chance.

Slowly learned cues, such as the last of several redundant orbits, show in long rounds only. These are the final
training itself: it is probed at some points, even if short rounds find nothing, and continues with the new frequencies
grafted as well.
"""

import copy
import logging
import textwrap
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import normalise
from fsjax.evaluation import ood, probes
from fsjax.evaluation.graft_outcomes import GraftSample
from fsjax.evaluation.probes import ProbeRound, Probes
from fsjax.evaluation.rates import evaluate_unfiltered
from fsjax.experiment import forecast, pipeline
from fsjax.experiment.forecast import Work
from fsjax.experiment.stage import Stage, Workspace
from fsjax.experiment.stages import search, train
from fsjax.fourier import masks, spectrum
from fsjax.models.source import model_source
from fsjax.runtime import config_fields, files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.search import SEARCHES
from fsjax.training import ways
from fsjax.training.ways import graft

logger = logging.getLogger(__name__)

# If a network has learned a smaller share of the classes, the next short training is longer by this factor.
_LEARNED, _LONGER = 0.5, 2
# Evenly spaced training images whose energy is measured.
_ENERGY_IMAGES = 512
# Shares of the plane: of a class's map, and of all frequencies to graft, the first of each class's map.
_SHARE, _MOST = 0.02, 0.25

FIELDS: config_fields.Table = {
    "rounds": (3, "largest number of short trainings; each grafts the frequencies found before", "[1, inf)"),
    "length": (0.3, "share of the steps of a short training; doubled if it finds and learns too little", "(0, 1)"),
    "points": ((0.5, 0.7, 0.85), "shares of the final training after which it is probed", "(0, 1)"),
    "pairs": (240, "pairs of training images per class that show by grafts whether a map is in use", "[10, inf)"),
    "exempt_classes": ("", "classes whose true cue is a few frequencies, which are not grafted, separated by commas"),
}


def check(config: ConfigDict) -> None:
    """Raise InputError for a field that the stage cannot use."""
    options = config.probe
    model_source(config).check_untrained("probe")
    if not ways.use_probes(config.train):
        got = f"{config.train.ways!r} with train.graft.maps={config.train.graft.maps!r}"
        raise InputError(f"train.ways: got {got}; expected graft with {graft.PROBE!r} for the stage probe")
    if config.train.until != 1:
        raise InputError(f"train.until: got {config.train.until}; expected 1 with the stage probe")
    if (points := [0.0, *options.points, 1.0]) != sorted(set(points)):
        raise InputError(f"probe.points: got {options.points}; expected rising shares above 0 and below 1")
    first = short_config(config, 1)
    train.check(first)
    search.check(first)


def _run(workspace: Workspace) -> None:
    config, rounds = workspace.config, Rounds(workspace)
    _train_short(rounds, config.probe.rounds)
    for point in config.probe.points:
        rounds.continue_final(point)
    before = None
    if "ood" in config.stages.split(","):  # the first network's accuracies on its sets
        directory, test = workspace.directory / "probes" / "1", workspace.dataset("test")
        first = Workspace(short_config(config, 1), directory)
        identity = {path.name: files.sha256(path) for path in train.STAGE.outputs(first)}
        before = ood.accuracies(config, directory / "ood", first.classifier, test, identity)
    classes, exempt = workspace.dataset("train").classes, tuple(rounds.exempt.tolist())
    results = Probes(classes, exempt, tuple(rounds.done), float(rounds.grafted.mean()), before)

    def write() -> None:
        files.write_json(probes.result_file(workspace.directory), results.to_json())
        files.write_npy(graft.probed_file(workspace.directory), rounds.grafted)
        files.write_json(graft.start_file(workspace.directory), {"run": len(rounds.done) if rounds.point else None})

    parallel.decide(write)


def _train_short(rounds: "Rounds", count: int) -> None:
    """Probe up to `count` fresh networks after short trainings, until two in a row add nothing."""
    lengths, without_finding = 1, 0
    for _ in range(count):
        without_finding = 0 if rounds.train_anew(lengths) else without_finding + 1
        if without_finding == 2:
            return
        if without_finding and (rounds.done[-1].swapped >= probes.RECOGNISED).mean() < _LEARNED:
            lengths = _LONGER


class Rounds:
    """The rounds of a workdir so far, each a run in probes/<number>. All processes call the methods together.

    Attributes:
      exempt: whether each class is exempt, so that its maps are not grafted.
      done: the result of each round, in order.
      grafted: all frequencies found so far, centred, which the next round grafts.
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
        self._grafted_file: Path | None = None
        self.point: Path | None = None

    def train_anew(self, lengths: int) -> bool:
        """Probe a fresh network after `lengths` short lengths, or resume this; return whether it found anything new."""
        short = short_config(self._workspace.config, len(self.done) + 1, self._grafted_file, lengths)
        return self._probe(short, lengths * short.probe.length, own=True)

    def continue_final(self, end: float) -> None:
        """Continue the final training from its last point up to a share of its steps, or resume this, and probe it."""
        up_to_point = _round_config(self._workspace.config, len(self.done) + 1, self._grafted_file)
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
            probes.decisive(ranked.at(_SHARE), ranked.scores, energy),
            sample,
            scores=ranked.scores,
            energy=energy,
            share=_SHARE,
            memory_mib=config.run.memory_mib,
            directory=directory / "search" / "probe",
        )
        chosen = measured.used & ~self.exempt
        added = _added(measured.prefixes[chosen], ranked.scores[chosen], self.grafted)
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
        self._grafted_file = file = self._folder / f"frequencies-{number}.npy"
        parallel.decide(lambda: files.write_npy(file, self.grafted))
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
    run.search.update(method="graft", split="train", shares=(_SHARE,), resamples=0, patch=1)
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
    unlearned = [name for name, _, _, swapped in by_class if not swapped >= probes.RECOGNISED]
    logger.info(
        f"probe: round {number}, accuracy {result.accuracy:.2f}; maps in use: {in_use}; "
        f"grafted from now on: {100 * result.share:.1f} % of the plane"
    )
    if unlearned:
        logger.warning(
            f"probe: the network of round {number} recognises fewer than half of the training images of "
            f"{_listed(unlearned)}, and says little about them: train.steps or probe.length may be too low, or the "
            "grafted frequencies are their only cue (probe.exempt_classes)"
        )


def _listed(names: list[str]) -> str:
    return textwrap.shorten(", ".join(names) or "none", 200, placeholder=" ...")


def _work(config: ConfigDict, datasets: Mapping[str, Dataset]) -> Work:
    """Return the work if every round runs and the final training continues from the last point."""
    options, training = config.probe, datasets["train"]
    plane, classes = (config.data.image_size, config.data.image_size), len(training.classes)
    trained = options.rounds * options.length + max((0.0, *options.points))
    rounds = options.rounds + len(options.points)
    grafts = probes.grafts_a_class(options.pairs, (masks.budget(_SHARE, *plane) + 1) // 2)
    return {
        "training": round(trained * forecast.training_passes(config, len(training))),
        "search": rounds * SEARCHES["graft"].forward_passes(config.search, (0,) * classes, plane),
        "grafts": rounds * classes * grafts,
    }


STAGE = Stage(
    name="probe",
    fields=("seed", "data", "model", "train", "probe", "ood"),
    check=check,
    outputs=lambda workspace: [
        file(workspace.directory) for file in (probes.result_file, graft.probed_file, graft.start_file)
    ],
    run=_run,
    # With other sets only the first network is evaluated again.
    shown=("ood",),
    partial=lambda config: "probes",
    splits=lambda config: ("train", "test"),
    work=_work,
)
