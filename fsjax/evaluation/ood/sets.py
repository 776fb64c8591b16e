"""The sets that config.ood asks for, opened: parts that are judged one by one, and what they are made of."""

import copy
import dataclasses
import pathlib
import re
from collections.abc import Callable, Sequence

import numpy as np
from ml_collections import ConfigDict

from fsjax.data import SOURCES
from fsjax.data.dataset import Dataset, Images
from fsjax.data.folder import FolderSource
from fsjax.data.image_selection import first_of_each_class
from fsjax.data.source import parse_classes
from fsjax.evaluation.ood import attacks, folders, mapping
from fsjax.models.classifier import Classifier
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

# Images of a part: what is lost at most when a run is killed, and what a process has for itself at a time.
PART = 512


@dataclasses.dataclass(frozen=True)
class Part:
    """Images of a set that are judged together, by one process.

    Attributes:
      name: unlike those of other parts of the set.
      groups: placeholder -> folder.
      open: -> its images.
    """

    name: str
    groups: dict[str, str]
    open: Callable[[], Images]


@dataclasses.dataclass(frozen=True)
class Set:
    """A set out of distribution, opened.

    Attributes:
      name: for people, and in the results.
      parts: that make it up.
      classes: indices of the model's classes that it has.
      groups: folders of each placeholder, to be reported one by one.
      restrict: whether logits of the classes that it lacks are left out.
      pictures: how many times each picture is in it.
      about: what it was made of, for JSON; counts of another `about` are not of this set.
    """

    name: str
    parts: list[Part]
    classes: tuple[int, ...]
    groups: dict[str, tuple[str, ...]]
    restrict: bool
    pictures: int
    about: dict


@dataclasses.dataclass(frozen=True)
class Asked:
    """A folder with its mapping, as config.ood.sets names them."""

    name: str
    where: str
    file: Path
    root: pathlib.Path


def asked(config: ConfigDict) -> tuple[list[Asked], list[attacks.Attack]]:
    """What config.ood asks for; raises InputError for a set or an attack that is not known, and for equal names."""
    sets = []
    for entry in filter(None, (part.strip() for part in config.ood.sets.split(","))):
        name, equals, root = (part.strip() for part in entry.partition("="))
        if not equals or not root:
            raise InputError(f"ood.sets: got {entry!r}; expected MAPPING=ROOT, separated by commas")
        file, folder = mapping.file_of(name), pathlib.Path(root).expanduser()
        title = mapping.read(file).name.replace("{root}", folder.resolve().name)
        sets.append(Asked(title, name, file, folder))
    made = [attacks.parse(part) for part in config.ood.attacks.split(",") if part.strip()]
    names = [file_name(name) for name in (*(one.name for one in sets), *(one.name for one in made))]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"ood: two sets are called {twice[0]!r}; expected names that differ (of mappings, or of roots)"
        )
    return sets, made


def file_name(name: str) -> str:
    """The name of a set in the name of a file."""
    return re.sub(r"\W+", "-", name[:60]).strip("-").lower() or "set"


def own_classes(data: ConfigDict) -> tuple[list[str], list[str]]:
    """Display names of the data's classes, and the folders in which they lie; nothing is decoded."""
    data = copy.deepcopy(data)
    with data.unlocked():
        data.skip_undecodable = False
        data.synthetic.test_per_class = 1
    classes = list(SOURCES[data.source](data, data.test_split).classes)
    folder_of = {display: name for name, display in parse_classes(data.classes)}
    return classes, [folder_of.get(name, name) for name in classes]


def places(one: Asked, data: ConfigDict) -> tuple[mapping.Mapping, list[folders.Place]]:
    """The mapping of a set and its places, all seen to be there."""
    found = mapping.read(one.file)
    return found, folders.places(found, one.root, *own_classes(data), one.where)


def open_folder(one: Asked, config: ConfigDict, classes: tuple[str, ...]) -> Set:
    """A set of image folders, read as the run's own images are.

    Args:
      one: the set.
      config: of the run.
      classes: display names of the model's classes.
    """
    found, there = places(one, config.data)
    data = config.data
    listed = [folders.files(place, config.ood.images_per_class, data.skip_undecodable) for place in there]
    if found.repeated:
        folders.check_repeated(listed, there, one.where)

    def opener(files: Sequence[Sequence[str]], rows: np.ndarray) -> Callable[[], Images]:
        return lambda: Dataset(
            FolderSource(classes, files), data.image_size, data.cache_gib, rows, resize_shorter=data.resize_shorter
        )

    every = [file for of_place in listed for of_class in of_place for file in of_class]
    return Set(
        name=one.name,
        parts=[
            Part(f"{place.name}/{rows[0]}", place.groups, opener(files, rows))
            for place, files in zip(there, listed, strict=True)
            for rows in cut(np.arange(sum(map(len, files))))
        ],
        classes=tuple(label for label, of_class in enumerate(there[0].folders) if of_class),
        groups=found.groups,
        restrict=found.restrict,
        pictures=len(there) if found.repeated else 1,
        about={
            "mapping": one.where,
            "fields": dataclasses.asdict(found),
            "root": str(one.root),
            "images": len(every),
            # Read once, and not by every process.
            "sha256": parallel.decide(lambda: folders.digest(every, one.root)),
        },
    )


def open_attack(attack: attacks.Attack, config: ConfigDict, classifier: Classifier, test: Dataset) -> Set:
    """The run's own test images, the first ones of each class, attacked part by part.

    Args:
      attack: to be made.
      config: of the run.
      classifier: that is attacked.
      test: the whole test set.
    """
    rows = first_of_each_class(test.labels, config.ood.images_per_class)
    attacker = attacks.make_attacker(classifier.model.apply, classifier.mean_std, attack, config.seed)

    def opener(part: np.ndarray) -> Callable[[], Images]:
        return lambda: attacker(classifier.model.params, test.subset(part), part)

    return Set(
        name=attack.name,
        parts=[Part(f"all/{part[0]}", {}, opener(part)) for part in cut(rows)],
        classes=tuple(int(label) for label in np.unique(test.labels)),
        groups={},
        restrict=False,
        pictures=1,
        about={"attack": attack.name, "images": len(rows)},
    )


def cut(rows: np.ndarray) -> list[np.ndarray]:
    """Parts of PART images, the last one smaller."""
    return [rows[start : start + PART] for start in range(0, len(rows), PART)]
