"""A checkpoint of PyTorch Lightning."""

import pathlib

import torch


def lightning(model):
    """A checkpoint as PyTorch Lightning writes it: a prefix, and the module itself among the hyper-parameters."""
    return {
        "epoch": 3,
        "state_dict": {f"backbone_model.{key}": value for key, value in model.state_dict().items()},
        "hyper_parameters": {"backbone_model": model, "lr": 0.01},
        "optimizer_states": [{"state": {0: torch.ones(2)}, "path": pathlib.PurePosixPath("a")}],
    }
