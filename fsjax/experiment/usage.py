"""What `python launch.py --help` prints: experiments and flags, or the fields of one experiment with their values."""

import pathlib
from collections.abc import Iterable

from absl import flags
from ml_collections import ConfigDict

HELP = {"--help", "-help", "-h", "--helpfull", "--helpshort"}


def overview(about: str, configs: pathlib.Path, values: flags.FlagValues) -> str:
    """How to call launch.py, which experiments there are, and its flags; imports none of the experiments."""
    found = [(f"{configs.name}/{file.name}", first_line(file)) for file in experiments(configs)]
    config_flag, *others = _flags(values)
    return "\n".join(
        [
            about.strip(),
            "\nExperiments, whose texts tell more:",
            *_columns(found),
            "\nFlags, the last three where neither Slurm, mpirun nor a TPU slice starts several processes:",
            *_columns(
                [config_flag, ("--config.FIELD", "Any of its fields; --config=FILE --help lists them."), *others]
            ),
            "\nconfigs/common.py says what fields mean, and a file of fsjax/search/ what those of its method do.",
        ]
    )


def fields(name: str, config: ConfigDict) -> str:
    """The fields of an experiment with their values, those that the command line sets among them."""
    shown = [(field, repr(value)) for field, value in flat(config)]
    return "\n".join([f"Fields of {name}, set by --config.FIELD=VALUE:", *_columns(shown)])


def flat(config: ConfigDict, prefix: str = "") -> Iterable[tuple[str, object]]:
    """Dotted name and value of every field."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def experiments(configs: pathlib.Path) -> list[pathlib.Path]:
    """The files of a folder that have a get_config()."""
    return [file for file in sorted(configs.glob("*.py")) if "\ndef get_config(" in file.read_text(encoding="utf-8")]


def first_line(file: pathlib.Path) -> str:
    """Of the text that a Python file begins with."""
    line = file.read_text(encoding="utf-8").partition("\n")[0]
    return line.strip('"') if line.startswith('"') else ""


def _flags(values: flags.FlagValues) -> list[tuple[str, str]]:
    rows = []
    for name in values:
        default = "" if values[name].default is None else f" ({values[name].default})"
        rows.append((f"--{name}", f"{values[name].help}{default}"))
    return rows


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(left) for left, _ in rows), default=0)
    return [f"  {left:{width}}  {right}" for left, right in rows]
