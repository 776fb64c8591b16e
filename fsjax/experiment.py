"""An experiment: stages run in order, each reading and writing files of the workdir, none done twice."""

import dataclasses
import functools
import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import fsjax
from fsjax import (
    classifier,
    compare,
    data,
    dfm,
    export,
    models,
    parallel,
    published_maps,
    report,
    search,
    train,
    weights,
    workdir,
)
from fsjax.checkpoints import newest_hashes
from fsjax.classifier import Classifier
from fsjax.data.dataset import Dataset, measure_mean_std
from fsjax.data.preprocess import normalise
from fsjax.errors import InputError
from fsjax.evaluate import stage as evaluate_stage
from fsjax.metrics import Metrics
from fsjax.progress import clock

logger = logging.getLogger(__name__)


class Run:
    """What the stages of one run share: its config, its workdir, and what they read, opened on first use."""

    def __init__(self, config: ConfigDict, directory: pathlib.Path):
        self.config, self.directory = config, directory
        self.metrics = Metrics(directory)
        self._datasets: dict[str, Dataset] = {}

    def dataset(self, split: str) -> Dataset:
        """The 'train', 'validation' or 'test' images."""
        if split not in self._datasets:
            self._datasets[split] = data.load(self.config.data, split, self.config.seed)
        return self._datasets[split]

    @functools.cached_property
    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Of pixels in [0, 1], per channel: the config's, or measured on the training images."""
        if self.config.data.mean:
            return np.array(self.config.data.mean, float), np.array(self.config.data.std, float)
        return measure_mean_std(self.dataset("train"))

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The trained classifier of this workdir."""
        return classifier.load(self.config, self.directory)

    @property
    def maps_file(self) -> pathlib.Path:
        """The maps of the config's search method."""
        return self.directory / "dfm" / f"{self.config.search.method}.npz"


@dataclasses.dataclass(frozen=True)
class Stage:
    """A step of an experiment.

    Attributes:
      fields: prefixes of the config fields that its result depends on, beyond those of the stages it needs.
      needs: stages whose results it reads.
      key: config -> name of its record in the workdir.
      outputs: run -> files that are there when it is done.
      run: does it.
      reads: run -> files from outside the workdir that its result depends on.
      shown: prefixes of those fields whose change is no other experiment: the new result replaces the one before.
      partial: config -> whether it keeps partial results, from which only the same settings may go on.
    """

    fields: tuple[str, ...]
    needs: tuple[str, ...]
    key: Callable[[ConfigDict], str]
    outputs: Callable[[Run], list[pathlib.Path]]
    run: Callable[[Run], None]
    reads: Callable[[Run], list[pathlib.Path]] = lambda run: []
    shown: tuple[str, ...] = ()
    partial: Callable[[ConfigDict], bool] = lambda config: False


def run(config: ConfigDict, directory: pathlib.Path, *, command: list[str] | None = None) -> None:
    """Runs the config's stages in a workdir; `command` is kept beside the results, for the report.

    Raises:
      InputError: a field that cannot be used, an earlier result made with other fields, a stage whose input is missing.
      CheckFailed: all is done, and compare's maps are less alike than config.min_iou asks.
      interrupt.Terminated: SIGTERM came.
    """
    names = check(config)
    for name in names:
        _check_fingerprint(config, directory, name)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--workdir: {directory} cannot be made ({error.strerror}); accepted: a folder") from error
    if parallel.is_main_process():
        workdir.remove_leftovers(directory)
    current = Run(config, directory)
    try:
        workdir.write_json(directory / "config.json", config.to_dict())
        if command:
            workdir.write_json(directory / "command.json", command)
        for name in names:
            _run_stage(name, current)
    finally:
        current.metrics.close()


def check(config: ConfigDict) -> list[str]:
    """The names of the config's stages; raises InputError for any field that cannot be used, before anything is run."""
    names = [name for name in config.stages.split(",") if name]
    for name in names:
        if name not in STAGES:
            raise InputError(f"stages: unknown stage {name!r}; accepted: {', '.join(STAGES)}")
    if not names:
        raise InputError(f"stages: empty; accepted: {', '.join(STAGES)}")
    if "compare" in names:
        compare.check(config)
    if set(names) - {"compare"} or config.model.weights:
        _check_model(config)
    if set(names) - {"compare"}:
        _check_search(config)
    for field, least in (("log_every", 1), ("keep_checkpoints", 1), ("memory_mib", 0), ("save_seconds", 0)):
        if config.run[field] < least:
            raise InputError(f"run.{field}: {config.run[field]}; accepted: {least} or more")
    return sorted(names, key=list(STAGES).index)


def _check_model(config: ConfigDict) -> None:
    data.check(config.data)
    models.build(config.model.name, num_classes=2, image_size=config.data.image_size)
    if not config.model.weights:
        if config.model.outputs:
            raise InputError(f"model.outputs: {config.model.outputs!r}; accepted: '' without model.weights")
        train.check(config)


