"""A mapping: the folders of another image set that show each class of the model. A small YAML file, untrusted."""

import dataclasses
import pathlib
import re
import reprlib
from typing import Any

import yaml

from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.storage import Path

SHIPPED = pathlib.Path(__file__).parent / "mappings"

_FIELDS = ("name", "layout", "groups", "classes", "subset", "restrict", "repeated")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclasses.dataclass(frozen=True)
class Mapping:
    """The content of a mapping; every folder in it is the name of one folder, never a path.

    Attributes:
      name: of the set, for people; {root} in it stands for the name of the folder that holds the set.
      layout: the parts of the path from the root to a class folder: names, or {placeholder}; the last is {class}.
      groups: the folders of each other placeholder, in the order of the layout.
      classes: class of the model, by display name or by folder name of data.classes -> folders that show it; None =
        each class has the folder that it has in the run's own data.
      subset: whether the model may lack some of these classes.
      restrict: whether logits of other classes are left out, so that the largest is that of a mapped class.
      repeated: whether every combination of groups shows the same pictures, so that they are no further evidence.
    """

    name: str
    layout: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    classes: dict[str, tuple[str, ...]] | None
    subset: bool = False
    restrict: bool = False
    repeated: bool = False


def shipped() -> list[str]:
    """Return the names of the mappings that come with fsjax."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def file_of(name: str) -> Path:
    """Return the file of a shipped name or of a path; raises InputError where there is none."""
    if name in shipped():
        return SHIPPED / f"{name}.yaml"
    path = pathlib.Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise InputError(f"ood.sets: got {name!r}; expected a .yaml file, or one of {', '.join(shipped())}")
    return path


def read(path: Path) -> Mapping:
    """Read and check a mapping.

    Raises:
      InputError: not YAML, not a mapping, an unknown field, a value of another kind, a folder that is a path.
    """
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not YAML of text, lists and mappings ({one_line(error)})") from error
    if not isinstance(fields, dict):
        raise InputError(
            f"{path}: got {reprlib.repr(fields)}; expected a YAML mapping with the fields {', '.join(_FIELDS)}"
        )
    for field in fields:
        if field not in _FIELDS:
            raise InputError(f"{path}: got field {reprlib.repr(field)}; expected {', '.join(_FIELDS)}")
    for field in ("layout", "classes"):
        if field not in fields:
            raise InputError(f"{path}: got no {field}; expected at least layout and classes")
    layout = _layout(fields["layout"], f"{path}: layout")
    return Mapping(
        name=_text(fields.get("name", path.stem), f"{path}: name"),
        layout=layout,
        groups=_groups(fields.get("groups", {}), layout, f"{path}: groups"),
        classes=_classes(fields["classes"], f"{path}: classes"),
        **{name: _switch(fields.get(name, "false"), f"{path}: {name}") for name in ("subset", "restrict", "repeated")},
    )


class _Loader(yaml.BaseLoader):
    """Accepts less than safe_load: every scalar stays text, no tag makes an object, no alias, no key twice.

    Scalars stay text so that a folder called 007, no or 2020-01-01 keeps its name.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"alias *{event.anchor}", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or keys.count(key.value) > 1:
                problem = f"key {reprlib.repr(key.value)} is given twice or is not text"
                raise yaml.constructor.ConstructorError(None, None, problem, value.start_mark)
        return super().construct_mapping(node, deep)


def _layout(value: object, where: str) -> tuple[str, ...]:
    parts = tuple(_text(value, where).split("/"))
    names = [match[1] for part in parts if (match := _PLACEHOLDER.fullmatch(part))]
    for part in parts:
        if not _PLACEHOLDER.fullmatch(part):
            _folder(part, where)
    if parts[-1] != "{class}" or len(set(names)) < len(names):
        raise InputError(
            f"{where}: got {reprlib.repr(value)}; "
            f"expected names and different {{placeholders}} between slashes, last {{class}}"
        )
    return parts


def _groups(value: object, layout: tuple[str, ...], where: str) -> dict[str, tuple[str, ...]]:
    wanted = [match[1] for part in layout[:-1] if (match := _PLACEHOLDER.fullmatch(part))]
    if not isinstance(value, dict) or set(value) != set(wanted):
        accepted = f"folders for each of {', '.join(wanted)}" if wanted else "none, for layout has no placeholder"
        raise InputError(f"{where}: got {reprlib.repr(value)}; expected {accepted}")
    return {name: _folders(value[name], f"{where}.{name}") for name in wanted}


def _classes(value: object, where: str) -> dict[str, tuple[str, ...]] | None:
    if value == "same":
        return None
    if isinstance(value, list):
        value = {name: name for name in _folders(value, where)}
    if not isinstance(value, dict) or not value:
        raise InputError(
            f"{where}: got {reprlib.repr(value)}; expected same, a list of folders, or class: folder (or folders)"
        )
    classes = {name: _folders(folders, f"{where}.{name}") for name, folders in value.items()}
    owner: dict[str, str] = {}
    for name, folders in classes.items():
        for folder in folders:
            if owner.setdefault(folder, name) != name:
                raise InputError(
                    f"{where}: got folder {folder!r} for {owner[folder]!r} and {name!r}; expected one class"
                )
    return classes


def _folders(value: object, where: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    folders = tuple(_folder(folder, where) for folder in values)
    if not folders or len(set(folders)) < len(folders):
        raise InputError(f"{where}: got {reprlib.repr(value)}; expected one or more different folders")
    return folders


def _folder(value: object, where: str) -> str:
    name = _text(value, where)
    check_folder(name, where)
    return name


def check_folder(name: str, where: str) -> None:
    """Raise InputError for a name that is not that of one folder: a path, '..', or a drive."""
    if not name or name in (".", "..") or set(name) & set("/\\:\0"):
        raise InputError(f"{where}: got {reprlib.repr(name)}; expected the name of one folder, not a path")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InputError(f"{where}: got {reprlib.repr(value)}; expected text of one line")
    return value


def _switch(value: object, where: str) -> bool:
    if value not in ("true", "false"):
        raise InputError(f"{where}: got {reprlib.repr(value)}; expected true or false")
    return value == "true"
