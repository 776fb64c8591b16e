"""A part of the report page."""

import dataclasses
from typing import Protocol

from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report.plane import Plane
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and what stands under it.

    Attributes:
      title: plain text.
      body: HTML, everything foreign in it escaped: what a template of fsjax.report.html renders.
      planes: what the page can show of each class in place of its scores.
    """

    title: str
    body: str
    planes: tuple[Plane, ...] = ()


class Maker(Protocol):
    """A module that makes a section."""

    def inputs(self, directory: Path, method: str) -> list[Path]:
        """The results in a workdir that the section shows, of a search method; it is left out where one is missing."""

    def make(self, directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
        """The section; its figures go to report/figures, too."""
