"""Read and write files of PyTorch weights. Nothing in a file runs; only writing needs PyTorch."""

import io
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from fsjax.runtime import files, inert_pickle, storage
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.pickle_constructors import Inert
from fsjax.runtime.storage import Path

if TYPE_CHECKING:
    import torch

# Keys under which training scripts store the state dict; Lightning's first.
_KEYS = ("state_dict", "model_state_dict", "model", "net")


def read(path: str | Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read the state dict of a .safetensors file or of one of torch.save (.pt, .pth, .ckpt), alone or in a checkpoint.

    `inert_pickle` reads the latter and leaves out objects such as a module among a Lightning checkpoint's
    hyper-parameters. `torch.load(weights_only=True)` refuses those, and a small file may make it allocate gigabytes.

    Raises:
      InputError: the file is missing or damaged, or holds no state dict.
    """
    path = storage.path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected PyTorch weights (.pt, .pth, .ckpt, .safetensors)")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else inert_pickle.load(path)
    for key in _KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if isinstance(content, Inert):
        raise InputError(
            f"{path}: holds a pickled {content.name}, not its weights; in PyTorch, save its state_dict() once: "
            "torch.save(model.state_dict(), FILE)"
        )
    if not isinstance(content, dict) or not any(isinstance(value, np.ndarray) for value in content.values()):
        raise InputError(f"{path}: holds no state dict; expected key -> tensor, alone or under {', '.join(_KEYS)}")
    others = [str(key) for key, value in content.items() if not isinstance(value, np.ndarray)]
    if others:
        raise InputError(f"{path}: {others[0]} is no tensor; expected a state dict of tensors only")
    return dict(content)


def write(path: str | Path, state: Mapping[str, Shaped[np.ndarray, "..."]], beside: Mapping | None = None) -> None:
    """Write a state dict as torch.save does, atomically; raise InputError where PyTorch is not installed.

    With entries `beside` it, plain values by key, the file is a checkpoint that has the state dict under 'state_dict'.
    """
    tensors = {key: tensor(array) for key, array in state.items()}
    content = io.BytesIO()  # in memory: for a full disk, PyTorch raises an error of its own
    _torch().save(tensors if beside is None else {"state_dict": tensors, **beside}, content)
    with files.replacing(storage.path(path)) as file:
        file.write(content.getbuffer())


def tensor(array: Shaped[np.ndarray, "..."]) -> "torch.Tensor":
    """Return a tensor with a copy of an array; raise InputError where PyTorch is not installed."""
    return _torch().from_numpy(np.array(array))


def _torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise InputError("PyTorch is needed to write its files: pip install torch, or 'fsjax[torch]'") from error
    return torch


def _read_safetensors(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({one_line(error)})") from error
