"""Ratios of two sides that run in turn, so that other load on the machine affects both."""

import time
from collections.abc import Callable

import jax
import numpy as np


def rates(
    sides: dict[str, Callable[[], int]], pairs: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Return the units a second of each side in each round; with `clock=time.process_time`, a second of CPU time.

    A side does its work, waits for the result and returns its number of units. Every round reverses the order.
    """
    per_second = {name: np.zeros(pairs) for name in sides}
    for index in range(pairs):
        for name in list(sides)[:: 1 if index % 2 else -1]:
            started = clock()
            done = sides[name]()
            per_second[name][index] = done / (clock() - started)
    return per_second


def timed_rounds(call: Callable, batch: int, images: float) -> Callable[[], int]:
    """Return a side of a comparison that repeats a call until it has processed about this many images."""
    repeats = max(1, round(images / batch))

    def run() -> int:
        jax.block_until_ready([call() for _ in range(repeats)])
        return repeats * batch

    return run


def ratio(over: np.ndarray, under: np.ndarray) -> dict[str, float | list[float]]:
    """Return the median of the rounds' ratios, with a bootstrap 95 % interval."""
    ratios = over / under
    drawn = np.random.default_rng(0).choice(ratios, (4000, len(ratios)))
    interval = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return {"ratio": round(float(np.median(ratios)), 4), "interval": [round(float(end), 4) for end in interval]}
