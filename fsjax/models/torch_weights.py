"""Files of PyTorch weights, in and out. Nothing in a file ever runs; PyTorch itself is needed for writing only."""

import pathlib
import pickle
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from fsjax import inert_pickle, workdir
from fsjax.errors import InputError
from fsjax.storage import Path

if TYPE_CHECKING:
    import torch

# Where training scripts put the state dict: Lightning's name first.
_KEYS = ("state_dict", "model_state_dict", "model", "net")


def read(path: str | Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The state dict in a file: .safetensors, or what torch.save wrote (.pt, .pth, .ckpt), alone or in a checkpoint.

    PyTorch, where it is installed, reads with `weights_only=True`; what it refuses, such as a module among a Lightning
    checkpoint's hyper-parameters, is read by `fsjax.inert_pickle`, which leaves out whatever is not a plain value.

    Raises:
      InputError: the file is missing or damaged, or holds no state dict.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; accepted: PyTorch weights (.pt, .pth, .ckpt, .safetensors)")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for key in _KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if isinstance(content, inert_pickle.Inert):
        raise InputError(
            f"{path}: holds a pickled {content.name}, not its weights; in PyTorch, save its state_dict() once: "
            "torch.save(model.state_dict(), FILE)"
        )
    if not isinstance(content, dict) or not any(isinstance(value, np.ndarray) for value in content.values()):
        raise InputError(f"{path}: holds no state dict; accepted: key -> tensor, alone or under {', '.join(_KEYS)}")
    others = [str(key) for key, value in content.items() if not isinstance(value, np.ndarray)]
    if others:
        raise InputError(f"{path}: {others[0]} is no tensor; accepted: a state dict of tensors only")
    return dict(content)


def write(path: str | Path, state: Mapping[str, Shaped[np.ndarray, "..."]]) -> None:
    """Writes a state dict as torch.save does, atomically.

    Raises:
      InputError: PyTorch is not installed.
    """
    with workdir.replacing(pathlib.Path(path)) as file:
        _torch().save({key: tensor(array) for key, array in state.items()}, file)


def tensor(array: Shaped[np.ndarray, "..."]) -> "torch.Tensor":
    """A tensor with a copy of an array's numbers.

    Raises:
      InputError: PyTorch is not installed.
    """
    return _torch().from_numpy(np.array(array))


def _torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise InputError("PyTorch is needed to write its files: pip install torch, or 'fsjax[torch]'") from error
    return torch


def _read_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        return inert_pickle.load(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError):
        # Refused or damaged: the other reader takes the first, and says what is wrong with the second.
        return inert_pickle.load(path)
    return _arrays(content)


def _arrays(content: Any) -> Any:
    """The content with arrays for the tensors of the two levels at which a state dict is looked for."""
    import torch

    def array(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        value = value.detach()
        if value.dtype == torch.bfloat16:
            return value.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return value.numpy()

    def deeper(value: Any) -> Any:
        return {key: array(part) for key, part in value.items()} if isinstance(value, dict) else array(value)

    return {key: deeper(value) for key, value in content.items()} if isinstance(content, dict) else deeper(content)


def _read_safetensors(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({' '.join(str(error).split())})") from error
