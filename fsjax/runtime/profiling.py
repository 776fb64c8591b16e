"""Where time goes: a JAX trace of a few steps of each stage, the seconds spent compiling, the devices' memory.

Progress, which counts the units of everything long, tells a trace when to begin and when to end.
"""

import contextlib
import math
import pathlib
from collections.abc import Iterator

import jax

from fsjax.runtime import files, storage
from fsjax.runtime.storage import Path

# Calls of Progress.update that a trace leaves out, which compile and fill caches, and then covers.
SKIPPED, TRACED = 3, 5

_COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def tracing(directory: Path | None) -> Iterator[None]:
    """Writes a trace of the block's first steps, in place of one that is there; None = no trace.

    TensorBoard's profile plugin and Perfetto read it.
    """
    global _trace
    if directory is None:
        yield
        return
    storage.remove(directory)
    with files.replacing_folder(directory) as folder:
        outer, _trace = _trace, _Trace(folder)
        try:
            yield
        finally:
            _trace.stop()
            _trace = outer


def step() -> None:
    """Progress has counted another step."""
    if _trace:
        _trace.step()


class _Trace:
    def __init__(self, directory: pathlib.Path):
        self.directory, self.steps, self.running = directory, 0, False

    def step(self) -> None:
        self.steps += 1
        if self.steps == SKIPPED:
            jax.profiler.start_trace(str(self.directory))
            self.running = True
        elif self.steps == SKIPPED + TRACED:
            self.stop()

    def stop(self) -> None:
        if self.running:
            self.running = False
            jax.profiler.stop_trace()


_trace: _Trace | None = None


def compiled() -> tuple[int, float]:
    """How many programs this process has compiled so far, and the seconds that took."""
    return len(_compiled), math.fsum(_compiled)


def _count(event: str, duration_secs: float, **_: str | int) -> None:
    if event == _COMPILED:
        _compiled.append(duration_secs)


_compiled: list[float] = []  # seconds of each
jax.monitoring.register_event_duration_secs_listener(_count)
