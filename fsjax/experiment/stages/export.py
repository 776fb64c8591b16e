"""The stage export: the model's weights and its maps as PyTorch code reads them."""

from ml_collections import ConfigDict

from fsjax.experiment.stage import Stage, Workspace
from fsjax.experiment.stages import search
from fsjax.fourier import published_maps
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models import lightning_checkpoint, state_dict
from fsjax.models.source import model_source
from fsjax.models.trained_network import TrainedNetwork
from fsjax.runtime import parallel, torch_files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def check(config: ConfigDict) -> None:
    """Raise InputError for a config whose model PyTorch's module would not be."""
    model_source(config).check_export()
    if config.data.frequencies:
        raise InputError(
            f"data.frequencies: got {config.data.frequencies!r}; expected '' with the stage export, since weights "
            "alone do not tell PyTorch to filter the images"
        )


def _run(workspace: Workspace) -> None:
    config, maps, file = workspace.config, workspace.maps, weights_file(workspace)
    trained = model_source(config).trained_network(workspace.directory)

    def write() -> None:
        export(trained, maps, file, config.search.patch)
        if config.export.lightning:
            arguments = {
                "lr": config.train.learning_rate,
                "num_class": trained.network.num_classes,
                "dataset": config.data.name,
                "image_size": config.data.image_size,
                "masks": config.train.dfmx.maps,
                "p": config.train.dfmx.probability,
            }
            lightning_checkpoint.write(checkpoint_file(workspace), trained, config.model.name, arguments)

    parallel.decide(write)


def weights_file(workspace: Workspace) -> Path:
    """Return the file of the exported state dict."""
    return workspace.directory / "export" / f"{workspace.config.model.name}.pt"


def checkpoint_file(workspace: Workspace) -> Path:
    """Return the file of the exported Lightning checkpoint."""
    return weights_file(workspace).with_suffix(".ckpt")


def export(trained: TrainedNetwork, maps: DominantFrequencyMaps, file: Path, patch: int) -> None:
    """Write a state dict, <model>.pt, and beside it <model>loss<patch>.pkl and <model>_DFM_<per cent>.pkl.

    The state dict has the names of torchvision or timm, or of the imported weights, and loads strictly.

    Raises:
      InputError: PyTorch is not installed.
    """
    state = state_dict.from_variables(trained.variables, trained.naming, trained.copied)
    published_maps.write_maps(maps, file.parent, file.stem, patch)
    torch_files.write(file, state)


def _outputs(workspace: Workspace) -> list[Path]:
    return [weights_file(workspace), *([checkpoint_file(workspace)] if workspace.config.export.lightning else [])]


STAGE = Stage(
    name="export",
    fields=("export",),
    needs=(search.STAGE,),
    check=check,
    by_method=True,
    outputs=_outputs,
    run=_run,
    shown=("export",),
)
