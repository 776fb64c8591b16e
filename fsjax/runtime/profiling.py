"""Profile a run: a JAX trace of a few steps of each stage, and the seconds spent compiling."""

import contextlib
import itertools
import math
from collections.abc import Iterator

import jax

from fsjax.runtime import files, progress, storage
from fsjax.runtime.storage import Path

# Updates of progress bars: a trace skips the first, which compile and fill caches, and covers the next.
SKIPPED, TRACED = 3, 5

_COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def tracing(directory: Path | None) -> Iterator[None]:
    """Trace the first steps of the block's progress bars, and replace an earlier trace; None = no trace.

    TensorBoard's profile plugin and Perfetto read the trace.
    """
    if directory is None:
        yield
        return
    storage.remove(directory)
    updates = itertools.count(1)
    with files.replacing_folder(directory) as folder, contextlib.ExitStack() as trace:

        def on_update() -> None:
            update = next(updates)
            if update == SKIPPED:
                trace.enter_context(jax.profiler.trace(str(folder)))
            elif update == SKIPPED + TRACED:
                trace.close()

        with progress.observed(on_update):
            yield


def compiled() -> tuple[int, float]:
    """Return how many programs this process has compiled, and the seconds spent compiling."""
    return len(_compile_seconds), math.fsum(_compile_seconds)


def _on_event(event: str, duration_secs: float, **_: str | int) -> None:
    if event == _COMPILED:
        _compile_seconds.append(duration_secs)


_compile_seconds: list[float] = []  # of each program
jax.monitoring.register_event_duration_secs_listener(_on_event)
