"""The stage probe: short trainings that show which frequencies a network leans on, so that the final one cannot.

Round by round a fresh network is trained for a part of the steps, with the frequencies found so far grafted
(`training.ways.graft`). The graft search ranks the frequencies of each class; where the class's map controls it, the
map joins what is grafted. Short rounds end when no class adds one. Finding is kept apart from the final training: a
network that is cured while it learns stays near chance.

What takes longer to learn, such as the last of several orbits that stand in for each other, shows in long rounds. They
are the final training itself: it is probed at some points, and goes on from each with what was found grafted as well.
"""

import copy
import functools
import logging

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fsjax.data import frequencies
from fsjax.data.dataset import Dataset
from fsjax.data.preprocess import normalise
from fsjax.evaluation import ood, probes
from fsjax.evaluation.grafts import GraftSample
from fsjax.evaluation.probes import Measured, ProbeRound, Probes
from fsjax.evaluation.unfiltered import evaluate_unfiltered
from fsjax.experiment import pipeline
from fsjax.experiment.stages import STAGES, search, train
from fsjax.experiment.stages.stage import Stage
from fsjax.experiment.workspace import Workspace
from fsjax.fourier import masks, spectrum
from fsjax.runtime import files, parallel
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError, unknown
from fsjax.runtime.storage import Path
from fsjax.training import ways
from fsjax.training.ways import graft

logger = logging.getLogger(__name__)

# Images that show how much of the energy a frequency has, evenly over the training images.
_ENERGY_IMAGES = 512
_EXEMPT_FREQUENCIES = "probe.exempt_frequencies"

FIELDS: Table = {
    "rounds": (3, "short trainings at most, each under what the ones before have found"),
    "length": (0.3, "their length, as a share of the training's"),
    "points": (
        (0.5, 0.7, 0.85),
        "where the short trainings find something: shares of the training after which it is probed itself, and goes "
        "on under what was found",
    ),
    "share": (0.02, "share of the plane that a class's map keeps"),
    "max_share": (
        0.25,
        "share of the plane that is grafted at most; where the maps in use hold more, each class's first frequencies",
    ),
    "pairs": (240, "pairs of training images a class whose frequencies are grafted to see whether a map is in use"),
    "exempt_classes": (
        "",
        "classes whose maps are not grafted, separated by commas: their true cue is a few frequencies",
    ),
    "exempt_frequencies": ("", "frequencies that are not grafted: '' = none, or as data.frequencies"),
}


def check(config: ConfigDict) -> None:
    """Raise InputError for a field that the stage cannot use."""
    options = config.probe
    if config.model.weights:
        raise InputError(f"model.weights: got {config.model.weights!r}; expected '' for the stage probe, which trains")
    if not ways.use_probes(config.train):
        found = f"{config.train.ways!r} with train.graft.maps={config.train.graft.maps!r}"
        raise InputError(f"train.ways: got {found}; expected graft with {graft.PROBE!r} for the stage probe")
    if options.rounds < 1:
        raise InputError(f"probe.rounds: got {options.rounds}; expected 1 or more")
    if not 0 < options.length < 1:
        raise InputError(f"probe.length: got {options.length:g}; expected above 0 and below 1")
    points = (0.0, *options.points, 1.0)
    if list(points) != sorted(set(points)):
        raise InputError(f"probe.points: got {tuple(options.points)}; expected rising shares above 0 and below 1")
    if not 0 < options.share < 1:
        raise InputError(f"probe.share: got {options.share:g}; expected above 0 and below 1")
    if not 0 < options.max_share <= 1:
        raise InputError(f"probe.max_share: got {options.max_share:g}; expected above 0, up to 1")
    if options.pairs < 10:
        raise InputError(f"probe.pairs: got {options.pairs}; expected 10 or more, or no interval is narrow enough")
    frequencies.read(options.exempt_frequencies, config.data.image_size, _EXEMPT_FREQUENCIES)
    first = round_config(config, 1, options.length)
    train.check(first)
    search.check(first)


def round_config(
    config: ConfigDict, number: int, end: float, grafted: Path | None = None, start: tuple[float, Path] | None = None
) -> ConfigDict:
    """Return the config of a round's run: a part of the training of `config`, and the graft search of its network.

    Args:
      config: of the experiment.
      number: of the round, from 1.
      end: how far it goes, as a share of the training.
      grafted: file of the frequencies that are grafted; None = none are.
      start: how far the run that it goes on from went, and its workdir; None = it begins with a fresh network.
    """
    options, one = config.probe, copy.deepcopy(config)
    one.seed, one.stages = config.seed + number, "train,search"
    one.train.epochs = end * config.train.epochs
    one.train.steps = _part(end, config.train.steps)
    begin, run = start or (0.0, "")
    one.train.warmup_steps = int((end - begin) * config.train.warmup_steps)
    if grafted is None:
        one.train.ways = ",".join(name for name in ways.chosen(config.train) if name != "graft")
    else:
        one.train.graft.maps, one.train.graft.start = str(grafted), str(run)
    one.search.method, one.search.split, one.search.shares, one.search.resamples = "graft", "train", (options.share,), 0
    one.search.patch = 1
    return one


