"""Trains with several seeds and shows which frequencies each class is learned from first (METHOD 5, 6)."""

import copy

import numpy as np
from ml_collections import ConfigDict

from fsjax.evaluation import bands, learning_curves
from fsjax.experiment.run import Run
from fsjax.experiment.stages import train
from fsjax.experiment.stages.stage import Stage
from fsjax.report import dynamics as page
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.training import train as training
from fsjax.training.evaluators import dynamics


def check(config: ConfigDict) -> None:
    """Raises InputError for a field that the stage cannot use."""
    if config.model.weights:
        raise InputError(
            f"model.weights: got {config.model.weights!r}; expected '' for the stage dynamics, which trains"
        )
    train.check(config)
    seeds(config)
    if not config.train.epochs:
        steps(config, config.train.steps)


def seeds(config: ConfigDict) -> list[int]:
    """Those of the trainings; raises InputError for a list that cannot be used."""
    names = [name.strip() for name in config.dynamics.seeds.split(",")]
    found = [int(name) for name in names if name.isdecimal()]
    if len(set(found)) < len(names):
        raise InputError(
            f"dynamics.seeds: got {config.dynamics.seeds!r}; expected different whole numbers, such as 0,1,2"
        )
    return found


def steps(config: ConfigDict, length: int) -> list[int]:
    """Those at which a training of this length is evaluated; raises InputError where it would be at the end alone."""
    every = config.train.evaluate_every
    if not 1 <= every <= length:
        raise InputError(f"train.evaluate_every: got {every}; expected 1 to {length} steps, the length of the training")
    return [*range(every, length, every), length]


def _run(current: Run) -> None:
    config = current.config
    steps(config, training.num_steps(config.train, len(current.dataset("train"))))
    workdirs = {seed: current.directory / f"seed-{seed}" for seed in seeds(config)}
    for seed, directory in workdirs.items():
        current.nested(_of_seed(config, seed), directory)
    classes = current.dataset("test").classes
    parallel.decide(lambda: _write(config, current.directory, workdirs, classes))


def _write(config: ConfigDict, directory: Path, workdirs: dict[int, Path], classes: tuple[str, ...]) -> None:
    evaluated = steps(config, dynamics.last_step(next(iter(workdirs.values()))))
    confusion = np.stack([dynamics.read(own, evaluated) for own in workdirs.values()])
    found = learning_curves.Dynamics(
        classes=classes,
        copies=bands.parse(config.dynamics.keep),
        seeds=tuple(workdirs),
        steps=np.array(evaluated),
        confusion=confusion,
    )
    summary = found.summary()
    arrays = {"f1": found.f1, "relative_confusion": found.relative_confusion.astype(np.float32)}
    about = {name: np.array(summary[name]) for name in ("classes", "keep", "seeds", "steps")}
    files.write_npz(directory / "dynamics.npz", confusion=confusion, **arrays, **about)
    files.write_json(directory / "dynamics.json", summary)
    page.write(directory, found, summary)


def _of_seed(config: ConfigDict, seed: int) -> ConfigDict:
    own = copy.deepcopy(config)
    own.seed, own.stages = seed, "train"
    evaluators = [name for name in config.train.evaluators.split(",") if name]
    own.train.evaluators = ",".join(dict.fromkeys([*evaluators, "dynamics"]))
    return own


def _outputs(run: Run) -> list[Path]:
    names = ("dynamics.npz", "dynamics.json", "report/dynamics.html")
    return [run.directory / name for name in names]


STAGE = Stage(
    name="dynamics",
    fields=("data", "model", "train", "dynamics"),
    check=check,
    outputs=_outputs,
    run=_run,
    reads=train.STAGE.reads,
    # Another seed goes to the trainings that are there, each of which guards its own settings.
    shown=("dynamics.seeds",),
)