def _check_search(config: ConfigDict) -> None:
    search.check(config.search, (config.data.image_size, config.data.image_size))
    report.check(config)


def fingerprint(config: ConfigDict, name: str) -> dict[str, Any]:
    """The config fields that a stage's result depends on, dotted name -> value."""
    stage = STAGES[name]
    fields = {}
    for needed in stage.needs:
        fields |= fingerprint(config, needed)
    for dotted, value in _flatten(config.to_dict()).items():
        if any(dotted == prefix or dotted.startswith(prefix + ".") for prefix in stage.fields):
            fields[dotted] = list(value) if isinstance(value, tuple) else value
    return {dotted: value for dotted, value in fields.items() if _matters(dotted, config)}


def _matters(dotted: str, config: ConfigDict) -> bool:
    prefix, _, field = dotted.partition(".")
    if prefix == "train":
        return not config.model.weights
    return dotted not in _NOT_RESULTS and (prefix != "search" or search.used(field, config.search.method))


# Fields of `data` that change how images are read and not which.
_NOT_RESULTS = ("data.cache_gib",)


def _train(current: Run) -> None:
    if current.config.model.weights:
        weights.take(current.config, current.directory, current.dataset("test").classes)
        return
    training = current.dataset("train")
    if training.planted is not None:
        workdir.write_npz(current.directory / "planted.npz", **training.planted)
    train.train(
        current.config,
        training,
        current.dataset("validation") if current.config.data.validation_share else None,
        current.mean_std,
        current.directory,
        current.metrics,
    )


def problem(current: Run, seed: int) -> search.Problem:
    """What config.search asks of the trained classifier; the seed is that of the images drawn and of the method."""
    config, model = current.config, current.classifier
    dataset = current.dataset(config.search.split)
    model.check_classes(dataset.classes, f"data split {config.search.split}")
    indices = [_searched(dataset, label, config.search.images_per_class, seed) for label in range(len(dataset.classes))]
    return search.Problem(
        apply=model.apply,
        params=model.variables,
        images=lambda label: np.asarray(normalise(dataset.images(indices[label]), *model.mean_std)),
        counts=tuple(len(chosen) for chosen in indices),
        classes=dataset.classes,
        image=(config.data.image_size, config.data.image_size, 3),
        options=config.search,
        run=config.run,
        searched_on=config.search.split,
        seed=seed,
        provenance={"fields": fingerprint(config, "search"), **_versions()},
        directory=current.directory / "search" / config.search.method,
        metrics=current.metrics,
        apply_bfloat16=model.apply_bfloat16,
    )


def _search(current: Run) -> None:
    asked = problem(current, current.config.seed)
    maps = search.SEARCHES[asked.options.method].search(asked)
    if parallel.is_main_process():
        maps.save(current.maps_file)


def _searched(dataset: Dataset, label: int, count: int, seed: int) -> np.ndarray:
    """Indices of the images of a class that are searched: all, or `count` drawn by seed."""
    of_class = np.flatnonzero(dataset.labels == label)
    if count and count < len(of_class):
        of_class = np.sort(np.random.default_rng([seed, label]).choice(of_class, count, replace=False))
    if not len(of_class):
        raise InputError(f"search: class {dataset.classes[label]!r} has no image in the searched split")
    return of_class


def _evaluate(current: Run) -> None:
    maps = _load_maps(current)
    evaluate_stage.run(current.config, current.directory, current.classifier, maps, current.dataset("test"))


def _report(current: Run) -> None:
    report.write(current.config, current.directory, current.classifier, _load_maps(current), current.dataset("test"))


def _compare(current: Run) -> None:
    config, directory = current.config, current.directory
    if not config.model.weights:
        compare.run(config, directory)
        return
    test = current.dataset("test")
    weights.take(config, directory, test.classes)
    compare.run(config, directory, current.classifier, test)


def _export(current: Run) -> None:
    config, directory = current.config, current.directory
    trained = classifier.load_trained(config, directory)
    export.run(trained, _load_maps(current), directory, config.model.name, config.search.patch)


def _load_maps(current: Run) -> dfm.DominantFrequencyMaps:
    if not current.maps_file.exists():
        raise InputError(f"{current.maps_file}: no maps; run the stage search first (--config.stages=search,...)")
    maps = dfm.DominantFrequencyMaps.load(current.maps_file)
    current.classifier.check_classes(maps.classes, str(current.maps_file))
    return maps


