"""The work that lies ahead: the forward passes of each part, and about how long they take on this machine now.

A part is timed with the program that it runs, so that little is compiled for the forecast alone.
"""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fsjax import search
from fsjax.data.dataset import Dataset
from fsjax.engine import tile_size
from fsjax.engine.engine import Engine, Rows
from fsjax.engine.model import Model, graft_model
from fsjax.evaluation import judge_maps, rates, triggers
from fsjax.evaluation.evaluate import seeks_triggers
from fsjax.evaluation.graft_outcomes import GRAFTS_A_PAIR
from fsjax.fourier import patches
from fsjax.runtime import parallel
from fsjax.runtime.progress import clock
from fsjax.search import graft, patch_maps, removal
from fsjax.training import settings, setup, ways
from fsjax.training.setup import Training
from fsjax.training.step import on_devices

logger = logging.getLogger(__name__)

# Forward passes of one image in each part: training, search, rates, triggers and grafts. A gradient counts as
# graft.PASSES.
Work: TypeAlias = Mapping[str, int]

# This many passes at 32 x 32 pixels take seconds. Fewer are not measured.
_MEASURED_FROM = 20_000
# A measurement takes this long, or one call of a slow model, or this many steps of the training.
_SECONDS, _STEPS = 0.3, 6
# Images of a device's gradients: as many as tile_size compiles to learn their memory.
_IMAGES = 16


def training_passes(config: ConfigDict, images: int) -> int:
    """Return the forward passes of a training on a split with this number of images."""
    options = config.train
    return graft.PASSES * ways.passes(options) * options.batch_size * settings.last_step(options, images)


def search_work(config: ConfigDict, searched: Dataset) -> Work:
    """Return the work of a search on a split."""
    return {"search": search.forward_passes(config.search, np.bincount(searched.labels).tolist(), _plane(searched))}


def judging_work(config: ConfigDict, test: Dataset) -> Work:
    """Return the work of the rates under each class's maps, and of the grafts at most."""
    counts, options = np.bincount(test.labels), config.evaluate
    counts = np.minimum(counts, options.images_per_class or counts)
    shares = {*judge_maps.curve_shares(*_plane(test)), *config.search.shares}
    tested = sum(share <= config.report.share for share in shares)
    on_grid, further = np.minimum(counts, options.grid_images or counts), {*options.grid} - {*config.search.shares}
    filtered = counts.sum() + rates.filtered_passes(int(counts.sum()), len(counts), len(config.search.shares))
    filtered += rates.filtered_passes(int(on_grid.sum()), len(counts), len(further))
    work = {"rates": int(filtered), "grafts": len(counts) * judge_maps.grafts_a_class(options.pairs, tested)}
    if seeks_triggers(config, len(counts), _plane(test)):
        work["triggers"] = triggers.passes(test.labels, len(counts), _plane(test))
    return work


def _plane(dataset: Dataset) -> tuple[int, int]:
    height, width = dataset.images([0]).shape[1:3]
    return height, width


def announce(
    head: str,
    config: ConfigDict,
    model: Model,
    work: Work,
    searched: Dataset | None = None,
    test: Dataset | None = None,
    training: Training | None = None,
    *,
    field: str = "{0}",
    quick: str = "",
) -> dict[str, float]:
    """Say how long each part takes, and what shortens the longest; return the seconds, {} where they are few.

    Lines begin with `head`. `model` is as fast as the run's. `field` says how to write a field, from its last name {0}
    and its dotted name {1}; `quick` is how to ask for a first look, if one can.
    """
    work = {part: passes for part, passes in work.items() if passes}
    if not is_long(work, model.image_shape[0]):
        return {}
    each = _seconds_a_pass(config, model, work, searched, test, training)
    seconds = {part: passes * each[part] for part, passes in work.items()}
    parts = [f"{part} {clock(seconds[part])} ({passes:,} forward passes)" for part, passes in work.items()]
    longest = max(seconds, key=seconds.__getitem__)
    name, value, effect = _shorter(longest, config, searched)
    say(f"{head} about {clock(sum(seconds.values()))} as measured now: {', '.join(parts)}")
    first_look = f"; {quick} gives a first look" if quick and not config.report.get("first_look") else ""
    say(f"{head} {longest} takes most; {field.format(name.rpartition('.')[2], name)}={value} {effect}{first_look}")
    return seconds


def is_long(work: Work, size: int) -> bool:
    """Return whether passes of images of this size, in pixels, take longer than a few seconds."""
    return sum(work.values()) * size**2 >= _MEASURED_FROM * 32**2


