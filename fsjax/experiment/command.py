"""The command line of launch.py and `fsjax`: from its words to an exit status.

  fsjax --config=dfm_vit[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]

A config is the name of one of fsjax's experiments, which `fsjax --help` lists, or a file of your own.
"""

import logging
import os
import pathlib
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

import fsjax
from fsjax.runtime import config_fields, interrupt, storage
from fsjax.runtime.errors import InputError, nearest, one_line, unknown
from fsjax.runtime.storage import Path

BAD_INPUT = 2

_USAGE = """Run an experiment: {program} --config={config}[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]
Gate of a finished run: {program} check WORKDIR; check --help lists its flags.
Live page of a finished run: {program} explore WORKDIR; explore --help lists its flags.
Page of several models' cards: {program} cards FOLDER.

Exit status: 0 done, 1 another process of the run is lost, 2 the command, the config or a file cannot be used,
130 or 143 stopped by SIGINT (Ctrl-C) or SIGTERM and saved. After a loss and after a signal the same command continues.
A second signal ends the run at once."""
_HELP = {"--help", "-help", "-h", "--helpfull", "--helpshort"}
_PACKAGE = pathlib.Path(fsjax.__file__).parent
_SHIPPED = _PACKAGE / "shipped" / "configs"


def main(argv: list[str] | None = None) -> int:
    """Run the experiment of a command line, or print help, and return the exit status; None = sys.argv."""
    argv = sys.argv if argv is None else argv
    if argv[1:2] in (["check"], ["explore"], ["cards"]):
        return _exit_status(lambda: _of_a_folder(argv))
    if _HELP & set(argv[1:]):
        return _exit_status(lambda: print(_help(argv)))
    interrupt.install()
    status = _exit_status(lambda: _run(argv))
    if status and interrupt.one_of_several():
        # Do not wait for the other processes at exit: they may wait for this process.
        sys.stdout.flush()
        os._exit(status)
    return status


def _exit_status(action: Callable[[], int | None]) -> int:
    """Run an action, print an expected error in one line, and return the exit status; None counts as 0."""
    try:
        return action() or 0
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except interrupt.Terminated:
        status = interrupt.exit_status()
        name = signal.Signals(status - 128).name
        print(f"stopped by {name}; finished work is saved, and the same command continues it", file=sys.stderr)
        return status
    except Exception:
        if not interrupt.one_of_several():
            raise
        traceback.print_exc()  # calls that wait for a lost process raise
        return interrupt.exit_status(otherwise=1)


def _of_a_folder(argv: list[str]) -> int:
    """Run `check`, `explore` or `cards` on the one folder that the other words name, or print its help."""
    from fsjax.experiment import cards, check, explore  # import JAX, which takes seconds

    name = argv[1]
    command = {"check": check, "explore": explore, "cards": cards}[name]
    if _HELP & set(argv):
        print(command.__doc__)
        return 0
    values = command.define_flags()
    values.set_gnu_getopt(True)  # flags may follow the folder
    try:
        _, _, *rest = values(argv)
    except flags.Error as error:
        raise InputError(one_line(error)) from error
    if len(rest) != 1:
        raise InputError(f"{name}: got {len(rest)} folders; expected one: fsjax {name} FOLDER")
    return command.run(rest[0], values)


def _help(argv: list[str]) -> str:
    name, _ = _split_config(argv[1:])
    return _fields(name, parse([word for word in argv if word not in _HELP])[0]) if name else _overview(argv)


def _overview(argv: list[str]) -> str:
    """Return the usage, the experiments of configs/, without importing them, and the flags."""
    program, flag_values, configs = _as_typed(argv[:1]), _define_flags(argv), config_folder()
    texts = [(f"{configs.name}/{file.name}", file.read_text(encoding="utf-8")) for file in _experiments()]
    config_flag, *others = [(f"--{name}", flag_values[name].help) for name in flag_values]
    field_flag = ("--config.FIELD", "Any of its fields; --config=FILE --help lists them.")
    return "\n".join(
        [
            _USAGE.format(program=" ".join(program), config="dfm_vit" if len(program) == 1 else "configs/dfm_vit.py"),
            "\nExperiments; the text of each file tells more:",
            *_columns([(name, text.partition("\n")[0].strip('"')) for name, text in texts]),
            "\nFlags; the last three start several processes without Slurm, mpirun or a TPU slice:",
            *_columns([config_flag, field_flag, *others]),
        ]
    )


