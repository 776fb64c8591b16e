"""A stage of an experiment, the workspace that it reads and writes, and the fields that its result depends on."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fsjax import data, search
from fsjax.data.dataset import Dataset, check_unchanged
from fsjax.data.normalisation import measure_mean_std
from fsjax.engine.model import Model
from fsjax.experiment.forecast import Work
from fsjax.fourier import dfm
from fsjax.models.source import model_source
from fsjax.runtime import config_fields, files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.metrics import Metrics, start_wandb
from fsjax.runtime.storage import Path
from fsjax.training import setup, ways
from fsjax.training.setup import Training


class Workspace:
    """A config, its workdir, and what stages read, opened on first use."""

    def __init__(self, config: ConfigDict, directory: Path):
        self.config, self.directory = config, directory
        self._datasets: dict[str, Dataset] = {}

    @classmethod
    def finished(cls, directory: Path, method: str | None = None) -> "Workspace":
        """Open the workdir of a run with the config that it stores; method None = the only one with maps.

        Raises InputError for a folder that is no workdir, and for a method without maps there.
        """
        file, available = directory / "config.json", [maps.stem for maps in dfm.files_in(directory)]
        if not available:
            expected = "a folder where the stage search ran"
            raise InputError(f"workdir: got {directory}, which has no maps; expected {expected}")
        if method not in available and (method is not None or len(available) > 1):
            got, names = "nothing" if method is None else repr(method), ", ".join(available)
            raise InputError(f"method: got {got}; expected one of {names}, which have maps in {directory}")
        stored = files.read_json(file) if file.exists() else None
        if not isinstance(stored, dict):
            raise InputError(f"{file}: got {type(stored).__name__}; expected the config of a run")
        for group, field, interval in (("report", "share", "(0, 1]"), ("evaluate", "threshold", "[0, 1]")):
            fields = stored.get(group)
            value = fields.get(field) if isinstance(fields, dict) else None
            config_fields.check_number(f"{file}: {group}.{field}", value, interval)
        config = _stored(stored)
        config.search.method = method or available[0]
        return cls(config, directory)

    @functools.cached_property
    def metrics(self) -> Metrics:
        """The writer of this start's numbers; whoever opens it closes it."""
        return Metrics(self.directory, lambda: start_wandb(self.config, self.directory))

    def dataset(self, split: str) -> Dataset:
        """Return the 'train', 'validation' or 'test' images."""
        if split not in self._datasets:
            dataset = data.load(self.config.data, split, self.config.seed)
            if parallel.is_main_process():
                check_unchanged(self.directory / "images.json", split, dataset)
            self._datasets[split] = dataset
        return self._datasets[split]

    def open(self, splits: Iterable[str]) -> dict[str, Dataset]:
        """Open splits of the data early, without decoding any image.

        Raises InputError for an unreadable split, or a split that lacks a class of another.
        """
        opened = {split: self.dataset(split) for split in dict.fromkeys(splits)}
        for having, lacking in itertools.permutations(opened, 2):
            if missing := [name for name in opened[having].classes if name not in opened[lacking].classes]:
                got = f"no class {', '.join(map(repr, missing[:3]))} in the {lacking} images, which the {having} images"
                raise InputError(f"data: got {got} have; expected the same classes in every split, or data.classes=...")
        for name in {dataset.classes[0] for dataset in opened.values() if len(dataset.classes) == 1}:
            raise InputError(f"data: got one class, {name!r}; expected two or more")
        return opened

    @functools.cached_property
    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of pixels in [0, 1], per channel: the config's, or of the training images."""
        if self.config.data.mean:
            return np.array(self.config.data.mean, float), np.array(self.config.data.std, float)
        return measure_mean_std(self.dataset("train"))

    @functools.cached_property
    def training(self) -> Training:
        """What the stage train needs; its step is compiled once for the forecast and for the training."""
        return setup.build(self.config, self.dataset("train"), self.mean_std, self.directory)

    @functools.cached_property
    def classifier(self) -> Model:
        """The trained classifier of this workdir."""
        return model_source(self.config).model(self.directory)

    @property
    def maps_file(self) -> Path:
        """The file of maps of the config's search method."""
        return dfm.file_in(self.directory, self.config.search.method)

    @functools.cached_property
    def maps(self) -> dfm.DominantFrequencyMaps:
        """The maps of the config's search method; raises InputError before the stage search."""
        if not self.maps_file.exists():
            raise InputError(f"{self.maps_file}: no maps; run the stage search first (--config.stages=search,...)")
        maps = dfm.DominantFrequencyMaps.load(self.maps_file)
        self.classifier.check_classes(maps.classes, str(self.maps_file))
        return maps


