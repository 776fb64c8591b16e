"""An experiment: stages run in order, each reading and writing files of the workdir, none done twice."""

import logging
import time
from typing import Any

from ml_collections import ConfigDict

from fsjax.experiment.run import Run
from fsjax.experiment.stages import STAGES
from fsjax.experiment.stages.stage import Stage, fingerprint
from fsjax.runtime import extras, files, lock, parallel, profiling, storage, wandb_writer
from fsjax.runtime.errors import InputError, unknown
from fsjax.runtime.progress import clock
from fsjax.runtime.storage import Path
from fsjax.runtime.versions import versions

logger = logging.getLogger(__name__)


def run(config: ConfigDict, directory: Path, *, command: list[str] | None = None) -> None:
    """Runs the config's stages in a workdir; `command` is kept beside the results, for the report.

    Raises:
      InputError: a field that cannot be used, an earlier result made with other fields, a stage whose input is missing.
      CheckFailed: all is done, and compare's maps are less alike than config.min_iou asks.
      interrupt.Terminated: SIGTERM came.
    """
    names = check(config)
    parallel.decide(lambda: _check_fingerprints(config, directory, names))
    with lock.held(directory):
        parallel.decide(lambda: _begin(config, directory, command))
        current = Run(config, directory, nested=run)
        with current.metrics:
            for name in names:
                _run_stage(STAGES[name], current)


def _begin(config: ConfigDict, directory: Path, command: list[str] | None) -> None:
    files.remove_leftovers(directory)
    files.write_json(directory / "config.json", config.to_dict())
    if command:
        files.write_json(directory / "command.json", command)


def check(config: ConfigDict) -> list[str]:
    """The names of the config's stages; raises InputError for any field that cannot be used, before anything is run."""
    names = [name for name in config.stages.split(",") if name]
    for name in names:
        if name not in STAGES:
            raise unknown("stages", "stage", name, STAGES)
    if not names:
        raise InputError(f"stages: got nothing; expected {', '.join(STAGES)}")
    extras.require("launch")
    for stage in _with_needs(names):
        stage.check(config)
    for field, least in (("log_every", 1), ("keep_checkpoints", 1), ("memory_mib", 0), ("save_seconds", 0)):
        if config.run[field] < least:
            raise InputError(f"run.{field}: got {config.run[field]}; expected {least} or more")
    wandb_writer.check(config.wandb)
    return sorted(names, key=list(STAGES).index)


def _with_needs(names: list[str]) -> list[Stage]:
    """The named stages and those that they need, each once."""
    found = {stage.name: stage for name in names for stage in STAGES[name].with_needs()}
    return list(found.values())


def _run_stage(stage: Stage, current: Run) -> None:
    name, record_file = stage.name, _record_file(current.config, current.directory, stage)
    begun = parallel.decide(lambda: _begin_stage(stage, current))
    if begun is None:
        logger.info("%s: already done in %s", name, current.directory)
        return
    record, new = begun
    started, before = time.monotonic(), profiling.compiled()
    traced = current.config.profile and parallel.is_main_process()
    try:
        with profiling.tracing(current.directory / "profile" / name if traced else None):
            stage.run(current)
    except InputError:
        # Nothing is left that a record has to guard: the next command, with the mistake mended, finds a free place.
        if new and not stage.partial(current.config) and parallel.is_main_process():
            record_file.unlink(missing_ok=True)
        raise
    seconds = time.monotonic() - started
    # The others go on when the main process has written what they may read.
    parallel.decide(lambda: files.write_json(record_file, {**record, "done": True, "seconds": round(seconds, 2)}))
    after = profiling.compiled()
    programs, compiling = after[0] - before[0], after[1] - before[1]
    peak = parallel.peak_bytes()
    memory = {} if peak is None else {"device_peak_gib": peak / 2**30}
    current.metrics.write(name, 0, {"stage_seconds": seconds, "compile_seconds": compiling, **memory})
    note = f", of which {programs} compilations {clock(compiling)}" if programs else ""
    note += f"; at most {peak / 2**30:.1f} GiB of a device's memory so far" if peak else ""
    logger.info("%s: done in %s%s", name, clock(seconds), note)


def _begin_stage(stage: Stage, current: Run) -> tuple[dict[str, Any], bool] | None:
    """The record of a stage that is to run, now written, and whether it is its first; None for one that is done."""
    record_file = _record_file(current.config, current.directory, stage)
    record = _read_record(record_file)
    fields = fingerprint(current.config, stage)
    inputs = _inputs(current, stage)
    there = all(path.exists() for path in stage.outputs(current))
    if record and record["done"] and there and not _differing(record["fields"], fields) and record["inputs"] == inputs:
        return None
    begun = {"stage": stage.name, "fields": fields, "inputs": inputs, "done": False, "seconds": 0, **versions()}
    files.write_json(record_file, begun)
    return begun, not record


def _inputs(current: Run, stage: Stage) -> dict[str, str]:
    """SHA-256 of the files that the stages before left or that lie outside: a result made from others is made again."""
    paths = [path for needed in stage.needs for path in needed.outputs(current)]
    paths = [*(path for path in paths if path.is_file()), *stage.reads(current)]
    return {_name(path, current.directory): files.sha256(path) for path in paths}


def _name(path: Path, directory: Path) -> str:
    return str(path).removeprefix(f"{directory}/")


def _check_fingerprints(config: ConfigDict, directory: Path, names: list[str]) -> None:
    storage.check_reachable(directory, "--workdir")
    for name in names:
        _check_fingerprint(config, directory, STAGES[name])


def _check_fingerprint(config: ConfigDict, directory: Path, stage: Stage) -> None:
    record_file = _record_file(config, directory, stage)
    if not (record := _read_record(record_file)):
        return
    wanted, found = fingerprint(config, stage), record["fields"]
    different = [
        f"{field} was {found.get(field)!r}, now {wanted.get(field)!r}"
        for field in _differing(wanted, found)
        if not field.startswith(stage.shown)
    ]
    if different:
        raise InputError(
            f"{directory}: holds a {stage.name} result made with other settings ({'; '.join(different)}); "
            "go on with those settings, or name another --workdir"
        )


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Fields of different values; one that is newer than a record, and off, leaves the result what it was."""
    return sorted(name for name in one.keys() | other.keys() if (one.get(name) or None) != (other.get(name) or None))


def _record_file(config: ConfigDict, directory: Path, stage: Stage) -> Path:
    name = f"{stage.name}-{config.search.method}" if stage.by_method else stage.name
    return directory / "stages" / f"{name}.json"


def _read_record(file: Path) -> dict[str, Any]:
    """What a stage was started with and whether it is done; empty where it was never started."""
    if not file.exists():
        return {}
    record = files.read_json(file)
    parts = [record.get(name) for name in ("fields", "inputs", "done")] if isinstance(record, dict) else []
    if [type(part) for part in parts] != [dict, dict, bool]:
        raise InputError(f"{file}: not the record of a stage; delete it to have the stage run again")
    return record
