"""Show the progress of long work, trace some of its steps, and count what compiles.

A bar on a terminal, a plain line every few seconds elsewhere.
"""

import collections
import contextlib
import contextvars
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import jax
from tqdm import tqdm

from fsjax.runtime import files, parallel, storage
from fsjax.runtime.storage import Path

LINE_SECONDS = 10
# Updates of progress bars: a trace skips the first, which compile and fill caches, and covers the next.
SKIPPED, TRACED = 3, 5
# The time left follows the pace of this many lines, so that pauses stop counting within a minute.
_PACE_LINES = 6

_COMPILED = "/jax/core/compile/backend_compile_duration"
_on_update: contextvars.ContextVar[Callable[[], object]] = contextvars.ContextVar("on_update", default=lambda: None)


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

        token = _on_update.set(on_update)
        try:
            yield
        finally:
            _on_update.reset(token)


class Progress(contextlib.AbstractContextManager["Progress"]):
    """Counts units done, with rate and time left; only the main process prints. A context manager.

    `unit` is a plural, such as "images"; `done` units were finished by an earlier run and do not change the rate.
    """

    def __init__(self, label: str, total: int, unit: str, *, done: int = 0):
        self.label, self.total, self.unit = label, total, unit
        self.count, self.resumed = done, done
        self.started = time.monotonic()
        # (seconds without compilation, units of this run) at the start and at the last lines, oldest first.
        self._pace = collections.deque([(_working_seconds(), 0)], maxlen=_PACE_LINES)
        self._note, self._observer = "", _on_update.get()
        self._lines = parallel.is_main_process() and not sys.stderr.isatty()
        hidden = self._lines or not parallel.is_main_process()
        self._bar = tqdm(total=total, initial=done, desc=label, unit=f" {unit}", disable=hidden, smoothing=0.1)

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._bar.close()
        if self._lines and kind is None and len(self._pace) > 1:
            self._line()

    def update(self, count: int, note: str = "") -> None:
        """Count units as done; show a note, such as a loss, after the rate."""
        self.count += count
        self._observer()
        if note != self._note:
            self._note = note
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)
        if (now := _working_seconds()) - self._pace[-1][0] >= LINE_SECONDS:
            if self._lines:
                self._line()
            self._pace.append((now, self.count - self.resumed))

    def skip(self, count: int) -> None:
        """Count units as done without changing the rate, because an earlier run finished them."""
        self.count += count
        self.resumed += count
        self._bar.update(count)

    @property
    def seconds(self) -> float:
        """Seconds since this run began."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def rate(self) -> float:
        """Units per second since this run began."""
        return (self.count - self.resumed) / self.seconds

    @property
    def eta(self) -> float:
        """Seconds left, at the pace of the last minute without compilations, which do not come again."""
        since, done = self._pace[0]
        units = self.count - self.resumed - done
        return (self.total - self.count) * (_working_seconds() - since) / units if units > 0 else 0.0

    def _line(self) -> None:
        rate = f"{self.rate:,.0f}" if self.rate >= 10 else f"{self.rate:.2g}"
        parts = f"{self.count:,}/{self.total:,} {self.unit}", f"{rate} {self.unit}/s", f"ETA {clock(self.eta)}"
        print(f"{self.label}: {', '.join(filter(None, (*parts, self._note)))}", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Format seconds as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def compiled() -> tuple[int, float]:
    """Return how many programs this process has compiled, and the seconds spent compiling."""
    return len(_compile_seconds), math.fsum(_compile_seconds)


def _working_seconds() -> float:
    return time.monotonic() - compiled()[1]


def _on_event(event: str, duration_secs: float, **_: str | int) -> None:
    if event == _COMPILED:
        _compile_seconds.append(duration_secs)


_compile_seconds: list[float] = []  # of each program
jax.monitoring.register_event_duration_secs_listener(_on_event)