def _run(workspace: Workspace) -> None:
    config, folder, dataset = workspace.config, workspace.directory / "probes", workspace.dataset("train")
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    if len(counts) < 2 or counts.min() < 2:
        raise InputError(
            f"data: got {len(counts)} classes, the smallest of {counts.min()} training images; expected two or more of "
            "both for the stage probe, which grafts frequencies of a class into images of others"
        )
    exempt = _exempt(config, dataset.classes)
    grafted = np.zeros(2 * [config.data.image_size], bool)
    rounds: list[ProbeRound] = []

    def probed(end: float, *, own: bool, start: tuple[float, Path] | None = None) -> bool:
        """Add a round, and return whether it found anything new."""
        nonlocal grafted
        number = len(rounds) + 1
        before = folder / f"frequencies-{number - 1}.npy" if rounds else None
        what = f"of at most {config.probe.rounds} short trainings" if own else f"the final training up to {end:.0%}"
        logger.info("probe: round %d, %s; %.1f %% grafted", number, what, 100 * grafted.mean())
        one = round_config(config, number, end, before, start)
        pipeline.run(one, folder / str(number), STAGES)
        of_round = Workspace(one, folder / str(number))
        ranked = of_round.maps
        assert ranked.scores is not None, "the graft search ranks frequencies"
        energy = _energy(dataset, of_round.classifier.mean_std)
        maps = probes.decisive(ranked.at(config.probe.share), ranked.scores, energy)
        measured = _measure(config, of_round, maps, dataset)
        used = probes.in_use(
            measured, probes.size(maps, config.probe.share), (maps * energy).sum((1, 2)) / energy.sum()
        )
        chosen = used & ~exempt
        added = _added(config, maps[chosen], ranked.scores[chosen], grafted)
        grafted = grafted | added
        accuracy = evaluate_unfiltered(of_round.classifier, workspace.dataset("test")).accuracy
        found = (*measured, tuple(used.tolist()), int(added.sum()), float(grafted.mean()))
        rounds.append(ProbeRound(end, own, accuracy, *found))
        _log(dataset.classes, rounds[-1], number)
        parallel.decide(functools.partial(files.write_npy, folder / f"frequencies-{number}.npy", grafted))
        return bool(added.any())

    while len(rounds) < config.probe.rounds and probed(config.probe.length, own=True):
        pass
    start: tuple[float, Path] | None = None
    for point in config.probe.points if grafted.any() else ():
        probed(point, own=False, start=start)
        start = point, folder / str(len(rounds))
    before = _before(workspace) if "ood" in config.stages.split(",") else None
    found = Probes(dataset.classes, tuple(exempt.tolist()), tuple(rounds), float(grafted.mean()), before)
    last = {"run": len(rounds) if start else None}
    parallel.decide(lambda: files.write_json(probes.result_file(workspace.directory), found.to_json()))
    parallel.decide(lambda: files.write_npy(graft.probed_file(workspace.directory), grafted))
    parallel.decide(lambda: files.write_json(graft.start_file(workspace.directory), last))
    if not grafted.any():
        logger.info("probe: no class is controlled by a map of %g %%; nothing is grafted", 100 * config.probe.share)


def _before(workspace: Workspace) -> dict[str, float]:
    """Return the accuracy of the first round's network on the sets of the stage ood."""
    directory = workspace.directory / "probes" / "1"
    first = Workspace(round_config(workspace.config, 1, workspace.config.probe.length), directory)
    identity = {path.name: files.sha256(path) for path in train.STAGE.outputs(first)}
    return ood.accuracies(workspace.config, directory / "ood", first.classifier, workspace.dataset("test"), identity)


def _added(
    config: ConfigDict,
    maps: Bool[np.ndarray, "chosen size size"],
    scores: Float[np.ndarray, "chosen size size"],
    grafted: Bool[np.ndarray, "size size"],
) -> Bool[np.ndarray, "size size"]:
    """Return what the maps of the chosen classes add to the frequencies that are grafted."""
    spared = frequencies.read(config.probe.exempt_frequencies, config.data.image_size, _EXEMPT_FREQUENCIES)
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


def _part(share: float, steps: int) -> int:
    """Return a share of a training's steps, 1 at least where it has any."""
    return max(1, round(share * steps)) if steps else 0


def _exempt(config: ConfigDict, classes: tuple[str, ...]) -> Bool[np.ndarray, " classes"]:
    """Return whether each class is exempt; raise InputError for an unknown name."""
    names = [name.strip() for name in config.probe.exempt_classes.split(",") if name.strip()]
    for name in names:
        if name not in classes:
            raise unknown("probe.exempt_classes", name, classes)
    return np.isin(classes, names)


def _energy(dataset: Dataset, mean_std: tuple[np.ndarray, np.ndarray]) -> Float[np.ndarray, "size size"]:
    """Return mean |F x|^2 of training images without the mean image."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, _ENERGY_IMAGES).astype(int))
    images = np.asarray(normalise(dataset.images(rows), *mean_std))
    return spectrum.energy(images - images.mean(0))


def _measure(
    config: ConfigDict, of_round: Workspace, maps: Bool[np.ndarray, "classes size size"], dataset: Dataset
) -> Measured:
    """Measure maps of a round's network on the training images."""
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
    return probes.measure(classifier.model, maps, sample, memory_mib=config.run.memory_mib, directory=directory)


def _log(classes: tuple[str, ...], found: ProbeRound, number: int) -> None:
    told = [
        f"{name} {psi:.2f} [{low:.2f}, {high:.2f}]{' in use' if used else ''}"
        for name, psi, (low, high), used in zip(classes, found.psi, found.psi_ci, found.used, strict=True)
    ]
    logger.info("probe: round %d, accuracy %.2f; psi of the maps: %s", number, found.accuracy, _first(told))
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


STAGE = Stage(
    name="probe",
    fields=("seed", "data", "model", "train", "probe", "ood"),
    check=check,
    outputs=lambda workspace: [
        probes.result_file(workspace.directory),
        graft.probed_file(workspace.directory),
        graft.start_file(workspace.directory),
    ],
    run=_run,
    # On other sets the first network is tried again, and everything else is there.
    shown=("ood",),
    partial=lambda config: "probes",
    splits=lambda config: ("train", "test"),
)
