"""The pipeline of a workdir: stages run in order, and finished stages are not repeated.

A record in stages/ holds the fields and the input files of each started stage. A result made with other fields is
refused; a stage with other inputs runs again.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from fsjax.data.overlap import check_apart
from fsjax.experiment import opening
from fsjax.experiment.stage import Stage, Workspace, fingerprint
from fsjax.models.source import model_source
from fsjax.runtime import config_fields, files, lock, metrics, parallel, progress, storage
from fsjax.runtime.errors import CheckFailed, InputError, unknown
from fsjax.runtime.parallel import versions
from fsjax.runtime.progress import clock
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)


def run(config: ConfigDict, directory: Path, stages: Mapping[str, Stage], *, command: list[str] | None = None) -> None:
    """Run the stages that config.stages names in a workdir, as fsjax.experiment.runner.run does."""
    config = model_source(config).named_config()
    chosen = [stages[name] for name in check(config, stages)]
    parallel.decide(lambda: _check_records(config, directory, chosen))
    before: dict[Path, bytes | None] = {}
    with lock.held(directory):
        parallel.decide(lambda: before.update(_prepare(config, directory, stages, command)))
        workspace = Workspace(config, directory)
        has_run = False
        try:
            with workspace.metrics:
                for index, stage in enumerate(chosen):
                    has_run |= _run_stage(stage, workspace, chosen[index:], first=not has_run)
        except InputError:
            if not has_run:
                _restore(before)
            raise


def check(config: ConfigDict, stages: Mapping[str, Stage]) -> list[str]:
    """Return the names of the config's stages in order; raise InputError for a bad field."""
    config_fields.check(config)
    names = [name for name in config.stages.split(",") if name]
    for name in names:
        if name not in stages:
            raise unknown("stages", name, stages)
    if not names:
        raise InputError(f"stages: got nothing; expected {', '.join(stages)}")
    for stage in {stage.name: stage for name in names for stage in stages[name].with_needs()}.values():
        stage.check(config)
    metrics.check_wandb(config.wandb)
    return sorted(names, key=list(stages).index)


def _check_records(config: ConfigDict, directory: Path, stages: list[Stage]) -> None:
    """Raise InputError for an unreachable workdir, or results in it that were made with other settings."""
    storage.check_reachable(directory, "--workdir")
    for stage in stages:
        record = _read_record(_record_file(config, directory, stage))
        if _has_results(record) or (record and _has_partial_results(config, directory, stage)):
            wanted, recorded = fingerprint(config, stage), record["fields"]
            changes = [
                f"{name} was {recorded.get(name)!r}, now {wanted.get(name)!r}"
                for name in sorted(wanted.keys() | recorded.keys())
                if recorded.get(name) != wanted.get(name) and not name.startswith(stage.shown)
            ]
            if changes:
                kind = "result" if _has_results(record) else "partial result"
                # Deleted, partial results are in no one's way: a start with a mistake may have left them.
                other = "" if _has_results(record) else f", or delete {directory / str(stage.partial(config))}"
                raise InputError(
                    f"{directory}: holds a {stage.name} {kind} made with other settings ({'; '.join(changes)}); "
                    f"go on with those settings, or name another --workdir{other}"
                )


def _prepare(
    config: ConfigDict, directory: Path, stages: Mapping[str, Stage], command: list[str] | None
) -> dict[Path, bytes | None]:
    """Write the config and the command; return what the files of a start held beside results, {} without results."""
    files.remove_leftovers(directory)
    of_start = [directory / name for name in ("config.json", "command.json", "images.json")]
    before = {}
    if _keeps_results(config, directory, stages):
        before = {file: file.read_bytes() if file.exists() else None for file in of_start}
    else:
        # A start without results stopped here; the next may have other images.
        of_start[-1].unlink(missing_ok=True)
    files.write_json(of_start[0], config.to_dict())
    if command:
        files.write_json(of_start[1], command)
    return before


def _restore(before: dict[Path, bytes | None]) -> None:
    """Undo a start that ended with a mistake: the earlier results go on with their own config and images."""
    for file, content in before.items():
        if content is None:
            file.unlink(missing_ok=True)
        else:
            files.write_bytes(file, content)


