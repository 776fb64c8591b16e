"""Where the model of a run comes from: its training, PyTorch weights, a model file, or a module of torchvision or timm.

Weights that the config names stay where they are. Instead of training, the stage train reads them once, checks them,
and leaves weights.json.
"""

import abc
import copy
import dataclasses
import functools

from ml_collections import ConfigDict

from fsjax import models
from fsjax.data import frequencies, imagenet
from fsjax.data.source import parse_classes
from fsjax.engine.model import Model
from fsjax.models import model_file, published_weights, state_dict, trained_network, weights_record
from fsjax.models.trained_network import TrainedNetwork
from fsjax.runtime import files, parallel, storage, torch_files
from fsjax.runtime.checkpoints import newest_hashes
from fsjax.runtime.errors import InputError, expect
from fsjax.runtime.storage import Path

# The file of a converted module, in the workdir.
_CONVERTED = f"model{model_file.SUFFIX}"


def model_source(config: ConfigDict) -> "ModelSource":
    """Return the source of a run's model, which config.model names."""
    weights = config.model.weights
    if weights and storage.path(weights).suffix == model_file.SUFFIX:
        return ModelFile(config)
    if published_weights.is_library_name(config.model.name):
        return LibraryModule(config)
    return ImportedWeights(config) if weights else Training(config)


class ModelSource(abc.ABC):
    """Where the model of a run comes from.

    Attributes:
      config: of the run.
      trains: whether the stage train trains the model, rather than read the weights that the config names.
    """

    trains = False

    def __init__(self, config: ConfigDict):
        self.config = config

    def check(self) -> None:
        """Raise InputError for a field of config.model that does not fit; reads no weights but a model file."""
        check, outputs = self.config.model.check, self.config.model.outputs
        if check and (self.trains or not storage.path(check).is_file()):
            raise InputError(f"model.check: got {check!r}; expected an .npz of images and logits, with model.weights")
        expect(not (outputs and self.trains), "model.outputs", outputs, "'' without model.weights")
        if outputs == imagenet.CLASSES:
            imagenet.outputs([name for name, _ in parse_classes(self.config.data.classes)], "data.classes")
        file = published_weights.weights_path(self.config)
        if not self.trains and file.is_file() and file.suffix != model_file.SUFFIX:
            metadata = published_weights.read_metadata(file)
            published_weights.choose_mean_std(self.config, metadata.mean_std, metadata.file)

    def check_untrained(self, stage: str) -> None:
        """Raise InputError where a stage that trains meets weights."""
        weights = self.config.model.weights
        expect(not weights, "model.weights", weights, f"'' for the stage {stage}, which trains")

    def describe(self) -> str:
        """Return the model's name and where its weights come from, for the log."""
        return f"{self.config.model.name} with the weights of {self.config.model.weights}"

    def named_config(self) -> ConfigDict:
        """Return the config with the model's name in reports as config.model.name."""
        return self.config

    def weights_files(self) -> list[Path]:
        """Return the file of the weights that the config names, if any; raise InputError where it does not exist."""
        return [weights_record.weights_file(self.config)]

    def identity_file(self, directory: Path) -> Path:
        """Return the file of a workdir that identifies the model once the stage train is done."""
        return directory / weights_record.NAME

    def record(self, directory: Path, classes: tuple[str, ...]) -> None:
        """Check the weights that the config names, for these display names of classes, and leave weights.json.

        Raises:
          InputError: missing or damaged weights, another model's weights, no mean and std, or too few outputs.
        """
        raise NotImplementedError

    def check_export(self) -> None:
        """Raise InputError where the model's arrays have no names that PyTorch could read."""
        raise InputError(
            f"model.weights: got {self.config.model.weights}; expected PyTorch weights or a workdir with the stage "
            "export, since a model file has no names for its arrays"
        )

    def trained_network(self, directory: Path) -> TrainedNetwork:
        """Load the network of a workdir with its weights by name; errors are `check_export`'s and `model`'s."""
        raise NotImplementedError

    @abc.abstractmethod
    def model(self, directory: Path) -> Model:
        """Load the model of a workdir whose stage train is done.

        Raises:
          InputError: there is none, its weights have changed, or the config has another architecture or frequencies.
        """

    def timed_model(self, classes: int) -> Model | None:
        """Return a model as fast as the run's, perhaps with other weights; None before the stage train makes it."""
        return None


class _NetworkSource(ModelSource):
    """A source of one of our networks."""

    def check(self) -> None:
        self._network(2)
        super().check()

    def check_export(self) -> None:
        """Accept every network, since its arrays have PyTorch's names."""

    def model(self, directory: Path) -> Model:
        return self._for_search(self.trained_network(directory))

    def timed_model(self, classes: int) -> Model:
        network = self._network(classes)
        trained = TrainedNetwork(network, network.init(self.config.seed))
        return self._for_search(trained)

    def _for_search(self, trained: TrainedNetwork) -> Model:
        """Return the model of a network, with a bfloat16 form if the search asks for it."""
        return trained.model(bfloat16=self.config.search.precision == "bfloat16")

    def _network(self, classes: int) -> models.Network:
        return models.build(self.config.model.name, num_classes=classes, image_size=self.config.data.image_size)


class Training(_NetworkSource):
    """The network that the run's stage train trains."""

    trains = True

    def describe(self) -> str:
        return self.config.model.name

    def weights_files(self) -> list[Path]:
        return []

    def identity_file(self, directory: Path) -> Path:
        return newest_hashes(directory / "checkpoints")

    def trained_network(self, directory: Path) -> TrainedNetwork:
        return trained_network.load_checkpoint(self.config, directory)


