"""A run begins with its data, its model, and how much work it is: forward passes of each part, and about how long."""

import logging
import re
import types
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsjax
from configs import mitigate
from fsjax import data
from fsjax.data.dataset import ArrayDataset
from fsjax.engine.model import Model
from fsjax.experiment import forecast, pipeline
from fsjax.experiment.runner import STAGES
from fsjax.experiment.stage import Workspace
from fsjax.models.callables import as_model
from fsjax.runtime import progress
from tests.helpers.small_run import small_config


def work(config, datasets, *names):
    return {name: STAGES[name].work(config, datasets) for name in names}


@pytest.fixture
def small():
    """The config of a small run, and its splits."""
    config = small_config()
    return config, {split: data.load(config.data, split, 0) for split in ("train", "test")}


def test_a_short_run_says_data_model_and_forward_passes(small, tmp_path, caplog):
    config, datasets = small
    names, workspace = ("train", "search", "evaluate", "report"), Workspace(config, tmp_path)
    caplog.set_level(logging.INFO, "fsjax")
    stages = [STAGES[name] for name in names]
    pipeline._say_what(config, stages, datasets)
    assert pipeline._forecast(workspace, stages, datasets) == {}
    what, model, said = caplog.messages
    assert what == "data: synthetic syn1: 4 classes, 56 train, 24 test images, at 24 x 24 pixels"
    assert model == "model: vit_nano_patch8, trained by sgd: 3 steps of 16 images"
    passes = work(config, datasets, *names)
    # 16 images in 3 steps, each as three passes; four images of four classes under 290 orbits and unfiltered.
    assert (passes["train"], passes["search"], passes["report"]) == ({"training": 144}, {"search": 4656}, {})
    # 24 images of four classes unfiltered, under four shares and one of the grid.
    assert passes["evaluate"]["rates"] == 24 + 4 * 24 * 5
    total = sum(sum(parts.values()) for parts in passes.values())
    assert said == f"run: train, search, evaluate, report; {total:,} forward passes of one image"
    caplog.clear()
    pipeline._say_what(config, [STAGES["compare"]], {})
    assert pipeline._forecast(workspace, [STAGES["compare"]], {}) == {} and caplog.messages == ["run: compare"]


def test_a_training_that_continues_a_probe_costs_what_is_left_of_it_and_any_other_costs_all():
    config = mitigate.get_config("synthetic")
    config.train.steps, config.train.epochs, config.probe.points = 100, 0.0, (0.5, 0.8)
    config.data.synthetic.train_per_class, config.data.synthetic.test_per_class = 20, 8
    datasets = {"train": data.load(config.data, "train", 0)}
    whole = 3 * config.train.batch_size * 100
    config.probe.pairs, config.search.graft.paths, config.search.graft.steps = 20, 5, 4
    passes = work(config, datasets, "probe", "train")
    assert passes["train"] == {"training": round(0.2 * whole)}
    # Five rounds of four classes: slopes of the search, and the pairs under no frequencies and, three ways each, under
    # the first 1, 2, 3, 4, 6, 8 and 10 orbits of 32 x 32.
    rounds = config.probe.rounds + 2
    trained = round((config.probe.rounds * config.probe.length + 0.8) * whole)
    searched, grafts = rounds * 4 * 3 * 5 * 4, rounds * 4 * 20 * (1 + 7 * 4)
    rates = rounds * (1 + 8) * 500  # eight operations
    assert passes["probe"] == {"training": trained, "search": searched, "grafts": grafts, "rates": rates}
    config.train.ways = ""
    assert work(config, datasets, "train") == {"train": {"training": whole}}


@pytest.mark.parametrize("method", ["removal", "graft", "greedy", "hierarchical", "learned"])
@pytest.mark.parametrize("longest", ["training", "search", "grafts"])
def test_lines_say_how_long_each_part_takes_and_what_halves_the_longest(small, monkeypatch, caplog, method, longest):
    config, datasets = small
    config.search.method, config.train.steps = method, 300
    each = {part: 1.0 if part == longest else 1e-6 for part in ("training", "search", "rates", "grafts")}
    monkeypatch.setattr(forecast, "_MEASURED_FROM", 0)
    monkeypatch.setattr(forecast, "_seconds_a_pass", lambda *_: each)
    caplog.set_level(logging.INFO, "fsjax")

    def passes():
        return sum(map(Counter, work(config, datasets, "train", "search", "evaluate").values()), Counter())

    before, model = passes(), Model(len, {}, (24, 24, 3))
    seconds = forecast.announce("run:", config, model, before, datasets["train"], field="--config.{1}", quick="--quick")
    times, advice = caplog.messages
    assert seconds[longest] == before[longest] and f"{longest} {progress.clock(float(before[longest]))} (" in times
    assert times.startswith("run: about ") and f"({before['search']:,} forward passes)" in times
    pattern = rf"run: {longest} takes most; --config\.([\w.]+)=(\d+) halves \w+; --quick gives a first look"
    field, value = re.fullmatch(pattern, advice).groups()
    config.update_from_flattened_dict({field: int(value)})
    assert passes()[longest] == pytest.approx(before[longest] / 2, rel=0.01 * (method == "learned"), abs=0)


