"""What the stages of a run share: its config, its workdir, and data and results opened on first use."""

import functools
from collections.abc import Iterable

import numpy as np
from ml_collections import ConfigDict

from fsjax import data
from fsjax.data import listing
from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import measure_mean_std
from fsjax.engine.model import Model
from fsjax.fourier import dfm
from fsjax.models.source import model_source
from fsjax.runtime import parallel, writers
from fsjax.runtime.errors import InputError
from fsjax.runtime.metrics import Metrics
from fsjax.runtime.storage import Path


class Workspace:
    """A config, its workdir, and what stages read, opened on first use."""

    def __init__(self, config: ConfigDict, directory: Path):
        self.config, self.directory = config, directory
        self._datasets: dict[str, Dataset] = {}

    @functools.cached_property
    def metrics(self) -> Metrics:
        """Where the numbers of this start of the run go; whoever opens it closes it."""
        return Metrics(self.directory, lambda: writers.start_wandb(self.config, self.directory))

    def dataset(self, split: str) -> Dataset:
        """Return the 'train', 'validation' or 'test' images."""
        if split not in self._datasets:
            dataset = data.load(self.config.data, split, self.config.seed)
            if parallel.is_main_process():
                listing.check(self.directory / "images.json", split, dataset)
            self._datasets[split] = dataset
        return self._datasets[split]

    def open(self, splits: Iterable[str]) -> dict[str, Dataset]:
        """Open splits of the data, each once, before anything rests on one of them; no image is decoded.

        Raises:
          InputError: a split that cannot be read, or one that lacks a class of another.
        """
        opened = {split: self.dataset(split) for split in dict.fromkeys(splits)}
        first, *others = opened or ("",)
        for split in others:
            for lacking, having in ((split, first), (first, split)):
                missing = [name for name in opened[having].classes if name not in opened[lacking].classes]
                if missing:
                    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
                    raise InputError(
                        f"data: got no class {', '.join(map(repr, missing[:3]))}{more} in the {lacking} images, which "
                        f"the {having} images have; expected the same classes in every split, or data.classes=..., "
                        "which chooses some"
                    )
        return opened

    @functools.cached_property
    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of pixels in [0, 1], per channel: the config's, or of the training images."""
        if self.config.data.mean:
            return np.array(self.config.data.mean, float), np.array(self.config.data.std, float)
        return measure_mean_std(self.dataset("train"))

    @functools.cached_property
    def classifier(self) -> Model:
        """The trained classifier of this workdir."""
        return model_source(self.config).model(self.directory)

    @property
    def maps_file(self) -> Path:
        """The file of maps of the config's search method."""
        return dfm.file_in(self.directory, self.config.search.method)

    @functools.cached_property
    def maps(self) -> dfm.DominantFrequencyMaps:
        """The maps of the config's search method; raises InputError where they are not searched yet."""
        if not self.maps_file.exists():
            raise InputError(f"{self.maps_file}: no maps; run the stage search first (--config.stages=search,...)")
        maps = dfm.DominantFrequencyMaps.load(self.maps_file)
        self.classifier.check_classes(maps.classes, str(self.maps_file))
        return maps
