"""The stage export: the model's weights and its maps as PyTorch code reads them."""

from ml_collections import ConfigDict

from fsjax.experiment.stage import Stage, Workspace
from fsjax.experiment.stages import search
from fsjax.fourier import published_maps
from fsjax.models import lightning_checkpoint, state_dict
from fsjax.models.source import model_source
from fsjax.runtime import parallel, torch_files
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path


def check(config: ConfigDict) -> None:
    """Raise InputError for a config whose model PyTorch's module would not be."""
    model_source(config).check_export()
    if config.data.frequencies:
        expected = "'' with the stage export, since weights alone do not tell PyTorch to filter the images"
        raise InputError(f"data.frequencies: got {config.data.frequencies!r}; expected {expected}")


def _run(workspace: Workspace) -> None:
    """Write a state dict, <model>.pt, and beside it <model>loss<patch>.pkl and <model>_DFM_<per cent>.pkl.

    The state dict has the names of torchvision or timm, or of the imported weights, and loads strictly.
    """
    config, maps = workspace.config, workspace.maps
    trained = model_source(config).trained_network(workspace.directory)
    file, *checkpoint = _outputs(workspace)

    def write() -> None:
        published_maps.write_maps(maps, file.parent, file.stem, config.search.patch)
        torch_files.write(file, state_dict.from_variables(trained.variables, trained.naming, trained.copied))
        if checkpoint:
            arguments = {
                "lr": config.train.learning_rate,
                "num_class": trained.network.num_classes,
                "dataset": config.data.name,
                "image_size": config.data.image_size,
                "masks": config.train.dfmx.maps,
                "p": config.train.dfmx.probability,
            }
            lightning_checkpoint.write(checkpoint[0], trained, config.model.name, arguments)

    parallel.decide(write)


def _outputs(workspace: Workspace) -> list[Path]:
    """Return the files of the state dict and, with config.export.lightning, of the Lightning checkpoint."""
    file = workspace.directory / "export" / f"{workspace.config.model.name}.pt"
    return [file, *([file.with_suffix(".ckpt")] if workspace.config.export.lightning else [])]


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
