"""A part of the report page."""

import dataclasses
from typing import Protocol

from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report.plane import Plane
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and the content under it.

    Attributes:
      title: plain text.
      body: HTML that a template of fsjax.report.html rendered, with every value escaped.
      planes: values of each class that the page can show in place of its scores.
    """

    title: str
    body: str
    planes: tuple[Plane, ...] = ()


class Maker(Protocol):
    """A module that makes a section."""

    def inputs(self, directory: Path, method: str) -> list[Path]:
        """Return the results of a search method that the section needs; it is left out where one is missing."""

    def make(self, directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
        """Return the section; its figures are also written to report/<method>/figures."""
