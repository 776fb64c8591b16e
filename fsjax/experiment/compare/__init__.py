"""Two sets of maps beside each other."""

from fsjax.experiment.compare.stage import check, run

__all__ = ["check", "run"]