@dataclasses.dataclass(frozen=True)
class Stage:
    """A step of an experiment.

    Attributes:
      name: its name in config.stages.
      fields: prefixes of the config fields that its result depends on, beyond the fields of the stages in `needs`.
      outputs: workspace -> the files that exist after it.
      run: computes and writes them.
      needs: stages whose results it reads.
      check: raises InputError for a bad field, before anything runs; reads no result.
      by_method: whether each search method has its own result.
      reads: workspace -> further files that its result depends on.
      shown: prefixes of fields that may change in a workdir: a new result then replaces the old result.
      partial: config -> the folder of partial results in the workdir, or None; only the same settings continue them.
      splits: config -> the splits that it reads, of 'train', 'validation', 'test'.
      work: config, datasets by split -> the forward passes of its parts, as `forecast.Work`; {} = unknown.
    """

    name: str
    fields: tuple[str, ...]
    outputs: Callable[[Workspace], list[Path]]
    run: Callable[[Workspace], None]
    needs: tuple["Stage", ...] = ()
    check: Callable[[ConfigDict], None] = lambda config: None
    by_method: bool = False
    reads: Callable[[Workspace], list[Path]] = lambda workspace: []
    shown: tuple[str, ...] = ()
    partial: Callable[[ConfigDict], str | None] = lambda config: None
    splits: Callable[[ConfigDict], tuple[str, ...]] = lambda config: ()
    work: Callable[[ConfigDict, Mapping[str, Dataset]], Work] = lambda config, datasets: {}

    def with_needs(self) -> list["Stage"]:
        """Return this stage after all stages that it needs, directly or indirectly, each once."""
        needed = {stage.name: stage for need in self.needs for stage in need.with_needs()}
        return [*needed.values(), self]


def fingerprint(config: ConfigDict, stage: Stage) -> dict[str, Any]:
    """Return the config fields that a stage's result depends on: dotted name -> JSON value."""
    prefixes = [prefix for needed in stage.with_needs() for prefix in needed.fields]
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in config_fields.flat(config)
        if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
        and _changes_results(name, config)
    }


class _StoredConfig(ConfigDict):
    """The config of a finished run, which another version of fsjax may have stored without a field of today."""

    _group = ""  # with a dot

    def __getitem__(self, key: str) -> Any:
        if key in self or key.startswith("_"):
            return super().__getitem__(key)
        got = f"no field {self._group + key!r}"
        raise InputError(f"config.json: got {got}; expected a run of this version of fsjax: run it again")


def _stored(value: Any, group: str = "") -> Any:
    """Return the config of a JSON value, with tuples for lists; `group`, with a dot, begins the names of its fields."""
    if isinstance(value, dict):
        config = _StoredConfig({name: _stored(part, f"{group}{name}.") for name, part in value.items()})
        object.__setattr__(config, "_group", group)
        return config
    return tuple(map(_stored, value)) if isinstance(value, list) else value


def _changes_results(name: str, config: ConfigDict) -> bool:
    if name in ("data.cache_gib", "model.check"):
        return False
    group, _, field = name.partition(".")
    if group == "train":
        return model_source(config).trains and ways.used(field, config.train)
    return group != "search" or search.used(field, config.search.method)