def _keeps_results(config: ConfigDict, directory: Path, stages: Mapping[str, Stage]) -> bool:
    """Return whether a workdir has a finished stage, partial results, or the runs of a study."""
    return (
        any(_has_results(_read_record(file)) for file in directory.glob("stages/*.json"))
        or any(_has_partial_results(config, directory, stage) for stage in stages.values())
        or any(True for _ in directory.glob("*/config.json"))
    )


def _has_results(record: dict[str, Any]) -> bool:
    return bool(record and (record["done"] or record.get("failed_check")))


def _has_partial_results(config: ConfigDict, directory: Path, stage: Stage) -> bool:
    if (name := stage.partial(config)) is None or not (directory / name).exists():
        return False
    return any(path.is_file() for path in (directory / name).rglob("*"))


def _run_stage(stage: Stage, workspace: Workspace, remaining: list[Stage], *, first: bool) -> bool:
    """Run an unfinished stage, and return whether it was unfinished.

    `remaining` are this stage and later ones: their data are opened before anything long. `first` logs the opening.
    """
    record_file = _record_file(workspace.config, workspace.directory, stage)
    record = parallel.decide(lambda: _new_record(stage, workspace, record_file))
    if record is None:
        logger.info("%s: already done in %s", stage.name, workspace.directory)
        return False
    datasets = workspace.open(split for following in remaining for split in following.splits(workspace.config))
    if first:
        check_apart(datasets)
        for line in opening.lines(workspace.config, remaining, datasets):
            logger.info(line)
    parallel.decide(lambda: files.write_json(record_file, record))
    started, compiled_before = time.monotonic(), progress.compiled()
    traced = workspace.config.profile and parallel.is_main_process()
    try:
        with progress.tracing(workspace.directory / "profile" / stage.name if traced else None):
            stage.run(workspace)
    except CheckFailed:
        parallel.decide(lambda: files.write_json(record_file, {**record, "failed_check": True}))
        raise
    seconds = time.monotonic() - started
    # decide: the other processes continue after the main process has written the files that they may read.
    parallel.decide(lambda: files.write_json(record_file, {**record, "done": True, "seconds": round(seconds, 2)}))
    programs, compiling = (after - before for after, before in zip(progress.compiled(), compiled_before, strict=True))
    peak = parallel.peak_bytes()
    memory = {"device_peak_gib": peak / 2**30} if peak else {}
    workspace.metrics.write(stage.name, 0, {"stage_seconds": seconds, "compile_seconds": compiling, **memory})
    note = f", {clock(compiling)} of it for {programs} compilations" if programs else ""
    note += f"; at most {peak / 2**30:.1f} GiB of a device's memory so far" if peak else ""
    logger.info("%s: done in %s%s", stage.name, clock(seconds), note)
    return True


def _new_record(stage: Stage, workspace: Workspace, record_file: Path) -> dict[str, Any] | None:
    """Return the record of a stage that has to run; None if it is done."""
    record = _read_record(record_file)
    paths = [path for needed in stage.needs for path in needed.outputs(workspace)]
    paths = [*(path for path in paths if path.is_file()), *stage.reads(workspace)]
    inputs = {str(path).removeprefix(f"{workspace.directory}/"): files.sha256(path) for path in paths}
    fields = fingerprint(workspace.config, stage)
    is_unchanged = record and (record["fields"], record["inputs"], record["done"]) == (fields, inputs, True)
    if is_unchanged and all(path.exists() for path in stage.outputs(workspace)):
        return None
    return {"stage": stage.name, "fields": fields, "inputs": inputs, "done": False, "seconds": 0, **versions()}


def _record_file(config: ConfigDict, directory: Path, stage: Stage) -> Path:
    name = f"{stage.name}-{config.search.method}" if stage.by_method else stage.name
    return directory / "stages" / f"{name}.json"


def _read_record(file: Path) -> dict[str, Any]:
    """Return the record of a started stage; {} if it never started."""
    if not file.exists():
        return {}
    record = files.read_json(file)
    values = [record.get(name) for name in ("fields", "inputs", "done")] if isinstance(record, dict) else []
    if [type(value) for value in values] != [dict, dict, bool]:
        raise InputError(f"{file}: not the record of a stage; delete it to have the stage run again")
    return record
