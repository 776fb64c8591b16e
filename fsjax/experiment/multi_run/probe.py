"""The stage probe: short trainings that show which frequencies a network leans on, so that the final one cannot.

Round by round a fresh network is trained for a part of the steps, with the frequencies found so far grafted
(`training.ways.graft`). The graft search ranks the frequencies of each class; where the first control it, they join
what is grafted. Short rounds end when two in a row add nothing, since of two networks one may learn the true cue, and
one the shortcut; where the network has not learned most classes, as of many, the next ones are longer. Finding is kept
apart from the final training: a network that is cured while it learns stays near chance.

What takes longer to learn, such as the last of several orbits that stand in for each other, shows in long rounds. They
are the final training itself: it is probed at some points, and goes on from each with what was found grafted as well.
That is so where short trainings find nothing, too.
"""

import logging

import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from fsjax.data import frequencies
from fsjax.evaluation import ood, probes
from fsjax.evaluation.probes import Probes
from fsjax.experiment.multi_run.probe_rounds import EXEMPT_FREQUENCIES, Rounds, short_config
from fsjax.experiment.stages import search, train
from fsjax.experiment.stages.stage import Stage
from fsjax.experiment.workspace import Workspace
from fsjax.models.source import model_source
from fsjax.runtime import files, parallel
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError, unknown
from fsjax.training import ways
from fsjax.training.ways import graft

logger = logging.getLogger(__name__)

# The share of the classes that a training has to have learned for what it does not show to say anything.
_LEARNED = 0.5
# Lengths of the trainings after one that has learned too little.
_LONGER = 2

FIELDS: Table = {
    "rounds": (3, "short trainings at most, each under what the ones before have found"),
    "length": (
        0.3,
        "their length, as a share of the training's; after one that finds nothing, and has learned fewer than half of "
        "the classes, twice as long",
    ),
    "points": (
        (0.5, 0.7, 0.85),
        "shares of the training after which it is probed itself, and goes on under what was found",
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
    model_source(config).check_untrained("probe")
    if not ways.use_probes(config.train):
        found = f"{config.train.ways!r} with train.graft.maps={config.train.graft.maps!r}"
        raise InputError(f"train.ways: got {found}; expected graft with {graft.PROBE!r} for the stage probe")
    if config.train.until != 1:
        raise InputError(f"train.until: got {config.train.until:g}; expected 1 with the stage probe")
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
    frequencies.read(options.exempt_frequencies, config.data.image_size, EXEMPT_FREQUENCIES)
    first = short_config(config, 1)
    train.check(first)
    search.check(first)


def _run(workspace: Workspace) -> None:
    config, dataset = workspace.config, workspace.dataset("train")
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    if len(counts) < 2 or counts.min() < 2:
        raise InputError(
            f"data: got {len(counts)} classes, the smallest of {counts.min()} training images; expected two or more of "
            "both for the stage probe, which grafts frequencies of a class into images of others"
        )
    exempt = _exempt(config, dataset.classes)
    rounds = Rounds(workspace, exempt)
    _train_short(rounds, config.probe.rounds)
    for point in config.probe.points:
        rounds.train_on(point)
    before = _before(workspace) if "ood" in config.stages.split(",") else None
    share = float(rounds.grafted.mean())
    found = Probes(dataset.classes, tuple(exempt.tolist()), tuple(rounds.done), share, before)
    start = {"run": len(rounds.done) if rounds.point else None}
    parallel.decide(lambda: files.write_json(probes.result_file(workspace.directory), found.to_json()))
    parallel.decide(lambda: files.write_npy(graft.probed_file(workspace.directory), rounds.grafted))
    parallel.decide(lambda: files.write_json(graft.start_file(workspace.directory), start))
    if not rounds.grafted.any():
        logger.info("probe: no class is controlled by a map of %g %%; nothing is grafted", 100 * config.probe.share)


def _train_short(rounds: Rounds, count: int) -> None:
    """Probe fresh networks after short trainings, until two in a row add nothing.

    One may add nothing because it has learned the true cue, by chance. Where it has learned too little, the next ones
    are longer.

    Args:
      rounds: none so far.
      count: how many there may be.
    """
    lengths, in_a_row = 1, 0
    for _ in range(count):
        in_a_row = 0 if rounds.train_anew(lengths) else in_a_row + 1
        if in_a_row == 2:
            return
        if in_a_row and probes.learned(rounds.done[-1].swapped).mean() < _LEARNED:
            lengths = _LONGER


def _before(workspace: Workspace) -> dict[str, float]:
    """Return the accuracy of the first round's network on the sets of the stage ood."""
    directory = workspace.directory / "probes" / "1"
    first = Workspace(short_config(workspace.config, 1), directory)
    identity = {path.name: files.sha256(path) for path in train.STAGE.outputs(first)}
    return ood.accuracies(workspace.config, directory / "ood", first.classifier, workspace.dataset("test"), identity)


def _exempt(config: ConfigDict, classes: tuple[str, ...]) -> Bool[np.ndarray, " classes"]:
    """Return whether each class is exempt; raise InputError for an unknown name."""
    names = [name.strip() for name in config.probe.exempt_classes.split(",") if name.strip()]
    for name in names:
        if name not in classes:
            raise unknown("probe.exempt_classes", name, classes)
    return np.isin(classes, names)


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