class ImportedWeights(_NetworkSource):
    """PyTorch weights for one of our networks, or another workdir."""

    def record(self, directory: Path, classes: tuple[str, ...]) -> None:
        imported = self._read()
        others = {"naming": imported.naming.name, frequencies.FIELD: imported.network.packed_frequencies.hex()}
        # PyTorch's logits in model.check are of unfiltered images.
        model = dataclasses.replace(imported, network=imported.network.limited_to(None)).model()
        weights_record.write(self.config, directory, classes, model, **others)

    def trained_network(self, directory: Path) -> TrainedNetwork:
        return self._read_recorded(directory)[0]

    def model(self, directory: Path) -> Model:
        imported, classes = self._read_recorded(directory)
        return weights_record.order_outputs(self.config, self._for_search(imported), classes)

    def _read_recorded(self, directory: Path) -> tuple[TrainedNetwork, tuple[str, ...]]:
        """Return the network, and the data's classes; raise InputError where weights.json does not fit the weights."""
        record, imported = weights_record.read(self.config, directory), self._read()
        if imported.network.packed_frequencies.hex() != record[frequencies.FIELD]:
            raise InputError(
                f"data.frequencies: {self.config.data.frequencies!r} has changed since; run the stage train again"
            )
        return imported, tuple(record["classes"])

    def _read(self) -> TrainedNetwork:
        """Return the network with the weights that the config names; a file of weights tells no classes."""
        config, path = self.config, published_weights.weights_path(self.config)
        if path.is_dir():
            return trained_network.load_checkpoint(config, path)
        metadata = published_weights.read_metadata(path)
        mean_std = published_weights.choose_mean_std(config, metadata.mean_std, metadata.file)
        imported = state_dict.to_network(torch_files.read(path), config.model.name, config.data.image_size, str(path))
        pool = "token" if config.model.name.startswith("vit") and "_gap" not in config.model.name else "avg"
        published_weights.check_metadata(metadata, config.model.name, pool)
        seen = frequencies.read(config.data.frequencies, config.data.image_size)
        return dataclasses.replace(imported, network=imported.network.limited_to(seen), mean_std=mean_std)


class _StoredModel(ModelSource):
    """A source whose model is a model file."""

    def record(self, directory: Path, classes: tuple[str, ...]) -> None:
        weights_record.write(self.config, directory, classes, self._read(self._file(directory)), naming="model file")

    def model(self, directory: Path) -> Model:
        model = self._read(self._file(directory))
        return weights_record.order_outputs(
            self.config, model, tuple(weights_record.read(self.config, directory)["classes"])
        )

    @abc.abstractmethod
    def _file(self, directory: Path) -> Path:
        """Return the model file; `directory` is the workdir."""

    def _read(self, path: Path) -> Model:
        """Read the file; raise InputError where the config asks for other images, normalisation or precision."""
        model = _load(path, files.sha256(path)) if path.is_file() else model_file.load_model(path)
        size = self.config.data.image_size
        if model.image_shape != (size, size, 3):
            expected = " x ".join(map(str, model.image_shape))
            raise InputError(f"data.image_size: got {size}; expected the images of {path}, {expected}")
        self._check_fields(model.matmul_precision)
        mean_std = published_weights.choose_mean_std(self.config, model.mean_std, path)
        return dataclasses.replace(model, mean_std=mean_std)

    def _check_fields(self, precision: str) -> None:
        seen, searched = self.config.data.frequencies, self.config.search.precision
        expect(not seen, "data.frequencies", seen, "'' with a model file")
        own = f"highest, since the model file fixes its own precision, {precision}"
        expect(searched == "highest", "search.precision", searched, own)


class ModelFile(_StoredModel):
    """A model file, which config.model.weights names."""

    def check(self) -> None:
        self._read(self._file())
        super().check()

    def named_config(self) -> ConfigDict:
        config = copy.deepcopy(self.config)
        config.model.name = storage.path(config.model.weights).stem
        return config

    def timed_model(self, classes: int) -> Model:
        return self._read(self._file())

    def _file(self, directory: Path | None = None) -> Path:
        return storage.path(self.config.model.weights)


class LibraryModule(_StoredModel):
    """A module of torchvision or timm with the weights of a file, which the stage train converts to a model file."""

    def check(self) -> None:
        published_weights.find_maker(self.config.model.name)
        if not self.config.model.weights:
            raise InputError(
                f"model.weights: got ''; expected a file of PyTorch weights of {self.config.model.name}, which no run "
                "trains"
            )
        self._check_fields("highest")
        super().check()

    def record(self, directory: Path, classes: tuple[str, ...]) -> None:
        parallel.decide(lambda: self._convert(directory))
        super().record(directory, classes)

    def _file(self, directory: Path) -> Path:
        return directory / _CONVERTED

    def _convert(self, directory: Path) -> None:
        module, mean_std = published_weights.read_module(self.config)
        size = self.config.data.image_size
        model_file.save_model(directory / _CONVERTED, module, image_size=size, mean_std=mean_std)


@functools.lru_cache(maxsize=1)
def _load(path: Path, sha256: str) -> Model:
    """Read a model file once for a whole run: its check, the estimate of time, and the stages."""
    del sha256
    return model_file.load_model(path)
