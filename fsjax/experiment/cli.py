"""From a command line to an exit status: an error of the user is one line on standard error, and status 2."""

import logging
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict

from fsjax.experiment import cli_errors, command_help, experiments, training_length
from fsjax.runtime import failure_detection, interrupt, storage
from fsjax.runtime.errors import CheckFailed, InputError, one_line
from fsjax.runtime.storage import Path

FAILED = CHECK_FAILED = 1
BAD_INPUT = 2


def main(argv: list[str], usage: str, values: flags.FlagValues) -> int:
    """Run the experiment of a command line, or print help, and return the exit status.

    Args:
      argv: the command line; `--config.FIELD` is read from sys.argv by ml_collections.
      usage: the first part of the help.
      values: of `command.flag_values`, not parsed yet.
    """
    if command_help.HELP & set(argv[1:]):
        return _status(lambda: print(_help(argv, usage, values)))
    interrupt.install()
    status = _status(lambda: _run(argv, values))
    if status and failure_detection.installed():
        # The others may be waiting for this process in a call of the runtime, so it must not wait for them at its exit.
        sys.stdout.flush()
        os._exit(status)
    return status


def _status(command: Callable[[], None]) -> int:
    try:
        command()
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except CheckFailed as failed:
        print(failed, file=sys.stderr)
        return CHECK_FAILED
    except interrupt.Terminated:
        print("stopped by SIGTERM; what is done is kept, and the same command goes on", file=sys.stderr)
        return interrupt.EXIT_STATUS
    except Exception as error:
        if failure_detection.is_lost_process(error):
            failure_detection.exit_process(error)
        if not failure_detection.installed():
            raise
        traceback.print_exc()
        return FAILED
    return 0


def _help(argv: list[str], usage: str, values: flags.FlagValues) -> str:
    if (name := _config_argument(argv)) is None:
        return command_help.overview(usage, experiments.folder(), values)
    config, _ = configuration([word for word in argv if word not in command_help.HELP], values)
    return command_help.fields(name, config)


def _run(argv: list[str], values: flags.FlagValues) -> None:
    config, directory = configuration(argv, values)
    from fsjax.experiment import runner  # importing JAX takes seconds: not before the command line is checked
    from fsjax.runtime import compilation_cache, parallel, startup

    several = startup.initialize(
        values.coordinator,
        values.processes,
        values.process,
        startup_seconds=config.run.startup_seconds,
        heartbeat_seconds=config.run.heartbeat_seconds,
    )
    if not several:
        startup.use_cores(config.train.batch_size)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("fsjax").setLevel(logging.INFO if parallel.is_main_process() else logging.WARNING)
    compilation_cache.use()
    runner.run(config, directory, command=_as_typed(argv))
    if "report" in config.stages.split(",") and parallel.is_main_process():
        from fsjax.report import terminal

        print(terminal.of_run(directory, config.search.method, config.report.share, config.evaluate.threshold))


def _as_typed(argv: list[str]) -> list[str]:
    """Return the words of a command as a user types them."""
    program = pathlib.PurePath(argv[0])
    return ["python", *argv] if program.suffix == ".py" else [program.name, *argv[1:]]


def configuration(argv: list[str], values: flags.FlagValues) -> tuple[ConfigDict, Path]:
    """Return the config and the workdir of a command line.

    Raises:
      InputError: no config file, one that refuses its argument, an unknown flag or field, a value of a wrong type.
    """
    argv, name = _with_file(argv)
    path, _, argument = name.partition(":")
    if not pathlib.Path(path).is_file():
        raise cli_errors.no_config(experiments.folder(), path)
    experiments.make_importable()
    try:
        _, *rest = values(argv)
        config = values.config.lock()
    except flags.UnrecognizedFlagError as error:
        raise cli_errors.unknown_flag(error.flagname, values) from error
    except flags.Error as error:
        raise cli_errors.bad_value(error, name) from error
    except (AttributeError, LookupError, ValueError) as error:
        # ml_collections raises these for an unknown field; so may the code of the config file.
        if (unknown_field := cli_errors.unknown_field(argv, name)) is None:
            raise
        raise unknown_field from error
    if rest:
        raise InputError(f"command line: got {rest[0]!r}; expected {cli_errors.EXPECTED}")
    training_length.choose(config, _given_fields(argv))
    # An ARG that is a folder gives its name.
    parts = (pathlib.Path(path).stem, pathlib.PurePath(argument or config.get("arg") or "").name)
    default = pathlib.Path("runs") / "-".join(part for part in parts if part)
    return config, storage.path(values.workdir) if values.workdir else default


def _with_file(argv: list[str]) -> tuple[list[str], str]:
    """Return the command line with the file of its experiment in place of a name, and FILE:ARG; '' without one."""
    name = _config_argument(argv)
    if not name:
        return argv, ""
    path, colon, argument = name.partition(":")
    found = f"{experiments.file_of(path)}{colon}{argument}"
    words = list(argv)
    index = next(index for index, word in enumerate(words) if index and re.fullmatch(r"--?config(=.*)?", word))
    index += "=" not in words[index]
    words[index] = words[index].removesuffix(name) + found
    return words, found


def _given_fields(argv: list[str]) -> set[str]:
    """Return the dotted names of the config fields that a command line sets."""
    return {match[1] for word in argv[1:] if (match := re.match(r"--?config\.([\w.]+)", word))}


def _config_argument(argv: list[str]) -> str | None:
    """Return FILE:ARG of --config=FILE:ARG or --config FILE:ARG, if there is one."""
    for word, following in zip(argv[1:], [*argv[2:], None], strict=True):
        if match := re.fullmatch(r"--?config(=(.*))?", word):
            return match[2] or None if match[1] else following
    return None
