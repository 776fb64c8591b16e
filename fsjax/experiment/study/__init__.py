"""A grid of trainings, searched and judged alike, and the table that compares them."""

from fsjax.experiment.study.grid import Cell, cells
from fsjax.experiment.study.stage import run

__all__ = ["Cell", "cells", "run"]
