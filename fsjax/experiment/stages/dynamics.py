"""The stage dynamics: trainings with several seeds, and the frequencies from which each class is learned first."""

import copy

import numpy as np
from ml_collections import ConfigDict

from fsjax.evaluation import band_dynamics
from fsjax.experiment import pipeline
from fsjax.experiment.stage import Stage, Workspace
from fsjax.experiment.stages import train
from fsjax.models.source import model_source
from fsjax.report import dynamics as page
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import expect
from fsjax.runtime.storage import Path
from fsjax.training import settings
from fsjax.training.evaluators import dynamics


def check(config: ConfigDict) -> None:
    """Raise InputError for a field that the stage cannot use."""
    model_source(config).check_untrained("dynamics")
    train.check(config)
    seeds("dynamics.seeds", config.dynamics.seeds)
    if not config.train.epochs:
        steps(config, config.train.steps)


def seeds(field: str, text: str) -> list[int]:
    """Return the seeds that a field lists, separated by commas; raise InputError for a bad list."""
    names = [name.strip() for name in text.split(",")]
    numbers = [int(name) for name in names if name.isdecimal()]
    expect(len(set(numbers)) == len(names), field, text, "different whole numbers, such as 0,1,2")
    return numbers


def steps(config: ConfigDict, length: int) -> list[int]:
    """Return the steps at which a training of this length is evaluated; raise InputError if there are none."""
    every = config.train.evaluate_every
    expect(1 <= every <= length, "train.evaluate_every", every, f"1 to {length} steps, the length of the training")
    return [*range(every, length, every), length]


def _run(workspace: Workspace) -> None:
    config = workspace.config
    steps(config, settings.last_step(config.train, len(workspace.dataset("train"))))
    workdirs = {seed: workspace.directory / f"seed-{seed}" for seed in seeds("dynamics.seeds", config.dynamics.seeds)}
    evaluators = config.train.evaluators.split(",")
    for seed, directory in workdirs.items():
        training = copy.deepcopy(config)
        training.seed, training.stages = seed, "train"
        training.train.evaluators = ",".join(dict.fromkeys([*filter(None, evaluators), "dynamics"]))
        pipeline.run(training, directory, {"train": train.STAGE})
    classes = workspace.dataset("test").classes
    parallel.decide(lambda: _write(config, workspace.directory, workdirs, classes))


def _write(config: ConfigDict, directory: Path, workdirs: dict[int, Path], classes: tuple[str, ...]) -> None:
    evaluated = steps(config, dynamics.last_step(next(iter(workdirs.values()))))
    confusion = np.stack([dynamics.read(workdir, evaluated) for workdir in workdirs.values()])
    copies = band_dynamics.parse(config.dynamics.keep)
    curves = band_dynamics.Dynamics(classes, copies, tuple(workdirs), np.array(evaluated), confusion)
    summary = curves.summary()
    files.write_npz(
        directory / "dynamics.npz",
        confusion=confusion,
        f1=curves.f1,
        relative_confusion=curves.relative_confusion.astype(np.float32),
        **{name: np.array(summary[name]) for name in ("classes", "keep", "seeds", "steps")},
    )
    files.write_json(directory / "dynamics.json", summary)
    page.write(directory, curves, summary)


STAGE = Stage(
    name="dynamics",
    fields=("data", "model", "train", "dynamics"),
    check=check,
    outputs=lambda workspace: [
        workspace.directory / name for name in ("dynamics.npz", "dynamics.json", "report/dynamics.html")
    ],
    run=_run,
    reads=train.STAGE.reads,
    # Another seed adds a training; each training guards its own settings.
    shown=("dynamics.seeds",),
)