def _fields(name: str, config: ConfigDict) -> str:
    """Return the fields of an experiment, one line each: name, value after the command line, and help."""
    helps = {field: definition.help for field, definition in config_fields.FIELDS.items()}
    rows = [(name, f"{value!r:24}  {helps.get(name, '')}".rstrip()) for name, value in config_fields.flat(config)]
    return "\n".join([f"Fields of {name}, set by --config.FIELD=VALUE:", *_columns(rows)])


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(left) for left, _ in rows)
    return [f"  {left:{width}}  {right}" for left, right in rows]


def _run(argv: list[str]) -> None:
    config, workdir, values = parse(argv)
    from fsjax.experiment import runner  # imports JAX, which takes seconds: check the command line first
    from fsjax.runtime import parallel, startup

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
    startup.use_compilation_cache()
    runner.run(config, workdir, command=[*_as_typed(argv[:1]), *argv[1:]])
    if "report" in config.stages.split(",") and parallel.is_main_process():
        from fsjax.report import answer

        report, threshold = config.report, config.evaluate.threshold
        print(answer.terminal_text(workdir, config.search.method, report.share, threshold, report.first_look))


def _as_typed(program: list[str]) -> list[str]:
    """Return the words that start this program."""
    (path,) = map(pathlib.PurePath, program)
    return ["python", str(path)] if path.suffix == ".py" else [path.name]


def parse(argv: list[str]) -> tuple[ConfigDict, Path, flags.FlagValues]:
    """Return the config, the workdir and the flags of a command line.

    Raises InputError for no config file, a config that refuses its argument, an unknown flag or field, or a wrong type.
    """
    name, words = _split_config(argv[1:])
    path, colon, argument = name.partition(":")
    path = config_file(path)
    if not path:
        raise InputError("--config: got nothing; expected an experiment, such as --config=configs/dfm_vit.py")
    if not pathlib.Path(path).is_file():
        experiments = [file.stem for file in _experiments()]
        raise unknown("--config", path.removeprefix("configs/").removesuffix(".py"), experiments)
    if (parent := str(config_folder().parent)) not in sys.path:
        sys.path.append(parent)  # so that a user's own config can write `from configs import common`
    argv = [argv[0], f"--config={path}{colon}{argument}", *words]
    values = _define_flags(argv)
    try:
        _, *rest = values(argv)
        config = values.config.lock()
    except flags.Error as error:
        # ml_collections and absl raise a config file's own error anew, with its traceback in the message.
        cause: BaseException = error
        while cause.__context__ and "Error whilst parsing config file" in str(cause):
            cause = cause.__context__
        raise InputError(one_line(cause)) from error
    except (AttributeError, LookupError, ValueError):
        # ml_collections raises these for an unknown field; so may the code of the config file.
        known = _define_flags(argv[:2])
        known(argv[:2])
        _check_fields(words, known.config)
        raise
    if rest:
        raise InputError(f"command line: got {rest[0]!r}; expected only flags, which --help lists")
    from fsjax.training import settings  # the config has imported JAX by now

    given = {match[1] for word in words if (match := re.match(r"--?config\.([\w.]+)", word))}
    settings.choose_length(config, given)
    _take_image_size(config, given)
    # An ARG that is a folder contributes its last part.
    parts = (pathlib.Path(path).stem, pathlib.PurePath(argument or config.get("arg") or "").name)
    default = "-".join([*filter(None, parts), *["quick"] * values.quick])
    workdir = storage.path(values.workdir) if values.workdir else pathlib.Path("runs") / default
    if values.quick:
        _first_look(config, given, argv[0], [f"--config={name}", *words], workdir, values)
    return config, workdir, values


