"""The export stage: the model's weights and its maps as PyTorch code reads them."""

from fsjax.fourier import published_maps
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models import state_dict
from fsjax.models.trained import Trained
from fsjax.runtime import torch_files
from fsjax.runtime.storage import Path


def weights_file(directory: Path, model: str) -> Path:
    """The state dict that `run` leaves in a workdir for a model of this name."""
    return directory / "export" / f"{model}.pt"


def run(trained: Trained, maps: DominantFrequencyMaps, directory: Path, model: str, patch: int) -> None:
    """Writes export/<model>.pt, a state dict, and export/<model>loss<patch>.pkl and <model>_DFM_<per cent>.pkl.

    The state dict has the names of torchvision or timm, or, where the weights came from PyTorch, the names they had
    there: the same module loads it strictly.

    Raises:
      InputError: PyTorch is not installed.
    """
    state = state_dict.from_variables(trained.variables, trained.naming, trained.copied)
    file = weights_file(directory, model)
    published_maps.write_maps(maps, file.parent, model, patch)
    torch_files.write(file, state)
