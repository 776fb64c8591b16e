"""Help texts of the command line, and its one-line errors with the name that was probably meant."""

import pathlib
import re
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from fsjax.runtime import config_fields
from fsjax.runtime.errors import InputError, nearest, one_line

_USAGE = """Run an experiment: {program} --config={config}[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]

Exit status: 0 done, 1 compare found a mean IoU below --config.min_iou or another process of the run is lost, 2 the
command, the config or a file cannot be used, 143 stopped by SIGTERM and saved. After a loss and after 143 the same
command continues."""


def overview(program: list[str], configs: pathlib.Path, values: flags.FlagValues) -> str:
    """Return the usage, the experiments of a folder, without importing them, and the flags."""
    config = "dfm_vit" if len(program) == 1 else "configs/dfm_vit.py"
    experiment_rows = [(f"{configs.name}/{file.name}", _first_line(file)) for file in _experiments(configs)]
    config_flag, *others = [(f"--{name}", values[name].help) for name in values]
    field_flag = ("--config.FIELD", "Any of its fields; --config=FILE --help lists them.")
    return "\n".join(
        [
            _USAGE.format(program=" ".join(program), config=config),
            "\nExperiments; the text of each file tells more:",
            *_columns(experiment_rows),
            "\nFlags; the last three start several processes without Slurm, mpirun or a TPU slice:",
            *_columns([config_flag, field_flag, *others]),
        ]
    )


def fields(name: str, config: ConfigDict) -> str:
    """Return the fields of an experiment, one line each: name, value after the command line, and help."""
    values = [(field, repr(value)) for field, value in config_fields.flat(config)]
    helps = [config_fields.FIELDS[field].help if field in config_fields.FIELDS else "" for field, _ in values]
    width = min(24, max(len(value) for _, value in values))
    rows = [(field, f"{value:{width}}  {help}".rstrip()) for (field, value), help in zip(values, helps, strict=True)]
    return "\n".join([f"Fields of {name}, set by --config.FIELD=VALUE:", *_columns(rows)])


def no_config(configs: pathlib.Path, path: str) -> InputError:
    """Return the error for a --config that is missing or no file; `configs` is the folder of experiments."""
    if not path:
        return InputError("--config: got nothing; expected an experiment, such as --config=configs/dfm_vit.py")
    known = {file.stem: f"{configs.name}/{file.name}" for file in _experiments(configs)}
    near = nearest(pathlib.PurePath(path).stem, known)
    expected = "expected a Python file with get_config(), such as configs/dfm_vit.py"
    return InputError(
        f"--config: got {path!r}, which is no file; {f'did you mean {known[near]}?' if near else expected}"
    )


def bad_flag(error: flags.Error) -> InputError:
    """Return absl's error in one line, or the error with which a config file refuses its argument."""
    if "Error whilst parsing config file" not in str(error):
        return InputError(one_line(error))
    # absl puts the traceback of the config file's own error into its message; the last line is the error itself.
    return InputError(str(error).strip().splitlines()[-1].removeprefix(f"{InputError.__module__}.InputError: "))


def unknown_field(words: list[str], known: ConfigDict) -> InputError | None:
    """Return the error for the first --config.FIELD that `known` lacks; None if it has every field."""
    for field in (match[1] for word in words if (match := re.match(r"--?(?:no)?config\.([^=]*)", word))):
        group: Any = known
        for part in field.split("."):
            if not (isinstance(group, ConfigDict) and part in group):
                near = _nearest_field(field, [name for name, _ in config_fields.flat(known)])
                names = group if isinstance(group, ConfigDict) else known
                expected = f"did you mean --config.{near}?" if near else f"expected {', '.join(names)}"
                return InputError(f"--config.{field}: unknown field {part!r}; {expected}")
            group = group[part]
    return None


def _nearest_field(field: str, known: list[str]) -> str | None:
    """Return a field with the same last name in any group, or else one with a similar name."""
    last = field.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]
    return nearest(field, same, least=0.0) if same else nearest(field, known)


def _experiments(configs: pathlib.Path) -> list[pathlib.Path]:
    """Return the files of a folder that have a get_config()."""
    return [file for file in sorted(configs.glob("*.py")) if "\ndef get_config(" in file.read_text(encoding="utf-8")]


def _first_line(file: pathlib.Path) -> str:
    """Return the first line of a Python file's docstring."""
    return file.read_text(encoding="utf-8").partition("\n")[0].strip('"')


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(left) for left, _ in rows), default=0)
    return [f"  {left:{width}}  {right}" for left, right in rows]
