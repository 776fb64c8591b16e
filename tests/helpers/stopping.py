"""Searches that stop at their safe point, as after SIGTERM."""

from fsjax.runtime import interrupt
from fsjax.search.sweep import Throughput


class Stopped(Exception):
    """What the search ends with."""


def stop_after(monkeypatch, counts, counter=Throughput):
    """Stop a search at its next safe point after so many counts of its work; return the list of what was counted."""
    seen, counted = [], counter.count

    def count(self, *arguments):
        seen.append(arguments)
        counted(self, *arguments)

    def check():
        if len(seen) >= counts:
            raise Stopped

    monkeypatch.setattr(counter, "count", count)
    monkeypatch.setattr(interrupt, "check", check)
    return seen
