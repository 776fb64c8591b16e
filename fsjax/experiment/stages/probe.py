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

import logging
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.evaluation import ood, probes
from fsjax.evaluation.probes import Probes
from fsjax.experiment.stage import Stage, Workspace
from fsjax.experiment.stages import search, train
from fsjax.experiment.stages.probe_rounds import Rounds, short_config
from fsjax.fourier import masks
from fsjax.models.source import model_source
from fsjax.runtime import files, parallel
from fsjax.runtime.config_fields import Table
from fsjax.runtime.errors import InputError, unknown
from fsjax.search import SEARCHES
from fsjax.training import ways
from fsjax.training.ways import graft

logger = logging.getLogger(__name__)

# If a network has learned a smaller share of the classes, the next short training is longer by this factor.
_LEARNED, _LONGER = 0.5, 2

FIELDS: Table = {
    "rounds": (3, "largest number of short trainings, each with the frequencies grafted that earlier trainings found"),
    "length": (
        0.3,
        "length of a short training, as a share of the full training; doubled after a training that finds nothing and "
        "learns fewer than half of the classes",
    ),
    "points": ((0.5, 0.7, 0.85), "shares of the final training after which it is probed"),
    "share": (0.02, "share of the plane that a class's map keeps"),
    "max_share": (0.25, "largest share of the plane to graft; larger maps contribute each class's first frequencies"),
    "pairs": (240, "pairs of training images per class that show by grafts whether a map is in use"),
    "exempt_classes": ("", "classes whose true cue is a few frequencies, which are not grafted, separated by commas"),
}


def check(config: ConfigDict) -> None:
    """Raise InputError for a field that the stage cannot use."""
    options = config.probe
    model_source(config).check_untrained("probe")
    if not ways.use_probes(config.train):
        got = f"{config.train.ways!r} with train.graft.maps={config.train.graft.maps!r}"
        raise InputError(f"train.ways: got {got}; expected graft with {graft.PROBE!r} for the stage probe")
    points = [0.0, *options.points, 1.0]
    for field, value, is_valid, expected in (
        ("train.until", config.train.until, config.train.until == 1, "1 with the stage probe"),
        ("probe.rounds", options.rounds, options.rounds >= 1, "1 or more"),
        ("probe.length", options.length, 0 < options.length < 1, "above 0 and below 1"),
        ("probe.points", options.points, points == sorted(set(points)), "rising shares above 0 and below 1"),
        ("probe.share", options.share, 0 < options.share < 1, "above 0 and below 1"),
        ("probe.max_share", options.max_share, 0 < options.max_share <= 1, "above 0, up to 1"),
        ("probe.pairs", options.pairs, options.pairs >= 10, "10 or more, or no interval is narrow enough"),
    ):
        if not is_valid:
            got = f"{value:g}" if isinstance(value, float) else value
            raise InputError(f"{field}: got {got}; expected {expected}")
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
        rounds.continue_final(point)
    before = _accuracies_before(workspace) if "ood" in config.stages.split(",") else None
    share = float(rounds.grafted.mean())
    results = Probes(dataset.classes, tuple(exempt.tolist()), tuple(rounds.done), share, before)
    start = {"run": len(rounds.done) if rounds.point else None}
    parallel.decide(lambda: files.write_json(probes.result_file(workspace.directory), results.to_json()))
    parallel.decide(lambda: files.write_npy(graft.probed_file(workspace.directory), rounds.grafted))
    parallel.decide(lambda: files.write_json(graft.start_file(workspace.directory), start))
    if not rounds.grafted.any():
        logger.info("probe: no map of %g %% controls a class; nothing is grafted", 100 * config.probe.share)


def _train_short(rounds: Rounds, count: int) -> None:
    """Probe up to `count` fresh networks after short trainings, until two in a row add nothing."""
    lengths, without_finding = 1, 0
    for _ in range(count):
        without_finding = 0 if rounds.train_anew(lengths) else without_finding + 1
        if without_finding == 2:
            return
        if without_finding and (rounds.done[-1].swapped >= probes.RECOGNISED).mean() < _LEARNED:
            lengths = _LONGER


def _accuracies_before(workspace: Workspace) -> dict[str, float]:
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


def _cost(config: ConfigDict, datasets: Mapping[str, Dataset]) -> int:
    """Return the cost if every round runs and the final training continues from the last point."""
    options, training = config.probe, datasets["train"]
    plane, classes = (config.data.image_size, config.data.image_size), len(training.classes)
    trained = options.rounds * options.length + max((0.0, *options.points))
    searched = SEARCHES["graft"].forward_passes(config.search, (0,) * classes, plane)
    orbits = (masks.budget(options.share, *plane) + 1) // 2
    measured = classes * probes.grafts_a_class(options.pairs, orbits)
    rounds = options.rounds + len(options.points)
    return round(trained * train.training_cost(config, len(training))) + rounds * (searched + measured)


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
    # With other sets only the first network is evaluated again.
    shown=("ood",),
    partial=lambda config: "probes",
    splits=lambda config: ("train", "test"),
    cost=_cost,
)
