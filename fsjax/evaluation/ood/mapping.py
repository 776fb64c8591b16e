"""Mappings: YAML files, untrusted, that name the folders of another image set for each class of the model."""

import dataclasses
import hashlib
import itertools
import os
import pathlib
import re
import reprlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import yaml

from fsjax.data.folder import EXTENSIONS, FolderSource, image_files
from fsjax.data.source import find_decodable
from fsjax.runtime.errors import InputError, one_line, unknown
from fsjax.runtime.storage import Path

SHIPPED = pathlib.Path(__file__).parent / "mappings"

_FIELDS = ("name", "layout", "groups", "classes", "subset", "restrict", "repeated")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_LISTED = 8  # folders in an error message, at most


@dataclasses.dataclass(frozen=True)
class Mapping:
    """The content of a mapping; folders are names, never paths."""

    name: str  # {root} in it stands for the name of the folder that holds the set
    layout: tuple[str, ...]  # path from the root to a class folder: names or {placeholder}, last {class}
    groups: dict[str, tuple[str, ...]]  # other placeholder -> folders, in the order of the layout
    # Class of the model, by display name or folder name of data.classes -> folders; None = names as in the run's data.
    classes: dict[str, tuple[str, ...]] | None
    subset: bool = False  # whether the model may lack some of these classes
    restrict: bool = False  # whether logits of other classes are ignored
    repeated: bool = False  # whether all combinations of groups show the same pictures, which count as one image


def shipped() -> list[str]:
    """Return the names of the mappings that come with fsjax."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def find(name: str) -> Path:
    """Return the file of a shipped name or of a path; raises InputError where there is none."""
    if name in shipped():
        return SHIPPED / f"{name}.yaml"
    path = pathlib.Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise InputError(f"ood.sets: got {name!r}; expected a .yaml file, or one of {', '.join(shipped())}")
    return path


def read(path: Path) -> Mapping:
    """Read and check a mapping; raises InputError for invalid YAML, unknown fields, and values of another kind."""
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not YAML of text, lists and mappings ({one_line(error)})") from error
    if not isinstance(fields, dict):
        raise _wrong(str(path), fields, f"a YAML mapping with the fields {', '.join(_FIELDS)}")
    for field in fields:
        if field not in _FIELDS:
            raise InputError(f"{path}: got field {reprlib.repr(field)}; expected {', '.join(_FIELDS)}")
    layout = _layout(fields.get("layout"), f"{path}: layout")
    return Mapping(
        name=_text(fields.get("name", path.stem), f"{path}: name"),
        layout=layout,
        groups=_groups(fields.get("groups", {}), layout, f"{path}: groups"),
        classes=_classes(fields.get("classes"), f"{path}: classes"),
        **{name: _switch(fields.get(name, "false"), f"{path}: {name}") for name in ("subset", "restrict", "repeated")},
    )


class _Loader(yaml.BaseLoader):
    """Reads every scalar as text, so that a folder called 007, no or 2020-01-01 keeps its name; no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            problem = f"key {reprlib.repr(twice[0])} is given twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def _layout(value: object, where: str) -> tuple[str, ...]:
    parts = tuple(_text(value, where).split("/"))
    names = _placeholders(parts)
    for part in parts:
        if not _PLACEHOLDER.fullmatch(part):
            _folder(part, where)
    if parts[-1] != "{class}" or len(set(names)) < len(names):
        raise _wrong(where, value, "names and different {placeholders} between slashes, last {class}")
    return parts


def _placeholders(parts: Sequence[str]) -> list[str]:
    return [match[1] for part in parts if (match := _PLACEHOLDER.fullmatch(part))]


def _groups(value: object, layout: tuple[str, ...], where: str) -> dict[str, tuple[str, ...]]:
    wanted = _placeholders(layout[:-1])
    if not isinstance(value, dict) or set(value) != set(wanted):
        raise _wrong(where, value, f"folders for each placeholder of layout: {', '.join(wanted) or 'none'}")
    return {name: _folders(value[name], f"{where}.{name}") for name in wanted}


def _classes(value: object, where: str) -> dict[str, tuple[str, ...]] | None:
    if value == "same":
        return None
    if isinstance(value, list):
        value = {name: name for name in _folders(value, where)}
    if not isinstance(value, dict) or not value:
        raise _wrong(where, value, "same, a list of folders, or class: folder (or folders)")
    classes = {name: _folders(folders, f"{where}.{name}") for name, folders in value.items()}
    every = sorted(folder for folders in classes.values() for folder in folders)
    for folder, following in itertools.pairwise(every):
        if folder == following:
            raise InputError(f"{where}: got folder {folder!r} for two classes; expected one class")
    return classes


def _folders(value: object, where: str) -> tuple[str, ...]:
    folders = tuple(_folder(folder, where) for folder in (value if isinstance(value, list) else [value]))
    if not folders or len(set(folders)) < len(folders):
        raise _wrong(where, value, "one or more different folders")
    return folders


