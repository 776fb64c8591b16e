"""Progress: one bar on a terminal, plain lines every few seconds elsewhere, nothing of other processes."""

import gzip
import re

import jax
import jax.numpy as jnp
import pytest

from fsjax.runtime import progress
from tests.helpers.processes import python

# Ten updates, of which the fourth to the seventh take six seconds each and the others none.
PROGRAM = """
import time
now = [0.0]
time.monotonic = lambda: now[0]
from fsjax.runtime.progress import Progress
with Progress("search", 1200, "images", done=200) as progress:
    for index in range(10):
        now[0] += 6.0 if 3 <= index < 7 else 0.0
        progress.update(100, f"loss {index}")
print("done")
"""


def test_elsewhere_than_on_a_terminal_plain_lines_come_at_intervals_and_one_at_the_end():
    done = python(PROGRAM)
    assert done.stdout == "done\n" and "\r" not in done.stderr
    assert done.stderr.splitlines() == [
        # Of the 200 images done before, the rate and the time left know nothing.
        "search: 700/1,200 images, 42 images/s, ETA 0:12, loss 4",
        "search: 900/1,200 images, 29 images/s, ETA 0:10, loss 6",
        "search: 1,200/1,200 images, 42 images/s, ETA 0:00, loss 9",
    ]


def test_units_of_an_earlier_run_keep_the_rate_and_the_time_left_forgets_pauses_within_a_minute(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Progress("grafts", 1000, "images") as shown:
        now[0] = 5.0
        shown.update(100)
        shown.skip(700)
        assert (shown.count, shown.rate, shown.eta) == (800, 20, 10)
    now[0] = 0.0
    with progress.Progress("train", 100_000, "images") as shown:
        for seconds, units in [(3600, 1)] + 10 * [(progress.LINE_SECONDS, 100)]:
            now[0] += seconds
            shown.update(units)
        left = 100_000 - 1001
        assert shown.eta == pytest.approx(left / 10)
        assert shown.rate == pytest.approx(1001 / 3700)
    with progress.Progress("train", 300, "images") as shown:
        monkeypatch.setattr(progress, "_compile_seconds", [*progress._compile_seconds, 40.0])
        now[0] += 50.0
        shown.update(100)
        assert (shown.eta, shown.rate) == (pytest.approx(20), 2)


# Traces and compilations


def annotated(folder):
    """Numbers of the steps that the trace under a folder has seen."""
    (file,) = folder.rglob("*.trace.json.gz")
    return sorted({int(number) for number in re.findall(r"number-(\d+)-", gzip.open(file, "rt").read())})


def work(steps, fails_at=None):
    with progress.Progress("work", steps, "steps") as shown:
        for step in range(1, steps + 1):
            with jax.profiler.TraceAnnotation(f"number-{step}-"):
                jax.block_until_ready(jnp.ones(100) * step)
            if step == fails_at:
                raise ArithmeticError
            shown.update(1)


def test_a_trace_covers_five_steps_after_those_that_compile_and_an_error_leaves_none(tmp_path):
    with progress.tracing(tmp_path / "train"):
        work(20)
    assert annotated(tmp_path / "train") == [4, 5, 6, 7, 8]
    with progress.tracing(tmp_path / "train"):
        work(6)
    assert annotated(tmp_path / "train") == [4, 5, 6], "the next one takes its place"
    with progress.tracing(None):
        work(20)
    with pytest.raises(ArithmeticError), progress.tracing(tmp_path / "train"):
        work(20, fails_at=5)
    assert not list(tmp_path.iterdir())
    with progress.tracing(tmp_path / "again"):
        work(20)
    assert annotated(tmp_path / "again") == [4, 5, 6, 7, 8]


def test_what_compiles_is_counted_once():
    programs, seconds = progress.compiled()
    twice = jax.jit(lambda x: jnp.sin(x) @ x * 1.23456)
    argument = jnp.ones((3, 3))
    before = progress.compiled()[0]
    twice(argument)
    assert progress.compiled()[0] == before + 1 and progress.compiled()[1] > seconds
    twice(argument)
    assert progress.compiled()[0] == before + 1 > programs