def _take_image_size(config: ConfigDict, given: set[str]) -> None:
    """Take the image size of a model file, and a patch that divides it, where the command line does not set them."""
    from fsjax.models import model_file
    from fsjax.search import patch_maps

    file = storage.path(config.model.weights)
    if file.suffix != model_file.SUFFIX or "data.image_size" in given or not file.is_file():
        return
    size = model_file.read_image_size(file)
    if size != config.data.image_size and "search.patch" not in given:
        config.search.patch = patch_maps.side_for((size, size), 32)
    config.data.image_size = size


def _first_look(
    config: ConfigDict, given: set[str], program: str, words: list[str], workdir: Path, values: flags.FlagValues
) -> None:
    """Apply the preset of --quick, but for the fields that the command line sets."""
    from fsjax.evaluation import first_look

    full = [*_as_typed([program]), *(word for word in words if not re.fullmatch(r"--?(no)?quick(=.*)?", word))]
    if not config.model.weights and "train" in config.stages.split(","):
        full.append(f"--config.model.weights={workdir}")  # the network is trained by then
    if values.workdir:
        full.append(f"--workdir={workdir}-full")  # of several flags the last one counts
    first_look.apply(config, (config.data.image_size,) * 2, given, shlex.join(full))


def _check_fields(words: list[str], known: ConfigDict) -> None:
    """Raise InputError for the first --config.FIELD that `known` lacks."""
    fields = [name for name, _ in config_fields.flat(known)]
    for field in (match[1] for word in words if (match := re.match(r"--?(?:no)?config\.([^=]*)", word))):
        group: Any = known
        for part in field.split("."):
            if not (isinstance(group, ConfigDict) and part in group):
                # Fields of this last name, or of a similar one, in any group.
                last = nearest(field.rpartition(".")[2], [name.rpartition(".")[2] for name in fields])
                same = [name for name in fields if name.rpartition(".")[2] == last]
                near = nearest(field, same or fields, least=0.0 if same else 0.6)
                names = group if isinstance(group, ConfigDict) else known
                expected = f"did you mean --config.{near}?" if near else f"expected {', '.join(names)}"
                raise InputError(f"--config.{field}: unknown field {part!r}; {expected}")
            group = group[part]


def _split_config(words: list[str]) -> tuple[str, list[str]]:
    """Return FILE:ARG of `--config=FILE:ARG` or `--config FILE:ARG`, '' without it, and the other words."""
    name, others, following = "", [], iter(words)
    for word in following:
        if match := re.fullmatch(r"--?config(=(.*))?", word):
            name = match[2] if match[1] else next(following, "")
        else:
            others.append(word)
    return name, others


def _define_flags(argv: list[str]) -> flags.FlagValues:
    """Return the flags of a command line, not parsed yet."""
    values = flags.FlagValues()
    help = "An experiment, NAME or FILE, with :ARG where it takes one."
    config_flags.DEFINE_config_file("config", None, help, flag_values=values, sys_argv=argv)
    flags.DEFINE_string("workdir", None, "Folder of the results; runs/<config>-<arg> if not given.", flag_values=values)
    flags.DEFINE_boolean("quick", False, "A first look: few images, pairs and patches.", flag_values=values)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, as every process reaches it.", flag_values=values)
    flags.DEFINE_integer("processes", None, "Number of processes that run this command.", flag_values=values)
    flags.DEFINE_integer("process", None, "Index of this process, from 0.", flag_values=values)
    return values


def config_folder() -> pathlib.Path:
    """Return configs/ of this checkout, or the copy that the wheel ships."""
    return _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parent / "configs"


def _experiments() -> list[pathlib.Path]:
    """Return the files of configs/ that have a get_config()."""
    files = sorted(config_folder().glob("*.py"))
    return [file for file in files if "\ndef get_config(" in file.read_text(encoding="utf-8")]


def config_file(path: str) -> str:
    """Return the file of an experiment: `path` itself, or the shipped file of that name.

    `dfm_vit`, `dfm_vit.py` and `configs/dfm_vit.py` name fsjax's own config where no such file is. Others stay as is.
    """
    if not path or pathlib.Path(path).is_file():
        return path
    asked = pathlib.PurePath(path)
    shipped = config_folder() / f"{asked.stem}.py"
    is_name = asked.parent.as_posix() in (".", "configs") and asked.suffix in ("", ".py") and asked.stem != "common"
    return str(shipped) if is_name and shipped.is_file() else path