def _folder(value: object, where: str) -> str:
    """Return the name of a folder; raise InputError for a path, '..' or a drive."""
    name = _text(value, where)
    if name in (".", "..") or set(name) & set("/\\:\0"):
        raise _wrong(where, name, "the name of one folder, not a path")
    return name


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise _wrong(where, value, "text of one line")
    return value


def _switch(value: object, where: str) -> bool:
    if value not in ("true", "false"):
        raise _wrong(where, value, "true or false")
    return value == "true"


def _wrong(where: str, value: object, expected: str) -> InputError:
    return InputError(f"{where}: got {reprlib.repr(value)}; expected {expected}")


class Place(NamedTuple):
    """A combination of a set's groups, placeholder -> folder, with the folders and image files of each model class.

    Both are empty for classes that the set lacks. A set without groups is one place.
    """

    groups: dict[str, str]
    folders: list[list[pathlib.Path]]
    images: list[list[str]]


def find_places(
    mapping: Mapping, root: pathlib.Path, classes: Sequence[str], own: Sequence[str], where: str
) -> list[Place]:
    """Return every combination of groups, after checking that each class folder exists and holds an image.

    `classes` are the model's display names, `own` their folders in the run's own data; `where` starts error messages.
    Raises InputError for a missing root, a class that the model lacks, and class folders that lack images.
    """
    if not root.is_dir():
        raise InputError(f"{where}: got {root}; expected the folder that holds the set")
    names = _class_folders(mapping, classes, own, where)
    places, count, bad = [], 0, []
    for combination in itertools.product(*mapping.groups.values()):
        groups = dict(zip(mapping.groups, combination, strict=True))
        above = root.joinpath(*(groups.get(part[1:-1], part) for part in mapping.layout[:-1]))
        place = Place(groups, [[above / name for name in of_class] for of_class in names], [])
        for folders in place.folders:
            found = [image_files(folder) if folder.is_dir() else [] for folder in folders]
            bad += [folder for folder, images in zip(folders, found, strict=True) if not images]
            place.images.append([*itertools.chain(*found)])
            count += len(folders)
        places.append(place)
    if bad:
        listed = ", ".join(str(folder.relative_to(root)) for folder in bad[:_LISTED])
        more = f" and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        raise InputError(
            f"{where}: got {len(bad)} of {count} class folders in {root} missing or without an image: {listed}{more}; "
            f"expected images ({', '.join(EXTENSIONS)}) in every folder that the mapping names"
        )
    return places


def _class_folders(mapping: Mapping, classes: Sequence[str], own: Sequence[str], where: str) -> list[tuple[str, ...]]:
    """Return the folder names of each class."""
    if mapping.classes is None:
        return [(_folder(name, f"{where}: class folder"),) for name in own]
    folders: list[tuple[str, ...]] = [()] * len(classes)
    for key, names in mapping.classes.items():
        label = next((list(known).index(key) for known in (classes, own) if key in known), None)
        if label is None:
            if not mapping.subset:
                raise unknown(f"{where}, classes", key, classes)
        elif folders[label]:
            raise InputError(f"{where}: got class {classes[label]!r} twice, once as {key!r}; expected each class once")
        else:
            folders[label] = names
    if not any(folders):
        raise InputError(f"{where}: got no class of the model; expected some of {', '.join(classes[:_LISTED])}")
    return folders


def first_images(
    places: Sequence[Place], images_per_class: int, skip_undecodable: bool, repeated: bool
) -> list[list[list[str]]]:
    """Return the first image files of each class in each place, 0 = all.

    Raises InputError for a class without an image that decodes, and for places with other numbers of `repeated` images.
    """
    chosen: list[list[list[str]]] = []
    for place in places:
        paths = place.images
        if skip_undecodable:
            source = FolderSource((), paths)
            good = find_decodable(source, str(next(filter(None, place.folders))[0].parent))
            paths = [[source.files[row] for row in good[source.labels[good] == label]] for label in range(len(paths))]
        chosen.append([images[: images_per_class or None] for images in paths])
        for folders, images, first in zip(place.folders, chosen[-1], chosen[0], strict=True):
            if folders and not images:
                raise InputError(f"ood.sets: got no image that decodes in {folders[0]}; expected at least one a class")
            if repeated and len(images) != len(first):
                raise InputError(
                    f"ood.sets: got {len(images)} images in {folders[0]}; "
                    f"expected {len(first)} as in the set's first place (repeated: true)"
                )
    return chosen


def digest(paths: Iterable[str], root: pathlib.Path) -> str:
    """Return the SHA-256 of paths below the root and of sizes, which identifies a set without reading it."""
    lines = sorted(f"{os.path.relpath(path, root)}\0{os.stat(path).st_size}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
