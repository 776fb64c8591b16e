"""The sets that config.ood names, opened: parts that are judged one by one, and what they are made of."""

import copy
import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from fsjax.data import SOURCES
from fsjax.data.dataset import Dataset, Images
from fsjax.data.folder import FolderSource
from fsjax.data.selection import first_of_each_class
from fsjax.data.source import parse_classes
from fsjax.engine.model import Model
from fsjax.evaluation.ood import attacks, corruptions, folders, mapping
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# What pages call the run's own test images; no set may have this name.
IN_DISTRIBUTION = "in distribution"
# What pages call the test images under config.ood.corruptions.
CORRUPTIONS = "corruptions"
# Images of a part: the most that are counted again after a kill, and that a process holds at a time.
PART = 512


class Part(NamedTuple):
    """Images of a set that are judged together, by one process; the name is unique in the set."""

    name: str
    groups: dict[str, str]  # placeholder -> folder
    open: Callable[[], Images]


@dataclasses.dataclass(frozen=True)
class Set:
    """A set out of distribution, opened.

    Attributes:
      name: for people, and in the results.
      parts: that make it up.
      classes: indices of the model's classes that it has.
      groups: placeholder -> folders, to be reported one by one.
      restrict: whether logits of the classes that it lacks are left out.
      repeated: whether several places show the same pictures.
      made_of: what identifies its images, as JSON values; counts of another `made_of` are not of this set.
    """

    name: str
    parts: list[Part]
    classes: tuple[int, ...]
    groups: dict[str, tuple[str, ...]]
    restrict: bool
    repeated: bool
    made_of: dict

    @property
    def outputs(self) -> tuple[int, ...] | None:
        """Classes whose logits count; None = all."""
        return self.classes if self.restrict else None


class FolderSet(NamedTuple):
    """A folder of images, `root`, and its mapping; `where` is what config.ood.sets calls it, `name` is for people."""

    name: str
    where: str
    file: Path
    mapping: mapping.Mapping
    root: pathlib.Path


def parse(config: ConfigDict) -> tuple[list[FolderSet], list[attacks.Attack]]:
    """Return the sets that config.ood names; raises InputError for an unknown set or attack, and for equal names."""
    folder_sets = []
    for entry in filter(None, (part.strip() for part in config.ood.sets.split(","))):
        where, equals, root = (part.strip() for part in entry.partition("="))
        if not equals or not root:
            raise InputError(f"ood.sets: got {entry!r}; expected MAPPING=ROOT, separated by commas")
        file, folder = mapping.file_of(where), pathlib.Path(root).expanduser()
        fields = mapping.read(file)
        name = fields.name.replace("{root}", folder.resolve().name)
        folder_sets.append(FolderSet(name, where, file, fields, folder))
    parsed = [attacks.parse(part) for part in config.ood.attacks.split(",") if part.strip()]
    names = [file_name(name) for name in (*(each.name for each in folder_sets), *(each.name for each in parsed))]
    names += [file_name(IN_DISTRIBUTION), *([CORRUPTIONS] if corruptions.parse(config.ood.corruptions) else [])]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"ood: got two sets called {twice[0]!r}; expected different names (of mappings, or of roots)")
    return folder_sets, parsed


def openers(config: ConfigDict, classifier: Model, test: Dataset) -> list[Callable[[], Set]]:
    """Return a function for each set and attack of config.ood, and for its corruptions, which opens it."""
    folder_sets, parsed = parse(config)
    corrupted = corruptions.parse(config.ood.corruptions)
    return [
        *([functools.partial(open_corruptions, corrupted, config, test)] if corrupted else []),
        *(functools.partial(open_folder, folder_set, config, classifier.classes) for folder_set in folder_sets),
        *(functools.partial(open_attack, attack, config, classifier, test) for attack in parsed),
    ]


def file_name(name: str) -> str:
    """Return the name of a set as a part of a file's name."""
    return re.sub(r"\W+", "-", name[:60]).strip("-").lower() or "set"


def own_classes(data: ConfigDict) -> tuple[list[str], list[str]]:
    """Return display names and folders of the data's classes; no image is decoded."""
    data = copy.deepcopy(data)
    with data.unlocked():
        data.skip_undecodable = False
        data.synthetic.test_per_class = 1
    classes = list(SOURCES[data.source](data, data.test_split).classes)
    folder_of = {display: name for name, display in parse_classes(data.classes)}
    return classes, [folder_of.get(name, name) for name in classes]