STAGES = {
    "train": Stage(
        fields=("seed", "data", "model", "train"),
        needs=(),
        key=lambda config: "train",
        outputs=lambda run: [_trained_file(run)],
        reads=lambda run: _weights_file(run),
        partial=lambda config: not config.model.weights,
        run=_train,
    ),
    "search": Stage(
        fields=("search",),
        needs=("train",),
        key=lambda config: f"search-{config.search.method}",
        outputs=lambda run: [run.maps_file],
        run=_search,
        reads=lambda run: search.reads(run.config.search),
        partial=lambda config: True,
    ),
    "evaluate": Stage(
        # Controls are of the share that is shown.
        fields=("evaluate", "report.share"),
        needs=("search",),
        key=lambda config: f"evaluate-{config.search.method}",
        outputs=lambda run: [run.directory / "evaluation.json"],
        run=_evaluate,
        shown=("evaluate", "report"),
    ),
    "report": Stage(
        fields=("report",),
        needs=("evaluate",),
        key=lambda config: f"report-{config.search.method}",
        outputs=lambda run: [run.directory / "report" / "index.html"],
        run=_report,
        shown=("report", "evaluate"),
    ),
    "export": Stage(
        fields=(),
        needs=("search",),
        key=lambda config: f"export-{config.search.method}",
        outputs=lambda run: [export.weights_file(run.directory, run.config.model.name)],
        run=_export,
    ),
    "compare": Stage(
        fields=("left", "right", "min_iou", "seed", "search.shares", "report.share", "data", "model"),
        needs=(),
        key=lambda config: "compare",
        outputs=lambda run: [run.directory / "compare.json", run.directory / "report" / "compare.html"],
        run=_compare,
        reads=lambda run: [
            *(published_maps.file_of(run.config[side]) for side in ("left", "right")),
            *_weights_file(run),
        ],
        shown=("min_iou", "report"),
    ),
}


def _run_stage(name: str, current: Run) -> None:
    stage = STAGES[name]
    record_file = _record_file(current.config, current.directory, name)
    record = _read_record(record_file)
    fields = fingerprint(current.config, name)
    inputs = _inputs(current, stage)
    there = all(path.exists() for path in stage.outputs(current))
    if record and record["done"] and there and record["fields"] == fields and record["inputs"] == inputs:
        logger.info("%s: already done in %s", name, current.directory)
        return
    new = not record
    record = {"stage": name, "fields": fields, "inputs": inputs, "done": False, "seconds": 0, **_versions()}
    workdir.write_json(record_file, record)
    started = time.monotonic()
    try:
        stage.run(current)
    except InputError:
        # Nothing is left that a record has to guard: the next command, with the mistake mended, finds a free place.
        if new and not stage.partial(current.config):
            record_file.unlink()
        raise
    seconds = time.monotonic() - started
    workdir.write_json(record_file, {**record, "done": True, "seconds": round(seconds, 2)})
    current.metrics.write(name, 0, {"stage_seconds": seconds})
    logger.info("%s: done in %s", name, clock(seconds))


def _inputs(current: Run, stage: Stage) -> dict[str, str]:
    """SHA-256 of the files that the stages before left or that lie outside: a result made from others is made again."""
    files = [path for needed in stage.needs for path in STAGES[needed].outputs(current)]
    left = {str(path.relative_to(current.directory)): path for path in files if path.is_file()}
    outside = {str(path): path for path in stage.reads(current)}
    return {name: workdir.sha256(path) for name, path in (left | outside).items()}


def _weights_file(current: Run) -> list[pathlib.Path]:
    return [weights.file_of(current.config)] if current.config.model.weights else []


def _trained_file(current: Run) -> pathlib.Path:
    """The file that stands for the content of the model: hashes of the newest checkpoint, or record of the weights."""
    directory = current.directory
    return directory / weights.RECORD if current.config.model.weights else newest_hashes(directory / "checkpoints")


def _check_fingerprint(config: ConfigDict, directory: pathlib.Path, name: str) -> None:
    record_file = _record_file(config, directory, name)
    if not (record := _read_record(record_file)):
        return
    wanted, found = fingerprint(config, name), record["fields"]
    different = [
        f"{field} was {found.get(field)!r}, now {wanted.get(field)!r}"
        for field in sorted(wanted.keys() | found.keys())
        if wanted.get(field) != found.get(field) and not field.startswith(STAGES[name].shown)
    ]
    if different:
        raise InputError(
            f"{directory}: holds a {name} result made with other settings ({'; '.join(different)}); "
            "go on with those settings, or name another --workdir"
        )


def _record_file(config: ConfigDict, directory: pathlib.Path, name: str) -> pathlib.Path:
    return directory / "stages" / f"{STAGES[name].key(config)}.json"


def _read_record(file: pathlib.Path) -> dict[str, Any]:
    """What a stage was started with and whether it is done; empty where it was never started."""
    if not file.exists():
        return {}
    record = workdir.read_json(file)
    if not isinstance(record, dict) or not {"fields", "inputs", "done"} <= record.keys():
        raise InputError(f"{file}: not the record of a stage; delete it to have the stage run again")
    return record


def _versions() -> dict[str, str]:
    return {"fsjax": fsjax.__version__, "jax": jax.__version__, "devices": parallel.describe()}


def _flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
