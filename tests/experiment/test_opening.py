"""A run begins with three lines: what data, what model, and how much work: forward passes, and about how long."""

import numpy as np

from configs import mitigate
from fsjax import data
from fsjax.experiment import opening
from fsjax.experiment.runner import STAGES
from fsjax.runtime import parallel
from tests.helpers.small_run import small_config


def stages(*names):
    return [STAGES[name] for name in names]


def costs(config, datasets, *names):
    return {stage.name: stage.cost(config, datasets) for stage in stages(*names)}


def test_the_lines_say_data_model_and_forward_passes():
    config = small_config()
    datasets = {split: data.load(config.data, split, 0) for split in ("train", "test")}
    run = ("train", "search", "evaluate", "report")
    what, model, work, *_ = opening.lines(config, stages(*run), datasets)
    assert what == "data: synthetic syn1: 4 classes, 56 train, 24 test images, at 24 x 24 pixels"
    assert model == "model: vit_nano_patch8, trained by sgd: 3 steps of 16 images"
    passes = costs(config, datasets, *run)
    # 16 images in 3 steps, each as long as six passes on a CPU; four images of four classes under 290 orbits and
    # unfiltered.
    assert (passes["train"], passes["search"], passes["report"]) == (288, 4656, 0)
    total = f"{sum(passes.values()):,}"
    assert work == f"run: train, search, evaluate, report; about as long as {total} forward passes of one image"
    config.search.method = "learned"
    assert opening.lines(config, stages("search"), datasets)[2] == "run: search"
    assert opening.lines(config, stages("compare"), {}) == []


def test_a_run_of_some_length_says_how_long_each_stage_takes(monkeypatch):
    config = small_config()
    config.train.steps, config.search.images_per_class = 300, 0
    datasets = {split: data.load(config.data, split, 0) for split in ("train", "test")}
    assert costs(config, datasets, "train", "search") == {"train": 6 * 16 * 300, "search": 56 * 291}
    monkeypatch.setattr(opening, "passes_a_second", lambda *_: 100.0)
    line = opening.lines(config, stages("train", "search", "report"), datasets)[2]
    assert line.startswith(
        f"run: train about 4:48, search about 2:43, report; about as long as {45096:,} forward passes"
    )
    assert line.endswith(", 100 a second as measured now")


def test_a_training_that_continues_a_probe_costs_what_is_left_of_it_and_any_other_costs_all():
    config = mitigate.get_config("synthetic")
    config.train.steps, config.train.epochs, config.probe.points = 100, 0.0, (0.5, 0.8)
    config.data.synthetic.train_per_class, config.data.synthetic.test_per_class = 20, 8
    datasets = {"train": data.load(config.data, "train", 0)}
    whole = 6 * config.train.batch_size * 100
    config.probe.pairs, config.search.graft.paths, config.search.graft.steps = 20, 5, 4
    passes = costs(config, datasets, "probe", "train")
    assert passes["train"] == round(0.2 * whole)
    # Five rounds of four classes: slopes of the search, and the pairs under no frequencies and under the first 1, 2, 3,
    # 4, 6, 8 and 10 orbits of 32 x 32, three ways each.
    rounds = config.probe.rounds + 2
    trained = (config.probe.rounds * config.probe.length + 0.8) * whole
    assert passes["probe"] == round(trained) + rounds * 4 * (3 * 5 * 4 + 8 * 3 * 20)
    config.train.ways = ""
    assert costs(config, datasets, "train") == {"train": whole}


def test_the_speed_is_that_of_the_model_on_all_devices(monkeypatch):
    config, calls = small_config(), []
    now = iter(np.arange(1000.0))
    monkeypatch.setattr(opening.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(opening.jax, "block_until_ready", calls.append)
    # One call compiles; the next takes a second of this clock, with 16 images on each device.
    devices = len(parallel.local_devices())
    assert opening.passes_a_second(config, 4) == 16 * devices
    assert [len(of_devices) for of_devices in calls] == [devices] * 2
    assert {logits.shape for logits in calls[0]} == {(16, 4)}
