"""The sets that config.ood names: image folders, and corrupted or attacked test images, opened in parts."""

import copy
import dataclasses
import functools
import itertools
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from fsjax.data import SOURCES
from fsjax.data.dataset import Dataset
from fsjax.data.folder import FolderSource
from fsjax.data.selection import first_of_each_class
from fsjax.data.source import find_decodable, parse_classes
from fsjax.engine.model import Model
from fsjax.evaluation.ood import attacks, corruptions, mapping
from fsjax.evaluation.ood.mapping import Place
from fsjax.evaluation.rates import draw_pool
from fsjax.runtime import parallel
from fsjax.runtime.errors import InputError, expect
from fsjax.runtime.storage import Path

Rows = Int[np.ndarray, " images"]
Variant = tuple[dict[str, str], Callable[[Rows], Dataset]]  # groups, and a function that opens rows of the test images

# Names of the test images on pages, as they are and corrupted; reserved for them.
IN_DISTRIBUTION, CORRUPTIONS = "in distribution", "corruptions"
# Images of a part at most, and in the pool pairs of images and maps: a kill loses as many. A process holds a part.
PART, PAIRS = 512, 100_000


class Part(NamedTuple):
    """Images of a set that a process judges together."""

    groups: dict[str, str]  # placeholder -> folder
    size: int
    pooled: bool  # whether FPR rests on its images; then every class's map filters them, else those of their classes
    open: Callable[[], Dataset]


@dataclasses.dataclass(frozen=True)
class Set:
    """A set out of distribution."""

    name: str
    parts: list[Part]
    classes: tuple[int, ...]  # of the model's classes
    made_of: dict  # JSON values that identify its images
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # placeholder -> folders
    restrict: bool = False  # whether logits of the classes that it lacks are ignored
    repeated: bool = False  # whether several places show the same pictures


class FolderSet(NamedTuple):
    """A folder of images, `root`, and its mapping; config.ood.sets calls the mapping `where`, people the set `name`."""

    name: str
    where: str
    file: Path
    mapping: mapping.Mapping
    root: pathlib.Path

    def places(self, data: ConfigDict) -> list[Place]:
        """Return the places of the set, without decoding an image; raises InputError for a missing folder."""
        data = copy.deepcopy(data)
        with data.unlocked():
            data.synthetic.test_per_class = 1
        classes = list(SOURCES[data.source](data, data.test_split).classes)
        folders = {display: name for name, display in parse_classes(data.classes)}
        own = [folders.get(name, name) for name in classes]
        return mapping.find_places(self.mapping, self.root, classes, own, f"ood.sets: {self.where}")


def parse(config: ConfigDict) -> tuple[list[FolderSet], list[attacks.Attack]]:
    """Return the sets that config.ood names; raises InputError for an unknown set or attack, and for equal names."""
    folder_sets = []
    for entry in filter(None, (part.strip() for part in config.ood.sets.split(","))):
        where, equals, root = (part.strip() for part in entry.partition("="))
        expect(bool(equals and root), "ood.sets", entry, "MAPPING=ROOT, separated by commas")
        file, folder = mapping.find(where), pathlib.Path(root).expanduser()
        fields = mapping.read(file)
        name = fields.name.replace("{root}", folder.resolve().name)
        folder_sets.append(FolderSet(name, where, file, fields, folder))
    parsed = [attacks.parse(part) for part in config.ood.attacks.split(",") if part.strip()]
    names = [file_name(name) for name in (*(each.name for each in folder_sets), *(each.name for each in parsed))]
    names += [file_name(IN_DISTRIBUTION), *([CORRUPTIONS] if corruptions.parse(config.ood.corruptions) else [])]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"ood: got two sets called {twice[0]!r}; expected different names (of mappings, or of roots)")
    return folder_sets, parsed


def open_all(config: ConfigDict, model: Model, test: Dataset) -> Iterator[Set]:
    """Open the sets of config.ood one after the other: corruptions, folders, attacks."""
    folder_sets, parsed = parse(config)
    if names := corruptions.parse(config.ood.corruptions):
        yield open_corruptions(names, config, test)
    for folder_set in folder_sets:
        yield open_folder(folder_set, config, model.classes)
    for attack in parsed:
        yield open_attack(attack, config, model, test)