def places(folder_set: FolderSet, data: ConfigDict) -> list[folders.Place]:
    """Return the places of a set; raises InputError where one of them is missing."""
    return folders.places(folder_set.mapping, folder_set.root, *own_classes(data), folder_set.where)


def open_folder(folder_set: FolderSet, config: ConfigDict, classes: tuple[str, ...]) -> Set:
    """Open a set of image folders, read as the run's own images are; `classes` are the model's."""
    data, fields = config.data, folder_set.mapping
    all_places = places(folder_set, data)
    files = [folders.files(place, config.ood.images_per_class, data.skip_undecodable) for place in all_places]
    if fields.repeated:
        folders.check_repeated(files, all_places, folder_set.where)

    def opener(of_place: Sequence[Sequence[str]], rows: np.ndarray) -> Callable[[], Images]:
        return lambda: Dataset(
            FolderSource(classes, of_place), data.image_size, data.cache_gib, rows, resize_shorter=data.resize_shorter
        )

    every = [file for of_place in files for of_class in of_place for file in of_class]
    return Set(
        name=folder_set.name,
        parts=[
            Part(f"{place.name}/{rows[0]}", place.groups, opener(of_place, rows))
            for place, of_place in zip(all_places, files, strict=True)
            for rows in split(np.arange(sum(map(len, of_place))))
        ],
        classes=tuple(label for label, of_class in enumerate(all_places[0].folders) if of_class),
        groups=fields.groups,
        restrict=fields.restrict,
        repeated=fields.repeated and len(all_places) > 1,
        made_of={
            "mapping": folder_set.where,
            "fields": dataclasses.asdict(fields),
            "root": str(folder_set.root),
            "images": len(every),
            # Read once, and not by every process.
            "sha256": parallel.decide(lambda: folders.digest(every, folder_set.root)),
        },
    )


def open_attack(attack: attacks.Attack, config: ConfigDict, classifier: Model, test: Dataset) -> Set:
    """Open the first images of each class of the test set as a set, attacked part by part."""
    rows = first_of_each_class(test.labels, config.ood.images_per_class)
    attacker = attacks.make_attacker(classifier.apply, classifier.mean_std, attack, config.seed)

    def opener(part: np.ndarray) -> Callable[[], Images]:
        return lambda: attacker(classifier.params, test.subset(part), part)

    return Set(
        name=attack.name,
        parts=[Part(f"all/{part[0]}", {}, opener(part)) for part in split(rows)],
        classes=tuple(int(label) for label in np.unique(test.labels)),
        groups={},
        restrict=False,
        repeated=False,
        made_of={"attack": attack.name, "images": len(rows)},
    )


def open_corruptions(names: tuple[str, ...], config: ConfigDict, test: Dataset) -> Set:
    """Open the first images of each class of the test set as a set that has each once a corruption and severity."""
    rows = first_of_each_class(test.labels, config.ood.images_per_class)

    def opener(part: np.ndarray, name: str, severity: int) -> Callable[[], Images]:
        return lambda: corruptions.corrupted(test.subset(part), part, name, severity, config.seed)

    return Set(
        name=CORRUPTIONS,
        parts=[
            Part(
                f"{name}-{severity}/{part[0]}",
                {"corruption": name, "severity": severity},
                opener(part, name, number),
            )
            for name in names
            for number, severity in enumerate(corruptions.SEVERITIES)
            for part in split(rows)
        ],
        classes=tuple(int(label) for label in np.unique(test.labels)),
        groups={"corruption": names, "severity": corruptions.SEVERITIES},
        restrict=False,
        repeated=True,
        made_of={"corruptions": list(names), "images": len(rows)},
    )


def open_test(config: ConfigDict, test: Dataset) -> Set:
    """Open the first images of each class of the test set, as they are."""
    rows = first_of_each_class(test.labels, config.ood.images_per_class)
    return Set(
        name=IN_DISTRIBUTION,
        parts=[Part(f"all/{part[0]}", {}, functools.partial(test.subset, part)) for part in split(rows)],
        classes=tuple(int(label) for label in np.unique(test.labels)),
        groups={},
        restrict=False,
        repeated=False,
        made_of={"images": len(rows)},
    )


def split(rows: np.ndarray) -> list[np.ndarray]:
    """Split rows into parts of PART images, the last one smaller."""
    return [rows[start : start + PART] for start in range(0, len(rows), PART)]
