"""The pipeline of a workdir: stages run in order, and finished stages are not repeated.

A record in stages/ holds the fields and the input files of each started stage. A result made with other fields is
refused; a stage with other inputs runs again.
"""

import copy
import functools
import logging
import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.data.overlap import check_apart
from fsjax.data.source import set_name
from fsjax.engine import tile_size
from fsjax.experiment import forecast
from fsjax.experiment.stage import Stage, Workspace, fingerprint
from fsjax.models.source import model_source
from fsjax.runtime import config_fields, files, interrupt, lock, metrics, parallel, progress, storage
from fsjax.runtime.errors import InputError, check_known
from fsjax.runtime.parallel import versions
from fsjax.runtime.progress import clock
from fsjax.runtime.storage import Path
from fsjax.training import setup, ways
from fsjax.training.settings import last_step
from fsjax.training.setup import Training

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
        begun = False
        said: dict[str, float] | None = None  # the expected seconds of each stage, once they are known
        try:
            with workspace.metrics:
                for index, stage in enumerate(chosen):
                    record = parallel.decide(functools.partial(_new_record, stage, workspace))
                    if record is None:
                        logger.info("%s: already done in %s", stage.name, directory)
                        continue
                    interrupt.check()
                    datasets = workspace.open(split for later in chosen[index:] for split in later.splits(config))
                    if not begun:
                        check_apart(datasets)
                        _say_what(config, chosen[index:], datasets)
                    if said is None:
                        said = _forecast(workspace, chosen[index:], datasets)
                    ahead = [(said or {}).get(each.name, 0.0) for each in chosen[index:]]
                    _run_stage(stage, workspace, record, ahead[0], math.fsum(ahead[1:]))
                    begun = True
        except InputError:
            if not begun:
                _restore(before)
            raise


def check(config: ConfigDict, stages: Mapping[str, Stage]) -> list[str]:
    """Return the names of the config's stages in order; raise InputError for a bad field."""
    config_fields.check(config)
    names = [name for name in config.stages.split(",") if name]
    for name in names:
        check_known("stages", name, stages)
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
    return bool(record and record["done"])


def _has_partial_results(config: ConfigDict, directory: Path, stage: Stage) -> bool:
    if (name := stage.partial(config)) is None or not (directory / name).exists():
        return False
    return any(path.is_file() for path in (directory / name).rglob("*"))


def _say_what(config: ConfigDict, stages: list[Stage], datasets: dict[str, Dataset]) -> None:
    """Log the data and the model; nothing for a run without data."""
    if not datasets:
        return
    size, where = config.data.image_size, set_name(config.data) or config.data.root
    counts = ", ".join(f"{len(dataset):,} {split}" for split, dataset in datasets.items())
    classes = len(next(iter(datasets.values())).classes)
    source, options = model_source(config), config.train
    logger.info(f"data: {config.data.source} {where}: {classes} classes, {counts} images, at {size} x {size} pixels")
    trained = ""
    if source.trains and "train" in [stage.name for stage in stages]:
        steps = last_step(options, len(datasets["train"]))
        trained = f", trained by {options.optimizer}: {steps:,} steps of {options.batch_size} images"
    logger.info(f"model: {source.describe()}{trained}")


def _forecast(workspace: Workspace, stages: list[Stage], datasets: dict[str, Dataset]) -> dict[str, float] | None:
    """Log the work of the stages, and return their expected seconds; None before a model is converted."""
    config = workspace.config
    work = {stage.name: stage.work(config, datasets) for stage in stages}
    head, total = f"run: {', '.join(work)};", sum(map(Counter, work.values()), Counter())
    if not total:
        logger.info(head.rstrip(";"))
        return {}
    is_long = forecast.is_long(total, config.data.image_size)
    if not is_long:
        logger.info("%s %s forward passes of one image", head, f"{sum(total.values()):,}")
    if not is_long and not config.run.memory_mib:
        return {}
    classes, searched = len(next(iter(datasets.values())).classes), datasets.get(config.search.split)
    model = model_source(config).timed_model(classes) if "train" in work else workspace.classifier
    if model is None:
        return None
    if config.run.memory_mib:
        # Too little memory is an error here rather than after the training.
        most = max(forecast.searched_counts(config, searched)) if "search" in work else 1
        tile_size.fit(model, resident_images=most, memory_mib=config.run.memory_mib)
    training = _trial_training(workspace) if is_long and "training" in total else None
    seconds = forecast.announce(
        head, config, model, total, searched, datasets.get("test"), training, field="--config.{1}", quick="--quick"
    )
    each = {part: seconds[part] / total[part] for part in seconds}
    return {
        name: math.fsum(each.get(part, 0.0) * passes for part, passes in parts.items()) for name, parts in work.items()
    }


def _trial_training(workspace: Workspace) -> Training:
    """Return the run's training, or one as fast where a probe has yet to find what it avoids."""
    if not ways.use_probes(workspace.config.train):
        return workspace.training
    config = copy.deepcopy(workspace.config)
    probed = ways.probed(config.train)
    config.train.ways = ",".join(name for name in ways.chosen(config.train) if name not in probed)
    return setup.build(config, workspace.dataset("train"), workspace.mean_std, workspace.directory)


def _run_stage(stage: Stage, workspace: Workspace, record: dict[str, Any], said: float, later: float) -> None:
    """Run a stage; log its time beside the seconds that it and later stages were said to take; 0 = nothing was said."""
    record_file = _record_file(workspace.config, workspace.directory, stage)
    parallel.decide(lambda: files.write_json(record_file, record))
    started, compiled_before = time.monotonic(), progress.compiled()
    traced = workspace.config.profile and parallel.is_main_process()
    with progress.tracing(workspace.directory / "profile" / stage.name if traced else None):
        stage.run(workspace)
    seconds = time.monotonic() - started
    # decide: the other processes continue after the main process has written the files that they may read.
    parallel.decide(lambda: files.write_json(record_file, {**record, "done": True, "seconds": round(seconds, 2)}))
    programs, compiling = (after - before for after, before in zip(progress.compiled(), compiled_before, strict=True))
    peak = parallel.peak_bytes()
    memory = {"device_peak_gib": peak / 2**30} if peak else {}
    workspace.metrics.write(stage.name, 0, {"stage_seconds": seconds, "compile_seconds": compiling, **memory})
    note = f", {clock(compiling)} of it for {programs} compilations" if programs else ""
    note += f"; at most {peak / 2**30:.1f} GiB of a device's memory so far" if peak else ""
    rest = f"; the rest about {clock(later * seconds / said)} at this pace" if said and later else ""
    expected = f" (about {clock(said)} said{rest})" if said else ""
    logger.info("%s: done in %s%s%s", stage.name, clock(seconds), expected, note)


def _new_record(stage: Stage, workspace: Workspace) -> dict[str, Any] | None:
    """Return the record of a stage that has to run; None if it is done."""
    record = _read_record(_record_file(workspace.config, workspace.directory, stage))
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
