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

from fsjax import interrupt, peers, storage
from fsjax.errors import CheckFailed, InputError
from fsjax.storage import Path

FAILED = CHECK_FAILED = 1
BAD_INPUT = 2

ACCEPTED = "--config, --config.FIELD=VALUE, --workdir, and of several processes --coordinator, --processes, --process"


def main(
    argv: list[str], usage: str, values: flags.FlagValues, config: flags.FlagHolder, workdir: flags.FlagHolder
) -> int:
    """Runs the experiment that a command line asks for and returns the exit status."""
    if {"--help", "-h", "-help"} & set(argv[1:]):
        print(usage + values.get_help())
        return 0
    interrupt.install()
    status = _status(lambda: _run(*configuration(argv, values, config, workdir), values, argv))
    if status and peers.guarded():
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
        if peers.means_lost(error):
            peers.end(error)
        if not peers.guarded():
            raise
        traceback.print_exc()
        return FAILED
    return 0


def _run(config: ConfigDict, directory: Path, values: flags.FlagValues, argv: list[str]) -> None:
    from fsjax import experiment, parallel  # after the flags: JAX takes seconds that a typing mistake need not wait

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
    experiment.run(config, directory, command=["python", *argv])


def configuration(
    argv: list[str], values: flags.FlagValues, config: flags.FlagHolder, workdir: flags.FlagHolder
) -> tuple[ConfigDict, Path]:
    """The config and the workdir that a command line asks for.

    Raises:
      InputError: no config file, one that refuses its argument, an unknown flag or field, a value of a wrong type.
    """
    name = _config_argument(argv)
    if name is None:
        raise InputError("--config: missing; accepted: an experiment, such as --config=configs/dfm_vit.py")
    path, _, argument = name.partition(":")
    if not pathlib.Path(path).is_file():
        raise InputError(
            f"--config: no file {path!r}; accepted: a Python file with get_config(), such as configs/dfm_vit.py"
        )
    try:
        rest = values(argv)
        chosen = config.value
        chosen.lock()
    except flags.UnrecognizedFlagError as error:
        raise InputError(f"--{error.flagname}: unknown flag; accepted: {ACCEPTED}") from error
    except flags.Error as error:
        raise _bad_value(error) from error
    except (AttributeError, KeyError) as error:
        raise _unknown_field(error, argv) from error
    if len(rest) > 1:
        raise InputError(f"argument {rest[1]!r} is not a flag; accepted: {ACCEPTED}")
    parts = (pathlib.Path(path).stem, argument or chosen.get("arg"))
    default = pathlib.Path("runs") / "-".join(part for part in parts if part)
    return chosen, storage.path(workdir.value) if workdir.value else default


def _config_argument(argv: list[str]) -> str | None:
    for index, word in enumerate(argv[1:], 1):
        if match := re.fullmatch(r"--?config=(.*)", word):
            return match[1] or None
        if re.fullmatch(r"--?config", word):
            return argv[index + 1] if index + 1 < len(argv) else None
    return None


def _bad_value(error: flags.Error) -> InputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "Error whilst parsing config file" in lines[0]:
        # absl puts the traceback of the config file's own error into its message: its last line says what it was.
        return InputError(lines[-1].removeprefix(f"{InputError.__module__}.{InputError.__name__}: "))
    return InputError(f"{' '.join(lines).removeprefix('flag ')}; accepted: a value of the field's type")


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
