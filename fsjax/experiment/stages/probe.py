"""The stage probe: short trainings show which frequencies a network leans on, so that the final training avoids them.

In each round a fresh network is trained for a part of the steps, with the frequencies found so far grafted
(`training.ways.graft`). The graft search ranks the frequencies of each class; if the top frequencies control the class,
later rounds graft them too. If an operation, such as JPEG, turns other classes' images into the class, later rounds do
it to images of all classes (`training.ways.operations`). Short rounds end when two in a row add nothing: a single
network may learn the true cue by chance. If the network has not learned most classes, the next rounds are longer.
Probing is separate from the final training because a network that is cured while it learns stays near chance.

Slowly learned cues, such as the last of several redundant orbits, show in long rounds only. These are the final
training itself: it is probed at some points, even if short rounds find nothing, and continues with the new frequencies
grafted as well.
"""

import logging
from collections.abc import Mapping

from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.operations import OPERATIONS
from fsjax.evaluation import ood, operations, probes
from fsjax.evaluation.probes import Probes
from fsjax.experiment import forecast
from fsjax.experiment.forecast import Work
from fsjax.experiment.stage import Stage, Workspace
from fsjax.experiment.stages import search, train
from fsjax.experiment.stages.probe_rounds import SHARE, Rounds, short_config
from fsjax.fourier import masks
from fsjax.models.source import model_source
from fsjax.runtime import config_fields, files, parallel
from fsjax.runtime.errors import InputError
from fsjax.search import SEARCHES
from fsjax.training import ways
from fsjax.training.ways import graft

logger = logging.getLogger(__name__)

# If a network has learned a smaller share of the classes, the next short training is longer by this factor.
_LEARNED, _LONGER = 0.5, 2

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
    share, drawn = float(rounds.grafted.mean()), rounds.found.operations
    results = Probes(classes, exempt, tuple(rounds.done), share, drawn, before)
    start = {"run": len(rounds.done) if rounds.point else None, "operations": drawn}

    def write() -> None:
        files.write_json(probes.result_file(workspace.directory), results.to_json())
        files.write_npy(graft.probed_file(workspace.directory), rounds.grafted)
        files.write_json(graft.start_file(workspace.directory), start)

    parallel.decide(write)
    for name, on in results.left.items():
        logger.warning(f"probe: {name} still rests on {on}, {results.rounds[-1].end:.0%} through the final training")


def _train_short(rounds: Rounds, count: int) -> None:
    """Probe up to `count` fresh networks after short trainings, until two in a row add nothing."""
    lengths, without_finding = 1, 0
    for _ in range(count):
        without_finding = 0 if rounds.train_anew(lengths) else without_finding + 1
        if without_finding == 2:
            return
        if without_finding and (rounds.done[-1].swapped >= probes.RECOGNISED).mean() < _LEARNED:
            lengths = _LONGER


def _work(config: ConfigDict, datasets: Mapping[str, Dataset]) -> Work:
    """Return the work if every round runs and the final training continues from the last point."""
    options, training = config.probe, datasets["train"]
    plane, classes = (config.data.image_size, config.data.image_size), len(training.classes)
    trained = options.rounds * options.length + max((0.0, *options.points))
    rounds = options.rounds + len(options.points)
    grafts = probes.grafts_a_class(options.pairs, (masks.budget(SHARE, *plane) + 1) // 2)
    return {
        "training": round(trained * forecast.training_passes(config, len(training))),
        "search": rounds * SEARCHES["graft"].forward_passes(config.search, (0,) * classes, plane),
        "grafts": rounds * classes * grafts,
        "rates": rounds * (1 + len(OPERATIONS)) * max(operations.IMAGES, classes),
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
