"""What a run begins with: three lines that say what data, what model, and what will run and about how long."""

import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.dataset import Dataset
from fsjax.data.source import set_name
from fsjax.evaluation import judge_maps, probes
from fsjax.experiment import speed
from fsjax.models.source import model_source
from fsjax.runtime.progress import clock
from fsjax.training import ways
from fsjax.training.settings import last_step

# Fewer forward passes than these are over about as soon as their time is measured.
_MEASURED_FROM = 20_000


def lines(config: ConfigDict, stages: list[str], datasets: dict[str, Dataset]) -> list[str]:
    """Return the lines, and one for each share whose maps hold only a few patches; none where no data are read.

    Args:
      config: of the run.
      stages: that will run.
      datasets: by split, as far as the stages read them.
    """
    if not datasets:
        return []
    plane = (config.data.image_size, config.data.image_size)
    few = search.small_shares(config.search, plane) if "search" in stages else []
    return [_data(config, datasets), _model(config, datasets), _work(config, stages, datasets), *few]


def _data(config: ConfigDict, datasets: dict[str, Dataset]) -> str:
    where = set_name(config.data) or config.data.root
    counts = ", ".join(f"{len(dataset):,} {split}" for split, dataset in datasets.items())
    classes = len(next(iter(datasets.values())).classes)
    size = config.data.image_size
    return f"data: {config.data.source} {where}: {classes} classes, {counts} images, at {size} x {size} pixels"


def _model(config: ConfigDict, datasets: dict[str, Dataset]) -> str:
    source, options = model_source(config), config.train
    if not source.trains or "train" not in datasets:
        return f"model: {source.describe()}"
    steps = last_step(options, len(datasets["train"]))
    return f"model: {source.describe()}, trained by {options.optimizer}: {steps:,} steps of {options.batch_size} images"


def _work(config: ConfigDict, stages: list[str], datasets: dict[str, Dataset]) -> str:
    passes = {name: count for name, count in forward_passes(config, datasets).items() if name in stages}
    total = sum(passes.values())
    if not total:
        return f"run: {', '.join(stages)}"
    counted = f"about {total:,} forward passes of one image"
    classes = len(next(iter(datasets.values())).classes)
    rate = speed.passes_a_second(config, classes) if total >= _MEASURED_FROM else None
    if rate is None:
        return f"run: {', '.join(stages)}; {counted}"
    seconds = {name: count / rate for name, count in passes.items()}
    for name in seconds.keys() & {"probe", "train"}:
        seconds[name] *= speed.training_cost() / speed.TRAINING
    parts = [f"{name} about {clock(seconds[name])}" if name in seconds else name for name in stages]
    return f"run: {', '.join(parts)}; {counted}, {rate:,.0f} a second as measured now"


def forward_passes(config: ConfigDict, datasets: dict[str, Dataset]) -> dict[str, int]:
    """Return about how many forward passes of one image a stage takes, where that is known before it runs.

    Some searches have none, because their length depends on what they find.
    """
    plane, found = (config.data.image_size, config.data.image_size), {}
    if (training := datasets.get("train")) is not None and model_source(config).trains:
        steps = last_step(config.train, len(training)) * ways.passes(config.train)
        found["train"] = speed.TRAINING * config.train.batch_size * steps
        if "probe" in config and ways.use_probes(config.train):
            options, whole, classes = config.probe, found["train"], len(training.classes)
            # Where they find something; the final training then goes on from the last of the points.
            probed = max((0.0, *options.points))
            of_class = probes.grafts_a_class(options.pairs, options.share, *plane)
            grafted = search.SEARCHES["graft"].forward_passes(config.search, (0,) * classes, plane)
            rounds = (options.rounds + len(options.points)) * (grafted + of_class * classes)
            found["probe"] = round((options.rounds * options.length + probed) * whole) + rounds
            found["train"] = round((1 - probed) * whole)
    if (searched := datasets.get(config.search.split)) is not None:
        found["search"] = search.forward_passes(config.search, np.bincount(searched.labels).tolist(), plane)
    if (test := datasets.get("test")) is not None:
        counts = np.bincount(test.labels)
        tested = [share for share in config.search.shares if share <= config.report.share]
        curve = {*judge_maps.curve_shares(*plane), *tested} if config.evaluate.pairs else set()
        grafts = judge_maps.grafts_a_class(config.evaluate.pairs, len(curve))
        on_grid = np.minimum(counts, config.evaluate.grid_images or counts).sum()
        grid = on_grid * len(set(config.evaluate.grid) - set(config.search.shares))
        found["evaluate"] = int(len(test) + len(counts) * (len(test) * len(config.search.shares) + grid + grafts))
    return {name: count for name, count in found.items() if count}
