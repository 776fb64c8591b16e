"""Read PyTorch weights and pickles of arrays, and write weights. Nothing in a file runs.

.safetensors need no PyTorch. `torch.load(weights_only=True)` reads files of torch.save. An unpickler of ours reads
plain pickles, and archives that torch.load refuses, such as a Lightning checkpoint with a module among its
hyper-parameters. For it an unknown global is an `Inert` object.
"""

import collections
import contextlib
import io
import pickle
import sys
import types
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import safetensors
from jaxtyping import Shaped

from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.storage import Path

if TYPE_CHECKING:
    import torch

# Keys under which training scripts store the state dict; Lightning's first.
_KEYS = ("state_dict", "model_state_dict", "model", "net")
_LEGACY = 0x1950A86A20F9469CFC6C  # the first of the pickles that torch.save wrote before PyTorch 1.6


def read(path: str | Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read the state dict of a .safetensors file or of a file of torch.save (.pt, .pth, .ckpt), possibly a checkpoint.

    Raise InputError where the file is missing or damaged, has no state dict, or needs PyTorch, which is not installed.
    """
    content = load(path := storage.path(path))
    if isinstance(content, dict):
        content = next((content[key] for key in _KEYS if isinstance(content.get(key), dict)), content)
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


def load(path: Path) -> Any:
    """Load a file of torch.save, a pickle or a .safetensors; raise InputError where `read` does for any file.

    Containers, text and numbers are nested as in the file. Tensors and arrays of numbers become NumPy arrays (ml_dtypes
    for bfloat16); everything else becomes `Inert`.
    """
    try:
        with storage.local(path) as copy:
            if path.suffix == ".safetensors":
                with safetensors.safe_open(copy, framework="numpy") as tensors:
                    return {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118 - not a mapping
            with copy.open("rb") as file:
                return _plain(_unpickled(file))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a pickle, a PyTorch file or .safetensors") from error
    except Exception as error:  # untrusted input: unpickling may raise anything
        kind = "safetensors" if path.suffix == ".safetensors" else "pickle or PyTorch"
        raise InputError(f"{path}: not a readable {kind} file ({one_line(error)[:300]})") from error


def write(path: str | Path, state: Mapping[str, Shaped[np.ndarray, "..."]], beside: Mapping | None = None) -> None:
    """Write a state dict as torch.save does, atomically; raise InputError where PyTorch is not installed.

    With entries `beside` it, the file is a checkpoint that has the state dict under 'state_dict'.
    """
    tensors = {key: tensor(array) for key, array in state.items()}
    content = io.BytesIO()  # in memory: for a full disk, PyTorch raises an error of its own
    _torch().save(tensors if beside is None else {"state_dict": tensors, **beside}, content)
    with files.replacing(storage.path(path)) as file:
        file.write(content.getbuffer())


def tensor(array: Shaped[np.ndarray, "..."]) -> "torch.Tensor":
    """Return a tensor with a copy of an array; raise InputError where PyTorch is not installed."""
    return _torch().from_numpy(np.array(array))


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise InputError("PyTorch is not installed: pip install 'fsjax[torch]'") from error
    return torch


def _unpickled(file: io.BufferedIOBase | IO[bytes]) -> Any:
    is_archive = file.read(2) == b"PK"
    file.seek(0)
    if not is_archive:
        content = _Unpickler(file).load()
        if type(content) is not int or content != _LEGACY:
            return content
        file.seek(0)
    try:
        return _torch().load(file, "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not is_archive:
            raise ValueError("more than tensors, from before PyTorch 1.6; there, save its state_dict()") from error
        file.seek(0)
        ours = types.SimpleNamespace(__name__="inert", Unpickler=_Unpickler)
        return _torch().load(file, "cpu", ours, weights_only=False)


class Inert:
    """Stand-in for an object of an unknown class or function, whose full name is `name`.

    It accepts everything a pickle does with an object, and does nothing.
    """

    name = ""

    def __new__(cls, *_: Any, **fields: Any) -> "Inert":
        return super().__new__(cls)

    def __call__(self, *_: Any, **fields: Any) -> "Inert":
        return self

    __init__ = __setstate__ = __setitem__ = append = extend = update = add = lambda self, *_, **fields: None


class _Unpickler(pickle._Unpickler):
    """Unpickler that resolves globals to `_FUNCTIONS` or `Inert`.

    Based on Python's implementation: the one in C sizes its memo by the largest index in a file, so that a flipped bit
    may fill the memory.
    """

    def __init__(self, file: io.BufferedIOBase | IO[bytes], **_: Any):
        super().__init__(file, encoding="latin1")  # as Python 2 wrote the bytes of arrays

    def find_class(self, module: str, name: str) -> Any:
        # By package: NumPy and PyTorch have moved some functions between modules.
        if function := _FUNCTIONS.get((module.split(".")[0], name)):
            return lambda *arguments: function(*arguments)
        # A new function or class each time: a pickle may set its attributes, and cannot change ours.
        return type("Inert", (Inert,), {"name": f"{module}.{name}"})


def _array(data: Any, dtype: np.dtype, shape: tuple, order: Any = "C") -> np.ndarray:
    return np.frombuffer(data, dtype).reshape(shape, order=order)


# (package, name) -> the function that a pickle calls by that name.
_FUNCTIONS: dict[tuple[str, str], Callable] = {
    ("numpy", "_reconstruct"): lambda *_: np.empty(0, np.uint8),  # its state follows
    ("numpy", "dtype"): lambda code, *_: np.dtype(code, copy=True),  # a copy: its state follows
    ("numpy", "scalar"): lambda dtype, data: _array(data, dtype, ()).item(),
    ("numpy", "_frombuffer"): _array,
    ("torch", "_rebuild_tensor_v2"): lambda *arguments: _torch()._utils._rebuild_tensor(*arguments[:4]),
    ("torch", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch", "_load_from_bytes"): lambda data: _unpickled(io.BytesIO(data)),
    ("collections", "OrderedDict"): collections.OrderedDict,
    # Bytes, as protocols 0 to 2 write them.
    ("__builtin__", "bytes"): lambda: b"",
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
}


def _plain(content: Any) -> Any:
    """Return content with tensors as arrays, and `Inert` for anything but arrays, numbers, text and containers."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items() if isinstance(key, str | int)}
    if isinstance(content, list | tuple):
        return type(content)([_plain(value) for value in content])
    is_numbers = isinstance(content, np.ndarray) and content.dtype.kind in "biuf"
    if content is None or is_numbers or isinstance(content, bool | int | float | str | Inert):
        return content
    if isinstance(content, type) and issubclass(content, Inert):
        return content()
    if "torch" in sys.modules and isinstance(content, _torch().Tensor):
        if content.dtype == _torch().bfloat16:
            return content.detach().view(_torch().int16).numpy().view(ml_dtypes.bfloat16)
        with contextlib.suppress(TypeError, RuntimeError):  # sparse, quantised, or of a type that NumPy lacks
            return content.detach().numpy()
    return Inert()
