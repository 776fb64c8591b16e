"""What `python launch.py --help` prints: experiments and flags, or the fields of one experiment."""

import pathlib

from absl import flags
from ml_collections import ConfigDict

from fsjax.runtime import config_fields

HELP = {"--help", "-help", "-h", "--helpfull", "--helpshort"}


def overview(usage: str, configs: pathlib.Path, values: flags.FlagValues) -> str:
    """Return how to call launch.py, its experiments and its flags; imports none of the experiments."""
    experiment_rows = [(f"{configs.name}/{file.name}", _first_line(file)) for file in experiments(configs)]
    config_flag, *others = [(f"--{name}", values[name].help) for name in values]
    field_flag = ("--config.FIELD", "Any of its fields; --config=FILE --help lists them.")
    return "\n".join(
        [
            usage.strip(),
            "\nExperiments; the text of each file tells more:",
            *_columns(experiment_rows),
            "\nFlags, the last three where neither Slurm, mpirun nor a TPU slice starts several processes:",
            *_columns([config_flag, field_flag, *others]),
        ]
    )


def fields(name: str, config: ConfigDict) -> str:
    """Return the fields of an experiment, one a line: name, value (as the command line sets it) and help."""
    values = [(field, repr(value)) for field, value in config_fields.flat(config)]
    helps = [config_fields.FIELDS[field].help if field in config_fields.FIELDS else "" for field, _ in values]
    width = min(24, max(len(value) for _, value in values))
    rows = [(field, f"{value:{width}}  {help}".rstrip()) for (field, value), help in zip(values, helps, strict=True)]
    return "\n".join([f"Fields of {name}, set by --config.FIELD=VALUE:", *_columns(rows)])


def experiments(configs: pathlib.Path) -> list[pathlib.Path]:
    """Return the files of a folder that have a get_config()."""
    return [file for file in sorted(configs.glob("*.py")) if "\ndef get_config(" in file.read_text(encoding="utf-8")]


def _first_line(file: pathlib.Path) -> str:
    """Return the first line of a Python file's docstring."""
    return file.read_text(encoding="utf-8").partition("\n")[0].strip('"')


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(left) for left, _ in rows), default=0)
    return [f"  {left:{width}}  {right}" for left, right in rows]