def test_a_stage_says_beside_its_time_how_long_it_was_said_to_take(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(forecast, "_MEASURED_FROM", 0)
    seconds = {"training": 0.001, "search": 100.0, "rates": 200.0, "grafts": 300.0}
    monkeypatch.setattr(forecast, "announce", lambda *_, **__: seconds)
    caplog.set_level(logging.INFO, "fsjax")
    pipeline.run(small_config(stages="train,search,evaluate"), tmp_path, STAGES)
    done = [message for message in caplog.messages if ": done in" in message]
    hours, minutes, left = map(int, re.search(r"0:00 said; the rest about (.+?) at this pace\)", done[0])[1].split(":"))
    taken = (3600 * hours + 60 * minutes + left) * 0.001 / 600
    assert done[0].startswith(f"train: done in {progress.clock(taken)} (")
    assert re.match(r"search: done in \d:\d\d \(about 1:40 said; the rest about \d", done[1])
    assert re.match(r"evaluate: done in \d:\d\d \(about 8:20 said\)", done[2])


# Measured on a model whose passes take 0.2 ms an image, and whose backward passes 2, by a clock that they alone move.

FORWARD, BACKWARD = 2e-4, 2e-3
CLOCK = types.SimpleNamespace(now=0.0, monotonic=lambda: CLOCK.now)


def takes(seconds, images):
    def move(images):
        CLOCK.now += seconds * len(images)
        return images

    return jax.pure_callback(move, jax.ShapeDtypeStruct(images.shape, images.dtype), images)


@jax.custom_vjp
def slow(images):
    return takes(FORWARD, images)


slow.defvjp(lambda images: (slow(images), None), lambda _, gradients: (takes(BACKWARD, gradients),))


def slow_model(images):
    return slow(images).sum(3)[:, 3, :2]


@pytest.mark.parametrize(("search", "of_search"), [("removal", FORWARD), ("graft", (FORWARD + BACKWARD) / 3)])
def test_from_python_the_times_are_the_model_s_and_its_gradients_own(monkeypatch, capsys, search, of_search):
    monkeypatch.setattr(forecast, "_MEASURED_FROM", 0)
    monkeypatch.setattr(forecast, "time", CLOCK)
    monkeypatch.setattr(forecast.logger, "isEnabledFor", lambda level: False)  # commands in other tests show the log
    config = small_config(search__method=search, evaluate__pairs=120)
    images, labels = np.zeros((8, 8, 8, 1), np.float32), np.arange(8) % 2
    model, searched = as_model(slow_model, images, 2), ArrayDataset(images, labels, ("a", "b"))
    seconds = forecast.announce("analyse:", config, model, {"search": 3000, "grafts": 1000}, searched)
    assert seconds == pytest.approx({"search": 3000 * of_search, "grafts": 1000 * FORWARD})
    times, advice = capsys.readouterr().err.splitlines()
    assert times.startswith("analyse: about 0:")
    assert re.match(r"analyse: search takes most; (images_per_class|paths)=", advice)


def test_a_forecast_compiles_next_to_nothing_that_the_analysis_does_not(monkeypatch):
    rng, labels = np.random.default_rng(0), np.arange(48) % 2
    images = rng.normal(size=(48, 8, 8, 1)).astype(np.float32)

    def compiled(measured_from):
        """Programs that two searches and an evaluation compile, with a model of their own."""
        weights = jnp.asarray(rng.normal(size=(64, 2)), jnp.float32)
        monkeypatch.setattr(forecast, "_MEASURED_FROM", measured_from)
        before = progress.compiled()[0]
        model = lambda images: images.reshape(-1, 64) @ weights  # noqa: E731 - a closure, as people have it
        fsjax.dominant_frequencies(model, images[:24], labels[:24], shares=(0.2,), search="removal", resamples=2)
        train, test = (images[:24], labels[:24]), (images[24:], labels[24:])
        fsjax.analyse(model, train=train, test=test, shares=(0.2,), search="graft", pairs=4, grid=())
        return progress.compiled()[0] - before

    compiled(1e12)
    assert compiled(0) <= compiled(1e12) + 2
