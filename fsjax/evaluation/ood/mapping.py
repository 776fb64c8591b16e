"""Mappings: YAML files, untrusted, that name the folders of another image set for each class of the model."""

import dataclasses
import hashlib
import itertools
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from fsjax.data.folder import EXTENSIONS, image_files
from fsjax.runtime.errors import InputError, expect, one_line, unknown
from fsjax.runtime.storage import Path

# Name -> file of the mappings that come with fsjax.
SHIPPED = {file.stem: file for file in sorted((pathlib.Path(__file__).parent / "mappings").glob("*.yaml"))}

# A combination of groups, placeholder -> folder, and the image files of each model class, none where the set lacks it.
Place = tuple[dict[str, str], list[list[str]]]

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
    subset: bool = False  # whether the model may lack some classes of the set
    restrict: bool = False  # whether logits of other classes are ignored
    repeated: bool = False  # whether all combinations of groups show the same pictures, which count as one image


def find(name: str) -> Path:
    """Return the file of a shipped name or of a path; raises InputError where there is none."""
    if name in SHIPPED:
        return SHIPPED[name]
    path = pathlib.Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise InputError(f"ood.sets: got {name!r}; expected a .yaml file, or one of {', '.join(SHIPPED)}")
    return path


def read(path: Path) -> Mapping:
    """Read and check a mapping; raises InputError for invalid YAML, unknown fields, and values of another kind."""
    try:
        # Every scalar as text, so that a folder called 007, no or 2020-01-01 keeps its name.
        fields = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not YAML of text, lists and mappings ({one_line(error)})") from error
    expect(isinstance(fields, dict), str(path), fields, f"a YAML mapping with the fields {', '.join(_FIELDS)}")
    for field in fields:
        expect(field in _FIELDS, f"{path}: field", field, ", ".join(_FIELDS))
    layout = tuple(_text(fields.get("layout"), where := f"{path}: layout").split("/"))
    placeholders = [part[1:-1] for part in layout[:-1] if _PLACEHOLDER.fullmatch(part)]
    for part in layout:
        if not _PLACEHOLDER.fullmatch(part):
            _folders(part, where)
    expect(layout[-1] == "{class}", where, fields["layout"], "names and {placeholders} between slashes, last {class}")
    groups, where = fields.get("groups", {}), f"{path}: groups"
    wanted = f"folders for each placeholder of layout: {', '.join(placeholders) or 'none'}"
    expect(isinstance(groups, dict) and set(groups) == set(placeholders), where, groups, wanted)
    switches = {name: fields.get(name, "false") for name in ("subset", "restrict", "repeated")}
    for name, value in switches.items():
        expect(value in ("true", "false"), f"{path}: {name}", value, "true or false")
    return Mapping(
        name=_text(fields.get("name", path.stem), f"{path}: name"),
        layout=layout,
        groups={name: _folders(groups[name], f"{where}.{name}") for name in placeholders},
        classes=_classes(fields.get("classes"), f"{path}: classes"),
        **{name: value == "true" for name, value in switches.items()},
    )


def _classes(value: Any, where: str) -> dict[str, tuple[str, ...]] | None:
    if value == "same":
        return None
    if isinstance(value, list):
        value = {name: name for name in _folders(value, where)}
    expected = "same, a list of folders, or class: folder (or folders)"
    expect(isinstance(value, dict) and len(value) > 0, where, value, expected)
    return {name: _folders(folders, f"{where}.{name}") for name, folders in value.items()}


def _folders(value: object, where: str) -> tuple[str, ...]:
    """Return names of folders; raise InputError for a path, '..' or a drive."""
    folders = tuple(_text(folder, where) for folder in (value if isinstance(value, list) else [value]))
    expect(0 < len(set(folders)) == len(folders), where, value, "one or more different folders")
    for name in folders:
        expect(
            name not in (".", "..") and not set(name) & set("/\\:"), where, name, "the name of one folder, not a path"
        )
    return folders


def _text(value: Any, where: str) -> str:
    expect(isinstance(value, str) and value.strip() != "" and value.isprintable(), where, value, "text of one line")
    return str(value)


def find_places(
    mapping: Mapping, root: pathlib.Path, classes: Sequence[str], own: Sequence[str], where: str
) -> list[Place]:
    """Return every combination of groups and its images, after checking that each class folder holds an image.

    A set without groups is one place. `classes` are the model's display names, `own` their folders in the run's own
    data; `where` starts error messages. Raises InputError for a missing root, a class that the model lacks, class
    folders that lack images, and places with other numbers of `repeated` images.
    """
    if not root.is_dir():
        raise InputError(f"{where}: got {root}; expected the folder that holds the set")
    names, places, bad = _class_folders(mapping, classes, own, where), [], []
    for combination in itertools.product(*mapping.groups.values()):
        groups = dict(zip(mapping.groups, combination, strict=True))
        filled = {f"{{{name}}}": folder for name, folder in groups.items()}
        above = root.joinpath(*(filled.get(part, part) for part in mapping.layout[:-1]))
        images = []
        for folders in names:
            found = {folder: image_files(folder) if folder.is_dir() else [] for folder in map(above.joinpath, folders)}
            bad += [folder for folder, files in found.items() if not files]
            images.append([*itertools.chain(*found.values())])
        places.append((groups, images))
        for files, first in zip(images, places[0][1], strict=True) if mapping.repeated and not bad else ():
            if len(files) != len(first):
                got = f"{len(files)} images in {os.path.dirname(files[0])}"
                expected = f"{len(first)} as in the set's first place (repeated: true)"
                raise InputError(f"{where}: got {got}; expected {expected}")
    if bad:
        got = f"{len(bad)} of {len(places) * sum(map(len, names))} class folders in {root} missing or without an image"
        listed = ", ".join(str(folder.relative_to(root)) for folder in bad[:_LISTED])
        expected = f"images ({', '.join(EXTENSIONS)}) in every folder that it names"
        raise InputError(f"{where}: got {got}: {listed}; expected {expected}")
    return places


def _class_folders(mapping: Mapping, classes: Sequence[str], own: Sequence[str], where: str) -> list[tuple[str, ...]]:
    if mapping.classes is None:
        return [_folders(name, f"{where}: class folder") for name in own]
    folders: list[tuple[str, ...]] = [()] * len(classes)
    for key, names in mapping.classes.items():
        label = next((list(known).index(key) for known in (classes, own) if key in known), None)
        if label is not None:
            folders[label] += names
        elif not mapping.subset:
            raise unknown(f"{where}, classes", key, classes)
    if not any(folders):
        raise InputError(f"{where}: got no class of the model; expected some of {', '.join(classes[:_LISTED])}")
    return folders


def digest(paths: Iterable[str], root: pathlib.Path) -> str:
    """Return the SHA-256 of paths below the root and of sizes, which identifies a set without reading it."""
    lines = sorted(f"{os.path.relpath(path, root)}\0{os.stat(path).st_size}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
