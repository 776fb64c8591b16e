"""Numbers of a run: what was written stays whole, on a disk and in a store, whatever stopped the writer."""

import json
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from fsjax.runtime import metrics as module
from fsjax.runtime.metrics import Metrics
from tests.helpers.places import full_disk, store
from tests.helpers.refused import refused


def write(place, *steps):
    metrics = Metrics(place)
    for step in steps:
        metrics.write("train", step, {"loss": step / 2, "ratio": float("inf")})
    metrics.close()


def lines(place):
    found = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    return [(line["stage"], line["step"], line["loss"], line["ratio"]) for line in found]


def events(file):
    """(tag, step, value) of every scalar, read as TFRecords: length, its check, the event, its check."""
    content, at, found = file.read_bytes(), 0, []
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        at += 16 + length
    return found


def test_every_start_appends_to_the_lines_and_leaves_events_of_its_own(place, monkeypatch):
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)  # as if the clock had been moved back between the two
    write(place, 1, 2)
    write(place, 3)
    assert lines(place) == [("train", 1, 0.5, None), ("train", 2, 1.0, None), ("train", 3, 1.5, None)]
    one, other = sorted((events(file) for file in (place / "tensorboard").glob("events*")), key=len)
    assert one == [("train/loss", 3, 1.5), ("train/ratio", 3, float("inf"))]
    assert other[::2] == [("train/loss", 1, 0.5), ("train/loss", 2, 1.0)] and len(other) == 4


def test_an_outcome_takes_the_place_of_the_one_before(place):
    for accuracy in (0.5, 0.75):
        metrics = Metrics(place)
        metrics.outcome("removal", {"seed": 1}, {"accuracy": accuracy})
        metrics.close()
    (file,) = (place / "tensorboard" / "removal").glob("events*")
    assert [event for event in events(file) if event[0] == "accuracy"] == [("accuracy", 0, 0.75)]


@pytest.mark.parametrize("cut", [1, 20])
def test_an_unfinished_line_is_dropped_and_the_next_one_stands_alone(place, cut):
    write(place, 1, 2, 3)
    file = place / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    write(place, 4)
    assert [step for _, step, _, _ in lines(place)] == [1, 2, 4]


def test_a_store_gets_the_lines_at_intervals_and_what_it_had_is_taken_up(monkeypatch):
    place = store()
    write(place, 1)
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    metrics = Metrics(place)
    metrics.write("train", 2, {"loss": 0.0, "ratio": 0.0})
    assert [step for _, step, _, _ in lines(place)] == [1]
    now[0] += module.UPLOAD_SECONDS + 1
    metrics.write("train", 3, {"loss": 0.0, "ratio": 0.0})
    metrics.write("train", 4, {"loss": 0.0, "ratio": 0.0})
    assert [step for _, step, _, _ in lines(place)] == [1, 2, 3]
    metrics.close()
    assert [step for _, step, _, _ in lines(place)] == [1, 2, 3, 4]


def test_a_full_disk_is_one_error_that_names_the_file_and_the_next_start_goes_on(tmp_path):
    write(tmp_path, 1)
    size = (tmp_path / "metrics.jsonl").stat().st_size
    metrics = Metrics(tmp_path)
    with full_disk(size + 10):
        message = r"metrics\.jsonl: cannot be written \(File too large\)"
        refused(message, metrics.write, "train", 2, {"loss": 1.0, "ratio": 0.0})
    metrics.close()
    write(tmp_path, 3)
    assert [step for _, step, _, _ in lines(tmp_path)] == [1, 3]
