"""From a command line to an exit status: every mistake of the user is one line on standard error and status 2."""

import logging
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict

from fsjax.experiment import cli_errors, command_help
from fsjax.runtime import failure_detection, interrupt, storage
from fsjax.runtime.errors import CheckFailed, InputError
from fsjax.runtime.storage import Path

FAILED = CHECK_FAILED = 1
BAD_INPUT = 2


def main(
    argv: list[str], about: str, values: flags.FlagValues, config: flags.FlagHolder, workdir: flags.FlagHolder
) -> int:
    """Runs the experiment that a command line asks for, or prints how to ask, and returns the exit status."""
    if command_help.HELP & set(argv[1:]):
        return _status(lambda: print(_help(argv, about, values, config, workdir)))
    interrupt.install()
    status = _status(lambda: _run(*configuration(argv, values, config, workdir), values, argv))
    if status and failure_detection.guarded():
        # The others may be waiting for this process in a call of the runtime, so it must not wait for them at its exit.
        sys.stdout.flush()
        os._exit(status)
    return status


def _status(run: Callable[[], None]) -> int:
    try:
        run()
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except CheckFailed as failed:
        print(failed, file=sys.stderr)
        return CHECK_FAILED
    except interrupt.Terminated:
        print("stopped by SIGTERM; what is done is kept, and the same command goes on", file=sys.stderr)
        return interrupt.EXIT_STATUS
    except Exception as error:
        if failure_detection.means_lost(error):
            failure_detection.end(error)
        if not failure_detection.guarded():
            raise
        traceback.print_exc()
        return FAILED
    return 0


def _run(config: ConfigDict, directory: Path, values: flags.FlagValues, argv: list[str]) -> None:
    from fsjax.experiment import runner
    from fsjax.runtime import parallel  # after the flags: JAX takes seconds that a typing mistake need not wait

    several = parallel.initialize(
        values.coordinator,
        values.processes,
        values.process,
        startup_seconds=config.run.startup_seconds,
        heartbeat_seconds=config.run.heartbeat_seconds,
    )
    if not several:
        parallel.use_cores(config.train.batch_size)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    main_process = parallel.is_main_process()
    logging.getLogger("fsjax").setLevel(logging.INFO if main_process else logging.WARNING)
    runner.run(config, directory, command=["python", *argv])


def _help(
    argv: list[str], about: str, values: flags.FlagValues, config: flags.FlagHolder, workdir: flags.FlagHolder
) -> str:
    if (name := _config_argument(argv)) is None:
        return command_help.overview(about, _configs(argv), values)
    chosen, _ = configuration([word for word in argv if word not in command_help.HELP], values, config, workdir)
    return command_help.fields(name, chosen)


def configuration(
    argv: list[str], values: flags.FlagValues, config: flags.FlagHolder, workdir: flags.FlagHolder
) -> tuple[ConfigDict, Path]:
    """The config and the workdir that a command line asks for.

    Raises:
      InputError: no config file, one that refuses its argument, an unknown flag or field, a value of a wrong type.
    """
    name = _config_argument(argv) or ""
    path, _, argument = name.partition(":")
    if not pathlib.Path(path).is_file():
        raise cli_errors.no_config(_configs(argv), path)
    try:
        rest = values(argv)
        chosen = config.value
        chosen.lock()
    except flags.UnrecognizedFlagError as error:
        raise cli_errors.unknown_flag(error.flagname, values) from error
    except flags.Error as error:
        raise cli_errors.bad_value(error, name) from error
    except (AttributeError, LookupError, ValueError) as error:
        # ml_collections looks for the fields; what the config file's own code raises is the same without them.
        mistake = cli_errors.unknown_field(argv, name)
        if mistake is None:
            raise
        raise mistake from error
    if len(rest) > 1:
        raise InputError(f"argument {rest[1]!r} is not a flag; expected {cli_errors.ACCEPTED}")
    parts = (pathlib.Path(path).stem, argument or chosen.get("arg"))
    default = pathlib.Path("runs") / "-".join(part for part in parts if part)
    return chosen, storage.path(workdir.value) if workdir.value else default


def _configs(argv: list[str]) -> pathlib.Path:
    """The folder of experiments beside launch.py."""
    return pathlib.Path(argv[0]).parent / "configs"


def _config_argument(argv: list[str]) -> str | None:
    for index, word in enumerate(argv[1:], 1):
        if match := re.fullmatch(r"--?config=(.*)", word):
            return match[1] or None
        if re.fullmatch(r"--?config", word):
            return argv[index + 1] if index + 1 < len(argv) else None
    return None
