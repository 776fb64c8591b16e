"""The folders that a mapping names below a root: where images of each class are, and whether all folders exist."""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fsjax.data.folder import EXTENSIONS, decodable, image_files
from fsjax.data.source import suggest
from fsjax.evaluation.ood.mapping import Mapping, check_folder
from fsjax.runtime.errors import InputError


@dataclasses.dataclass(frozen=True)
class Place:
    """One combination of a set's groups; a set without groups is one place.

    Attributes:
      groups: placeholder -> folder.
      folders: of each class of the model, in index order; empty where the set lacks the class.
    """

    groups: dict[str, str]
    folders: tuple[tuple[Path, ...], ...]

    @property
    def name(self) -> str:
        """The folders of its groups, or 'all' for a set without groups."""
        return "/".join(self.groups.values()) or "all"


def places(mapping: Mapping, root: Path, classes: Sequence[str], own: Sequence[str], where: str) -> list[Place]:
    """Return every combination of groups, after checking that each class folder exists and holds an image.

    Args:
      mapping: of the set in the folder `root`.
      root: that folder.
      classes: display names of the model's classes.
      own: the folders of those classes in the run's own data.
      where: the mapping, as error messages name it.

    Raises:
      InputError: no such root, a class that the model lacks, class folders that are missing or without images.
    """
    if not root.is_dir():
        raise InputError(f"ood.sets: {where}: got {root}; expected the folder that holds the set")
    folders = _folders(mapping, classes, own, where)
    all_places = []
    for combination in itertools.product(*mapping.groups.values()):
        groups = dict(zip(mapping.groups, combination, strict=True))
        parts = [groups.get(part[1:-1], part) if part[0] == "{" else part for part in mapping.layout[:-1]]
        above = root.joinpath(*parts)
        all_places.append(Place(groups, tuple(tuple(above / name for name in of_class) for of_class in folders)))
    every = [folder for place in all_places for of_class in place.folders for folder in of_class]
    _refuse([folder for folder in every if not folder.is_dir()], len(every), root, where, "missing")
    without = [folder for folder in every if not image_files(folder)]
    _refuse(without, len(every), root, where, f"without an image ({', '.join(EXTENSIONS)})")
    return all_places


def files(place: Place, images_per_class: int, skip_undecodable: bool) -> list[list[str]]:
    """Return the first images of each class, 0 = all; raises InputError for a class without an image that decodes."""
    paths = [[file for folder in of_class for file in image_files(folder)] for of_class in place.folders]
    if skip_undecodable:
        paths = decodable(paths, next(folder for of_class in place.folders for folder in of_class).parent)
    for of_class, images in zip(place.folders, paths, strict=True):
        if of_class and not images:
            raise InputError(f"ood.sets: got no image that decodes in {of_class[0]}; expected at least one a class")
    return [images[: images_per_class or None] for images in paths]


def check_repeated(paths: Sequence[Sequence[Sequence[str]]], all_places: Sequence[Place], where: str) -> None:
    """Raise InputError where a class has more images in one place than in another."""
    counts = np.array([[len(of_class) for of_class in of_place] for of_place in paths])
    for place, of_place in zip(all_places, counts, strict=True):
        if (different := np.flatnonzero(of_place != counts[0])).size:
            label = int(different[0])
            raise InputError(
                f"ood.sets: {where}: got {of_place[label]} images in {place.folders[label][0]}, {counts[0, label]} in "
                f"{all_places[0].folders[label][0]}; expected the same images everywhere (repeated: true)"
            )


def digest(paths: Iterable[str], root: Path) -> str:
    """Return the SHA-256 of paths below the root and of sizes: what identifies a set without reading it."""
    lines = sorted(f"{os.path.relpath(path, root)}\0{os.stat(path).st_size}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _folders(mapping: Mapping, classes: Sequence[str], own: Sequence[str], where: str) -> list[tuple[str, ...]]:
    """Return the names of the folders of each class of the model."""
    if mapping.classes is None:
        for name in own:
            check_folder(name, f"ood.sets: {where}: class folder")
        return [(name,) for name in own]
    folders: list[tuple[str, ...]] = [()] * len(classes)
    for key, of_class in mapping.classes.items():
        label = next((list(names).index(key) for names in (classes, own) if key in names), None)
        if label is None and not mapping.subset:
            raise InputError(f"ood.sets: {where}: got class {key!r}, which the model lacks; {suggest(key, classes)}")
        if label is not None and folders[label]:
            raise InputError(
                f"ood.sets: {where}: got class {classes[label]!r} twice, once as {key!r}; expected each class once"
            )
        if label is not None:
            folders[label] = of_class
    if not any(folders):
        raise InputError(f"ood.sets: {where}: got no class of the model; {suggest('', classes)}")
    return folders


def _refuse(bad: list[Path], count: int, root: Path, where: str, what: str, shown: int = 8) -> None:
    if bad:
        names = ", ".join(str(folder.relative_to(root)) for folder in bad[:shown])
        more = f" and {len(bad) - shown} more" if len(bad) > shown else ""
        raise InputError(
            f"ood.sets: {where}: got {len(bad)} of {count} class folders in {root} {what}: {names}{more}; "
            "expected every folder that the mapping names"
        )
