"""What a page is about: the maps of a method in a workdir, and what was measured of them."""

import dataclasses

from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.results import Evaluation, MethodEvaluation
from fsjax.fourier import dfm
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import index
from fsjax.runtime.storage import Path


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """The subject of a page.

    Attributes:
      config: of the run.
      directory: the workdir.
      classifier: the model.
      maps: of config.search.method.
      test: images that are shown filtered.
      evaluation: of the workdir.
    """

    config: ConfigDict
    directory: Path
    classifier: Model
    maps: DominantFrequencyMaps
    test: Dataset
    evaluation: Evaluation

    @property
    def evaluated(self) -> MethodEvaluation:
        """What was measured of the maps."""
        return self.evaluation.methods[self.maps.method]

    @property
    def grafts(self) -> Grafts | None:
        """The grafts of the maps; None where there are none."""
        return self.evaluated.grafts

    @property
    def share(self) -> float:
        """The share of the maps that the page begins with."""
        return self.maps.nearest(self.config.report.share)

    @property
    def threshold(self) -> float:
        """The TPR above which a class is a shortcut as published."""
        return self.config.evaluate.threshold

    @property
    def folder(self) -> Path:
        """Where the page lies."""
        return index.page_folder(self.directory, self.maps.method)

    @property
    def maps_file(self) -> Path:
        """The file of the maps."""
        return dfm.file_in(self.directory, self.maps.method)
