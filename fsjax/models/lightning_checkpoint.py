"""Write weights as a checkpoint of PyTorch Lightning that the published code loads."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from fsjax.models import state_dict
from fsjax.models.naming import PUBLISHED_RESNET
from fsjax.models.trained_network import TrainedNetwork
from fsjax.runtime import torch_files
from fsjax.runtime.storage import Path

# The attribute of the published LightningModule that holds the network.
_PREFIX = "backbone_model."
# Version of the file format, which Lightning 2 upgrades when it loads the file.
_VERSION = "1.9.0"
# Our name -> the block and the blocks of each stage that construct the published ResNet.
_PUBLISHED = {
    "resnet18_cifar": ("BasicBlock", [2, 2, 2, 2]),
    "resnet34_cifar": ("BasicBlock", [3, 4, 6, 3]),
    "resnet50_cifar": ("Bottleneck", [3, 4, 6, 3]),
    "resnet101_cifar": ("Bottleneck", [3, 4, 23, 3]),
}


def write(path: Path, trained: TrainedNetwork, name: str, hyper_parameters: Mapping[str, str | int | float]) -> None:
    """Write a checkpoint that the published `Model.load_from_checkpoint(path)` loads strictly.

    A ResNet with a 3 x 3 stem gets the published names, with its stem and stages twice; other models keep the names of
    their state dict. The published code pickles the network among the hyper-parameters. For its networks this file has
    a call of their constructor, which works in the folder of that code. For others the caller gives a network:
    `load_from_checkpoint(path, backbone_model=...)`.

    `name` is a key of fsjax.models.MODELS; `hyper_parameters` are arguments of the LightningModule. Raises InputError
    where PyTorch is not installed.
    """
    naming, copied = trained.naming, trained.copied
    if name.startswith("resnet") and not name.endswith("_imagenet"):
        naming, copied = PUBLISHED_RESNET, True
    state = state_dict.from_variables(trained.variables, naming, copied)
    network = {}
    if name in _PUBLISHED:
        block, blocks = _PUBLISHED[name]
        parts = _imported("blocks.resnet.Blocks", block), blocks, trained.network.num_classes
        network["backbone_model"] = _Call(_imported("backbone.resnet", "ResNet"), *parts)
    entries = {
        "pytorch-lightning_version": _VERSION,
        "epoch": 0,
        "global_step": 0,
        "hparams_name": "kwargs",
        "hyper_parameters": {**network, **hyper_parameters},
        # The checkpoint resumes no training.
        **{"callbacks": {}, "optimizer_states": [], "lr_schedulers": [], "loops": {}},
    }
    torch_files.write(path, {f"{_PREFIX}{key}": array for key, array in state.items()}, entries)


def _imported(module: str, name: str) -> "_Call":
    """Return the import of a class of the published code, which need not exist here."""
    return _Call(getattr, _Call(importlib.import_module, module), name)


class _Call:
    """A pickle of a call, which is made when the file is loaded."""

    def __init__(self, function: Callable, *arguments: Any):
        self._function, self._arguments = function, arguments

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self._function, self._arguments

    def __call__(self) -> None:
        """Do nothing; pickle requires that a function is callable."""
