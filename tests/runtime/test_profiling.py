"""A trace covers a few steps and no others, of a run that goes on as it was; what compiles is counted."""

import gzip
import re

import jax
import jax.numpy as jnp
import pytest

from fsjax.runtime import profiling
from fsjax.runtime.progress import Progress


def annotated(folder):
    """Numbers of the steps that the trace under a folder has seen."""
    (file,) = folder.rglob("*.trace.json.gz")
    return sorted({int(number) for number in re.findall(r"number-(\d+)-", gzip.open(file, "rt").read())})


def work(steps, fails_at=None):
    with Progress("work", steps, "steps") as progress:
        for step in range(1, steps + 1):
            with jax.profiler.TraceAnnotation(f"number-{step}-"):
                jax.block_until_ready(jnp.ones(100) * step)
            if step == fails_at:
                raise ArithmeticError
            progress.update(1)


def test_a_trace_covers_five_steps_after_those_that_compile(tmp_path):
    with profiling.tracing(tmp_path / "train"):
        work(20)
    assert annotated(tmp_path / "train") == [4, 5, 6, 7, 8]
    with profiling.tracing(tmp_path / "train"):
        work(6)
    assert annotated(tmp_path / "train") == [4, 5, 6], "the next one takes its place"


def test_without_a_folder_nothing_is_traced_and_an_error_leaves_none_behind(tmp_path):
    with profiling.tracing(None):
        work(20)
    with pytest.raises(ArithmeticError), profiling.tracing(tmp_path / "train"):
        work(20, fails_at=5)
    assert not list(tmp_path.iterdir())
    with profiling.tracing(tmp_path / "again"):
        work(20)
    assert annotated(tmp_path / "again") == [4, 5, 6, 7, 8]


def test_what_compiles_is_counted_once():
    programs, seconds = profiling.compiled()
    twice = jax.jit(lambda x: jnp.sin(x) @ x * 1.23456)
    argument = jnp.ones((3, 3))
    before = profiling.compiled()[0]
    twice(argument)
    assert profiling.compiled()[0] == before + 1 and profiling.compiled()[1] > seconds
    twice(argument)
    assert profiling.compiled()[0] == before + 1 > programs
