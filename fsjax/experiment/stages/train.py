"""The stage train: trains the classifier, or imports weights that were trained elsewhere."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from fsjax import data
from fsjax.data import frequencies
from fsjax.data.dataset import Dataset
from fsjax.evaluation import band_dynamics
from fsjax.experiment import forecast
from fsjax.experiment.stage import Stage, Workspace
from fsjax.models.source import model_source
from fsjax.runtime import files, parallel, storage
from fsjax.runtime.storage import Path
from fsjax.training import loop, settings, ways


def check(config: ConfigDict) -> None:
    """Raise InputError for a field of data, model or train that cannot be used."""
    data.check(config.data)
    frequencies.read(config.data.frequencies, config.data.image_size)
    source = model_source(config)
    source.check()
    if source.trains:
        settings.check(config)
        band_dynamics.parse(config.dynamics.keep)


def _train(workspace: Workspace) -> None:
    source = model_source(workspace.config)
    if not source.trains:
        source.record(workspace.directory, workspace.dataset("test").classes)
        return
    training = workspace.dataset("train")
    if training.planted is not None and parallel.is_main_process():
        files.write_npz(workspace.directory / "planted.npz", **training.planted)
    loop.train(workspace.training, workspace.dataset, workspace.directory, workspace.metrics)


def _files_read(workspace: Workspace) -> list[Path]:
    config = workspace.config
    source = model_source(config)
    read_by_ways = ways.files(config.train, workspace.directory).values() if source.trains else ()
    checked = storage.path(config.model.check) if config.model.check else None
    others = (*read_by_ways, frequencies.file_of(config.data.frequencies), checked)
    return [*source.weights_files(), *(file for file in others if file)]


def _work(config: ConfigDict, datasets: Mapping[str, Dataset]) -> forecast.Work:
    if not model_source(config).trains:
        return {}
    # With probes the final training continues from the last probed point.
    probed = max((0.0, *config.probe.points)) if "probe" in config and ways.use_probes(config.train) else 0.0
    return {"training": round((1 - probed) * forecast.training_passes(config, len(datasets["train"])))}


def _splits(config: ConfigDict) -> tuple[str, ...]:
    if not model_source(config).trains:
        return ("test",)
    called = config.train.evaluators.split(",")
    validation = ("validation",) if config.data.validation_share and "validation" in called else ()
    return ("train", *validation, *(("test",) if "dynamics" in called else ()))


STAGE = Stage(
    name="train",
    fields=("seed", "data", "model", "train", "dynamics.keep", "dynamics.images_per_class"),
    check=check,
    outputs=lambda workspace: [model_source(workspace.config).identity_file(workspace.directory)],
    run=_train,
    reads=_files_read,
    partial=lambda config: "checkpoints",
    splits=_splits,
    work=_work,
)
