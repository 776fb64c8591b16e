"""A mapping laid on a folder: where the images of each class of the model are, and whether all of it is there."""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fsjax.data.folder import EXTENSIONS, decodable, image_files
from fsjax.data.source import suggest
from fsjax.evaluation.ood.mapping import Mapping, check_folder, class_of
from fsjax.runtime.errors import InputError


@dataclasses.dataclass(frozen=True)
class Place:
    """One combination of a set's groups; a set without groups is one place.

    Attributes:
      groups: placeholder -> folder.
      folders: of each class of the model, in index order; none where the set lacks the class.
    """

    groups: dict[str, str]
    folders: tuple[tuple[Path, ...], ...]

    @property
    def name(self) -> str:
        """The folders of its groups; 'all' of a set without any."""
        return "/".join(self.groups.values()) or "all"


def places(mapping: Mapping, root: Path, classes: Sequence[str], own: Sequence[str], where: str) -> list[Place]:
    """Every combination of groups, its class folders seen to be there and each to hold an image.

    Args:
      mapping: of the set.
      root: of the set.
      classes: display names of the model's classes.
      own: the folders in which those classes lie in the data itself.
      where: what error messages call the set.

    Raises:
      InputError: no such root, a class that the model has not, class folders that are missing or without images.
    """
    if not root.is_dir():
        raise InputError(f"ood.sets: {where}: no folder {root}; expected the folder that holds the set")
    folders = _folders(mapping, classes, own, where)
    found = []
    for combination in itertools.product(*mapping.groups.values()):
        groups = dict(zip(mapping.groups, combination, strict=True))
        parts = [groups.get(part[1:-1], part) if part[0] == "{" else part for part in mapping.layout[:-1]]
        above = root.joinpath(*parts)
        found.append(Place(groups, tuple(tuple(above / name for name in of_class) for of_class in folders)))
    every = [folder for place in found for of_class in place.folders for folder in of_class]
    _refuse([folder for folder in every if not folder.is_dir()], len(every), root, where, "missing")
    without = [folder for folder in every if not _holds_an_image(folder)]
    _refuse(without, len(every), root, where, f"without an image ({', '.join(EXTENSIONS)})")
    return found


def files(place: Place, images_per_class: int, skip_undecodable: bool) -> list[list[str]]:
    """The images of each class: the first ones of its folders, 0 = all.

    Raises:
      InputError: a class that the set has is left without an image that decodes.
    """
    found = [[file for folder in of_class for file in image_files(folder)] for of_class in place.folders]
    if skip_undecodable:
        found = decodable(found, next(folder for of_class in place.folders for folder in of_class).parent)
    for of_class, there in zip(place.folders, found, strict=True):
        if of_class and not there:
            raise InputError(f"ood.sets: no image in {of_class[0]} decodes; each class needs at least one")
    return [of_class[: images_per_class or None] for of_class in found]


def check_repeated(found: Sequence[Sequence[Sequence[str]]], all_places: Sequence[Place], where: str) -> None:
    """Raises InputError where a class has more images in one place than in another."""
    counts = np.array([[len(of_class) for of_class in of_place] for of_place in found])
    for place, of_place in zip(all_places, counts, strict=True):
        if (different := np.flatnonzero(of_place != counts[0])).size:
            label = int(different[0])
            raise InputError(
                f"ood.sets: {where}: {of_place[label]} images in {place.folders[label][0]}, {counts[0, label]} in "
                f"{all_places[0].folders[label][0]}; expected the same images everywhere (repeated: true)"
            )


def digest(paths: Iterable[str], root: Path) -> str:
    """SHA-256 of the sorted paths from the root and of the sizes: what can be seen of a set without reading it."""
    lines = sorted(f"{os.path.relpath(path, root)}\0{os.stat(path).st_size}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _folders(mapping: Mapping, classes: Sequence[str], own: Sequence[str], where: str) -> list[tuple[str, ...]]:
    """Names of the folders of each class of the model."""
    if mapping.classes is None:
        for name in own:
            check_folder(name, f"ood.sets: {where}: class folder")
        return [(name,) for name in own]
    folders: list[tuple[str, ...]] = [()] * len(classes)
    for key, names in mapping.classes.items():
        label = class_of(key, classes, own)
        if label is None and not mapping.subset:
            raise InputError(f"ood.sets: {where}: class {key!r} is not in the model; {suggest(key, classes)}")
        if label is not None and folders[label]:
            raise InputError(f"ood.sets: {where}: class {classes[label]!r} is mapped twice, once as {key!r}")
        if label is not None:
            folders[label] = names
    if not any(folders):
        raise InputError(f"ood.sets: {where}: none of its classes is in the model; {suggest('', classes)}")
    return folders


def _holds_an_image(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(EXTENSIONS) for entry in entries)


def _refuse(bad: list[Path], count: int, root: Path, where: str, what: str, shown: int = 8) -> None:
    if bad:
        names = ", ".join(str(folder.relative_to(root)) for folder in bad[:shown])
        more = f" and {len(bad) - shown} more" if len(bad) > shown else ""
        raise InputError(
            f"ood.sets: {where}: {len(bad)} of {count} class folders in {root} {what}: {names}{more}; "
            "expected every folder that the mapping names"
        )
