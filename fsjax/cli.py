"""From a command line to an exit status: every mistake of the user is one line on standard error and status 2."""

import pathlib
import re
import sys
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict, config_flags

from fsjax import interrupt
from fsjax.errors import InputError

BAD_INPUT = 2


def configuration(
    argv: list[str], config: flags.FlagHolder, workdir: flags.FlagHolder
) -> tuple[ConfigDict, pathlib.Path]:
    """The config and the workdir that a command line asks for.

    Raises:
      InputError: no or an unreadable config file, an unknown flag or field, a value of a wrong type.
    """
    name = _config_argument(argv)
    if name is None:
        raise InputError("--config: missing; accepted: an experiment, such as --config=configs/dfm_vit.py")
    path, _, argument = name.partition(":")
    if not pathlib.Path(path).is_file():
        raise InputError(f"--config: no file {path!r}; accepted: a Python file with get_config(), such as configs/dfm_vit.py")
    try:
        rest = flags.FLAGS(argv)
        chosen = config.value
        chosen.lock()
    except flags.UnrecognizedFlagError as error:
        raise InputError(f"--{error.flagname}: unknown flag; accepted: --config, --config.FIELD, --workdir") from error
    except flags.Error as error:
        raise InputError(f"{str(error).removeprefix('flag ')}; accepted: a value of the field's type") from error
    except (AttributeError, KeyError) as error:
        raise _unknown_field(error, argv) from error
    if len(rest) > 1:
        raise InputError(f"argument {rest[1]!r} is not a flag; accepted: --config, --config.FIELD=VALUE, --workdir")
    default = pathlib.Path("runs") / f"{pathlib.Path(path).stem}-{argument or 'synthetic'}"
    return chosen, pathlib.Path(workdir.value) if workdir.value else default


def run(configure: Callable[[], tuple[ConfigDict, pathlib.Path]]) -> int:
    """Runs the experiment and returns the exit status."""
    interrupt.install()
    try:
        config, directory = configure()
        from fsjax import experiment  # after the flags: importing JAX takes seconds that a typing mistake need not wait

        experiment.run(config, directory, command=["python", *sys.argv])
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except interrupt.Terminated:
        print("stopped by SIGTERM; what is done is kept, and the same command goes on", file=sys.stderr)
        return interrupt.EXIT_STATUS
    return 0


def _config_argument(argv: list[str]) -> str | None:
    for index, word in enumerate(argv[1:], 1):
        if match := re.fullmatch(r"--?config=(.*)", word):
            return match[1] or None
        if re.fullmatch(r"--?config", word):
            return argv[index + 1] if index + 1 < len(argv) else None
    return None


def _unknown_field(error: Exception, argv: list[str]) -> Exception:
    """The error for a field that the config lacks, or the error itself where it comes from the config file's code."""
    # ml_collections nests the quotes: the first identifier is the field.
    name = re.search(r"[A-Za-z_]\w*", str(error))
    hint = re.search(r'Did you mean "(\w+)"', str(error))
    accepted = f"did you mean {hint[1]!r}?" if hint else "accepted: the fields of the config file"
    for word in argv[1:]:
        field = word.partition("=")[0]
        if name and field.startswith("--config.") and name[0] in field.split("."):
            return InputError(f"{field}: unknown field {name[0]!r}; {accepted}")
    return error
