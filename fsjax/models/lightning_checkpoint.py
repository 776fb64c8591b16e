"""Write weights as a checkpoint of PyTorch Lightning that the published code loads.

Examples:
  >>> write("resnet20.ckpt", trained, "resnet20", {"lr": 0.01})  # a TrainedNetwork
  >>> sorted(torch_files.read("resnet20.ckpt"))[0]
  'backbone_model.bn1.bias'
"""

from collections.abc import Mapping

from fsjax.models import state_dict
from fsjax.models.naming import PUBLISHED_RESNET
from fsjax.models.trained import TrainedNetwork
from fsjax.runtime import torch_files
from fsjax.runtime.storage import Path

# The attribute of the published LightningModule that holds the network.
_PREFIX = "backbone_model."
# Of the form of the file, which Lightning 2 brings up to date as it loads it.
_VERSION = "1.9.0"


def write(
    path: str | Path, trained: TrainedNetwork, name: str, hyper_parameters: Mapping[str, str | int | float]
) -> None:
    """Write a checkpoint that `Model.load_from_checkpoint(path, backbone_model=...)` loads strictly.

    A ResNet with a 3 x 3 stem has the names of the published one, its stem and stages twice; any other model has those
    of its state dict. The published code itself stores the network among the hyper-parameters as a pickled module;
    this file has plain values only, so the network is given by the caller.

    Args:
      path: of the file, such as `resnet18.ckpt`.
      trained: the network.
      name: of the model, a key of fsjax.models.MODELS.
      hyper_parameters: arguments of the LightningModule, by name; it takes those that it has.

    Raises:
      InputError: PyTorch is not installed.
    """
    naming, copied = trained.naming, trained.copied
    if name.startswith("resnet") and not name.endswith("_imagenet"):
        naming, copied = PUBLISHED_RESNET, True
    state = state_dict.from_variables(trained.variables, naming, copied)
    beside = {
        "pytorch-lightning_version": _VERSION,
        "epoch": 0,
        "global_step": 0,
        "hparams_name": "kwargs",
        "hyper_parameters": dict(hyper_parameters),
        # There is no training to go on with.
        **{"callbacks": {}, "optimizer_states": [], "lr_schedulers": [], "loops": {}},
    }
    torch_files.write(path, {f"{_PREFIX}{key}": array for key, array in state.items()}, beside)