def say(line: str) -> None:
    """Log a line or, where no log shows it, print it beside the lines of progress."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(line)
    elif parallel.is_main_process():
        print(line, file=sys.stderr, flush=True)


def _shorter(part: str, config: ConfigDict, searched: Dataset | None) -> tuple[str, Any, str]:
    """Return a field, its value that shortens a part, and by how much."""
    options = config.search
    if part == "training":
        length = "epochs" if config.train.epochs else "steps"
        return f"train.{length}", f"{config.train[length] / 2:g}", "halves it"
    if part == "rates" and config.evaluate.grid:
        return "evaluate.grid", "()", "leaves out further shares"
    if part == "grafts":
        return "evaluate.pairs", config.evaluate.pairs // 2, "halves them"
    if part == "triggers":
        return "evaluate.trigger_size", 0, "leaves them out"
    halved = {"graft": "paths", "learned": "steps"}.get(options.method)
    if part == "search" and halved:
        return f"search.{options.method}.{halved}", options[options.method][halved] // 2, "halves it"
    if part == "search":
        return "search.images_per_class", max(searched_counts(config, searched)) // 2, "halves it"
    return "search.shares", options.shares[-1:], "leaves out the others"


def _seconds_a_pass(
    config: ConfigDict,
    model: Model,
    work: Work,
    searched: Dataset | None,
    test: Dataset | None,
    training: Training | None,
) -> dict[str, float]:
    """Measure the seconds that a forward pass of one image takes in each part, with all devices at work."""
    options, memory_mib, seconds = config.search, config.run.memory_mib, {}
    model = model.at(options.precision, options.transform)
    if "grafts" in work:
        grafts, images = graft_model(model), GRAFTS_A_PAIR * max(1, config.evaluate.pairs)
        chunk = tile_size.layout(grafts, [images], memory_mib=memory_mib)["chunk"]
        layout = {"tile_images": chunk, "chunk": chunk}  # as evaluation.graft_outcomes.Grafter has it
        seconds["grafts"] = _seconds_a_tile(grafts, "captured", layout, replicates=images)
    if "triggers" in work:  # whose orbits share the devices
        seconds["triggers"] = seconds["grafts"] / parallel.mesh().size
    if "search" in work and search.selected(options).gradients:
        seconds["search"] = _seconds_a_gradient(model, options.patch) / graft.PASSES
    elif "search" in work:
        replicates = 1 + patch_maps.resample_count(options) if options.method == "removal" else 1
        masks = removal.removal_masks(model.image_shape[:2], options.patch)
        counts = searched_counts(config, searched)
        layout = tile_size.layout(model, counts, masks=masks.count, memory_mib=memory_mib)
        seconds["search"] = _seconds_a_tile(model, "loss", layout, replicates, masks)
    if "rates" in work and test is not None:
        images = min(rates.POOL, len(test), config.evaluate.images_per_class * len(test.classes) or len(test))
        size = tile_size.fit(model, resident_images=images, memory_mib=memory_mib)
        layout = {"tile_images": size, "chunk": tile_size.image_batch_size([images], size)}
        seconds["rates"] = _seconds_a_tile(model, "predicted_target", layout, len(test.classes))
    seconds = {part: each / parallel.process()[1] for part, each in seconds.items()}
    if "training" in work and training is not None:
        rows = graft.PASSES * ways.passes(config.train) * config.train.batch_size
        seconds["training"] = _seconds_a_step(training) / rows
    return seconds


def searched_counts(config: ConfigDict, searched: Dataset | None) -> list[int]:
    """Return how many images of each class of a split are searched."""
    assert searched is not None, "a search has a split"
    counts = np.bincount(searched.labels)
    return np.minimum(counts, config.search.images_per_class or counts).tolist()


def _seconds_a_tile(
    model: Model, statistic: str, layout: dict[str, int], replicates: int = 1, masks: Rows | None = None
) -> float:
    """Return the seconds of an image under a mask in the engine's tiles."""
    engine, size = Engine(model, statistics=(statistic,), tile_images=layout["tile_images"]), layout["chunk"]
    images = np.random.default_rng(0).normal(size=(size, *model.input_shape)).astype(np.float32)
    batches = engine.image_batches(images, np.zeros(size, np.int64), np.ones((size, replicates), np.float32), size=size)
    # Maps are grafted one by one, however many devices there are.
    count = 1 if statistic == "captured" else engine.perturbations_per_tile(size)
    targets = None if statistic == "loss" else np.zeros(count, np.int64)
    rows = np.ones((count, *model.image_shape[:2]), bool) if masks is None else masks[np.arange(count) % len(masks)]
    return _seconds(lambda: engine.sums(batches, rows, targets=targets)) / (count * size)


def _seconds_a_gradient(model: Model, patch: int) -> float:
    """Return the seconds of an image's gradient by frequency, in the program whose memory a graft search asks for."""
    mesh = parallel.mesh()
    images = np.zeros((_IMAGES * mesh.size, *model.image_shape), np.float32)
    members = patches.members(*model.image_shape[:2], patch)
    arguments = jax.tree.map(jnp.asarray, (model.params, images, np.int32(0), members))
    program = graft.gradient_program(model, mesh)
    return _seconds(lambda: program(*arguments)) / len(images)


def _seconds_a_step(training: Training) -> float:
    """Return the seconds of a step with a new state; all processes take the same number of steps."""
    loop, rows = setup.first_state(training), training.config.train.batch_size // parallel.process()[1]
    indices = np.arange(rows, dtype=np.int32) % len(training.images)
    batch = {"image": training.images.images(indices), "label": training.images.labels[indices], "index": indices}
    batch = next(on_devices(iter([{**batch, "epoch": np.zeros(rows, np.int32)}])))
    replicas, stop = loop.replicas, np.zeros(jax.local_device_count(), bool)
    for step in range(1 + _STEPS):
        if step == 1:
            started = time.monotonic()
        replicas, *_ = jax.block_until_ready(training.update(replicas, batch, 1.0, stop))
    return (time.monotonic() - started) / _STEPS


def _seconds(call: Callable[[], Any]) -> float:
    """Return the seconds of a call, after one that compiles."""
    jax.block_until_ready(call())
    started, calls = time.monotonic(), 0
    while not calls or time.monotonic() - started < _SECONDS:
        jax.block_until_ready(call())
        calls += 1
    return (time.monotonic() - started) / calls
