"""One-line command-line error messages, with the name that was probably meant.

absl and ml_collections suggest names as well, but look for a field in its own group only, and take several lines.
"""

import pathlib
import re
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from fsjax.experiment import command_help
from fsjax.runtime import config_fields
from fsjax.runtime.errors import InputError, nearest

EXPECTED = "--config, --config.FIELD=VALUE, --workdir, and of several processes --coordinator, --processes, --process"

_KINDS = {bool: "True or False", int: "a whole number", float: "a number", tuple: "numbers or texts in brackets"}


def no_config(configs: pathlib.Path, path: str) -> InputError:
    """Return the error for a --config that is missing or no file; `configs` is the folder of experiments."""
    if not path:
        return InputError("--config: got nothing; expected an experiment, such as --config=configs/dfm_vit.py")
    known = {file.stem: f"{configs.name}/{file.name}" for file in command_help.experiments(configs)}
    near = nearest(pathlib.PurePath(path).stem, known)
    expected = "expected a Python file with get_config(), such as configs/dfm_vit.py"
    return InputError(
        f"--config: got {path!r}, which is no file; {f'did you mean {known[near]}?' if near else expected}"
    )


def unknown_flag(name: str, values: flags.FlagValues) -> InputError:
    """Return the error for a flag that does not exist."""
    near = nearest(name, [*values, "help"])
    return InputError(f"--{name}: unknown flag{f' (did you mean --{near}?)' if near else ''}; expected {EXPECTED}")


def unknown_field(argv: list[str], config: str) -> InputError | None:
    """Return the error for the first --config.FIELD that an experiment lacks; None if it has all of them."""
    known = _as_written(config)
    for field in (match[1] for word in argv[1:] if (match := re.match(r"--?(?:no)?config\.([^=]*)", word))):
        group: Any = known
        for part in field.split("."):
            if not (isinstance(group, ConfigDict) and part in group):
                near = _nearest_field(field, [name for name, _ in config_fields.flat(known)])
                names = group if isinstance(group, ConfigDict) else known
                expected = f"did you mean --config.{near}?" if near else f"expected {', '.join(names)}"
                return InputError(f"--config.{field}: unknown field {part!r}; {expected}")
            group = group[part]
    return None


def bad_value(error: flags.Error, config: str) -> InputError:
    """Return the error for a value that a flag or a field cannot have, or a config file that refuses its argument."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "Error whilst parsing config file" in lines[0]:
        # absl puts the traceback of the config file's own error into its message; the last line is the error itself.
        return InputError(lines[-1].removeprefix(f"{InputError.__module__}.{InputError.__name__}: "))
    if not (match := re.match(r"flag --([\w.]+)=(.*?): ", lines[0])):
        return InputError(f"{' '.join(lines).rstrip('.')}; expected --config=FILE, then --FLAG=VALUE each once")
    name, value = match.groups()
    _, *parts = name.split(".")
    default: Any = _as_written(config) if parts else 0  # all flags but --config are texts, or whole numbers
    for part in parts:
        default = default[part]
    return InputError(f"--{name}: got {value!r}; expected {_kind(name, default)}")


def _kind(name: str, default: object) -> str:
    if isinstance(default, ConfigDict):
        first, _ = next(config_fields.flat(default), ("FIELD", None))
        return f"values of its fields, such as --{name}.{first}"
    kind = _KINDS.get(type(default), "a value of the field's type")
    return f"{kind}, such as {default}" if default else kind


def _as_written(config: str) -> ConfigDict:
    """Return an experiment without what the command line sets."""
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=[])
    values(["launch.py", f"--config={config}"])
    return holder.value


def _nearest_field(field: str, known: list[str]) -> str | None:
    """Return a field of the same last name in any group, or else of a similar name."""
    last = field.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]
    return nearest(field, same, least=0.0) if same else nearest(field, known)
