"""Mistakes in a command line as one line each, with the name that was probably meant."""

import pathlib
import re
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from fsjax.experiment import command_help
from fsjax.runtime import config_fields
from fsjax.runtime.errors import InputError, nearest

ACCEPTED = "--config, --config.FIELD=VALUE, --workdir, and of several processes --coordinator, --processes, --process"

_KINDS = {bool: "True or False", int: "a whole number", float: "a number", tuple: "numbers or texts in brackets"}


def no_config(configs: pathlib.Path, path: str) -> InputError:
    """For a --config that is missing, or names no file; `configs` is the folder of experiments."""
    if not path:
        return InputError("--config: missing; expected an experiment, such as --config=configs/dfm_vit.py")
    known = {file.stem: f"{configs.name}/{file.name}" for file in command_help.experiments(configs)}
    near = nearest(pathlib.PurePath(path).stem, known)
    accepted = "expected a Python file with get_config(), such as configs/dfm_vit.py"
    return InputError(f"--config: no file {path!r}; {f'did you mean {known[near]}?' if near else accepted}")


def unknown_flag(name: str, values: flags.FlagValues) -> InputError:
    """For a flag that there is not."""
    near = nearest(name, [*values, "help"])
    return InputError(f"--{name}: unknown flag{f' (did you mean --{near}?)' if near else ''}; expected {ACCEPTED}")


def unknown_field(argv: list[str], config: str) -> InputError | None:
    """For the first --config.FIELD that an experiment lacks; None where it has all of them."""
    known = as_written(config)
    for field in _overridden(argv):
        node: object = known
        for part in field.split("."):
            if not (isinstance(node, ConfigDict) and part in node):
                near = _nearest_field(field, [name for name, _ in config_fields.flat(known)])
                there = node if isinstance(node, ConfigDict) else known
                accepted = f"did you mean --config.{near}?" if near else f"expected {', '.join(there)}"
                return InputError(f"--config.{field}: unknown field {part!r}; {accepted}")
            node = node[part]
    return None


def bad_value(error: flags.Error, config: str) -> InputError:
    """For a value that a flag or a field cannot have, or a config file that refuses its argument."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "Error whilst parsing config file" in lines[0]:
        # absl puts the traceback of the config file's own error into its message: its last line says what it was.
        return InputError(lines[-1].removeprefix(f"{InputError.__module__}.{InputError.__name__}: "))
    if not (match := re.match(r"flag --([\w.]+)=(.*?): ", lines[0])):
        return InputError(f"{' '.join(lines).rstrip('.')}; expected --config=FILE, then --FLAG=VALUE each once")
    name, value = match.groups()
    _, *parts = name.split(".")
    default: Any = as_written(config) if parts else 0  # all flags but --config are of texts, or of whole numbers
    for part in parts:
        default = default[part]
    return InputError(f"--{name}: got {value!r}; expected {_kind(name, default)}")


def _kind(name: str, default: object) -> str:
    if isinstance(default, ConfigDict):
        first, _ = next(iter(config_fields.flat(default)), ("FIELD", None))
        return f"values of its fields, such as --{name}.{first}"
    kind = _KINDS.get(type(default), "a value of the field's type")
    return f"{kind}, such as {default}" if default else kind


def as_written(config: str) -> ConfigDict:
    """An experiment as its file has it, without what the command line sets."""
    own = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", None, flag_values=own, sys_argv=[])
    own(["launch.py", f"--config={config}"])
    return holder.value


def _overridden(argv: list[str]) -> list[str]:
    return [match[1] for word in argv[1:] if (match := re.match(r"--?(?:no)?config\.([^=]*)", word))]


def _nearest_field(field: str, known: list[str]) -> str | None:
    """A field of the same last name, wherever it stands, or else of a name alike."""
    last = field.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]
    return nearest(field, same, least=0.0) if same else nearest(field, known)
