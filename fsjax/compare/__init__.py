"""Two sets of maps beside each other."""

from fsjax.compare.stage import check, run

__all__ = ["check", "run"]