def file_name(name: str) -> str:
    """Return a set's name as a part of a file name."""
    return re.sub(r"\W+", "-", name[:60]).strip("-").lower() or "set"


def open_folder(folder_set: FolderSet, config: ConfigDict, classes: tuple[str, ...]) -> Set:
    """Open a set of image folders, read as the run's own images are; `classes` are the model's."""
    data, fields = config.data, folder_set.mapping
    places, parts, files = folder_set.places(data), [], []

    def open_rows(source: FolderSource, rows: Rows) -> Dataset:
        return Dataset(source, data.image_size, data.cache_gib, rows, data.resize_shorter, data.interpolation)

    for groups, images in places:
        source = FolderSource(classes, images)
        good = find_decodable(source, str(folder_set.root)) if data.skip_undecodable else np.arange(len(source))
        rows = good[first_of_each_class(source.labels[good], config.ood.images_per_class)]
        parts += _parts(groups, rows, source.labels[rows], functools.partial(open_rows, source), config.seed)
        files += [source.files[row] for row in rows]
    # The main process reads the files' sizes for all.
    sha256 = parallel.decide(lambda: mapping.digest(files, folder_set.root))
    made_of = {"mapping": folder_set.where, "fields": dataclasses.asdict(fields), "root": str(folder_set.root)}
    return Set(
        name=folder_set.name,
        parts=parts,
        classes=tuple(label for label, of_class in enumerate(places[0][1]) if of_class),
        made_of={**made_of, "images": len(files), "sha256": sha256},
        groups=fields.groups,
        restrict=fields.restrict,
        repeated=fields.repeated and len(places) > 1,
    )


def open_test(config: ConfigDict, test: Dataset) -> Set:
    """Open the first images of each class of the test set, as they are."""
    return _test_set(IN_DISTRIBUTION, config, test, [({}, test.subset)], {})


def open_attack(attack: attacks.Attack, config: ConfigDict, model: Model, test: Dataset) -> Set:
    """Open the first images of each class of the test set as a set, attacked part by part."""
    attacker = attacks.make_attacker(model.apply, model.mean_std, attack, config.seed)

    def attacked(rows: Rows) -> Dataset:
        return attacker(model.params, test.subset(rows), rows)

    return _test_set(attack.name, config, test, [({}, attacked)], {"attack": attack.name})


def open_corruptions(names: tuple[str, ...], config: ConfigDict, test: Dataset) -> Set:
    """Open the first images of each class of the test set once for each corruption and severity."""

    def corrupted(rows: Rows, name: str, severity: int) -> Dataset:
        return corruptions.corrupted(test.subset(rows), rows, name, severity, config.seed)

    variants = [
        ({"corruption": name, "severity": severity}, functools.partial(corrupted, name=name, severity=number))
        for name in names
        for number, severity in enumerate(corruptions.SEVERITIES)
    ]
    image_set = _test_set(CORRUPTIONS, config, test, variants, {"corruptions": list(names)})
    groups = {"corruption": names, "severity": corruptions.SEVERITIES}
    return dataclasses.replace(image_set, groups=groups, repeated=True)


def _test_set(name: str, config: ConfigDict, test: Dataset, variants: Sequence[Variant], made_of: dict) -> Set:
    """Return a set of the first test images of each class, once for each variant."""
    rows = first_of_each_class(test.labels, config.ood.images_per_class)
    each = (_parts(groups, rows, test.labels[rows], open_rows, config.seed) for groups, open_rows in variants)
    parts = [*itertools.chain(*each)]
    return Set(name, parts, tuple(np.unique(test.labels).tolist()), {**made_of, "images": len(rows)})


def _parts(
    groups: dict[str, str], rows: Rows, labels: Rows, open_rows: Callable[[Rows], Dataset], seed: int
) -> list[Part]:
    """Divide the rows of a place, ordered by class: first the pool, drawn by seed, and then the others."""
    rows = rows[np.argsort(labels, kind="stable")]
    pool, parts = draw_pool(len(rows), seed), []
    most = max(1, min(PART, PAIRS // len(np.unique(labels))))
    for pooled, some, size in ((True, rows[pool], most), (False, np.delete(rows, pool), PART)):
        divided = [some[start : start + size] for start in range(0, len(some), size)]
        parts += [Part(groups, len(part), pooled, functools.partial(open_rows, part)) for part in divided]
    return parts
