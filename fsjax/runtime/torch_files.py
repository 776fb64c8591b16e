"""Read PyTorch weights and pickles of arrays, and write weights. Nothing in a file runs.

.safetensors need no PyTorch. `torch.load(weights_only=True)` reads files of torch.save. What it refuses, such as a
Lightning checkpoint with a module among its hyper-parameters, and plain pickles are read by an unpickler of ours, for
which an unknown global is an `Inert` object.
"""

import collections
import io
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.storage import Path

if TYPE_CHECKING:
    import torch

# Keys under which training scripts store the state dict; Lightning's first.
_KEYS = ("state_dict", "model_state_dict", "model", "net")
_LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # of torch.save before PyTorch 1.6


def read(path: str | Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read the state dict of a .safetensors file or of a file of torch.save (.pt, .pth, .ckpt), possibly a checkpoint.

    Raises:
      InputError: the file is missing or damaged, holds no state dict, or needs PyTorch, which is not installed.
    """
    path = storage.path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected PyTorch weights (.pt, .pth, .ckpt, .safetensors)")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else load(path)
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
    """Load a file of torch.save, or a pickle; raise InputError where `read` does for any file.

    Containers, text and numbers are nested as in the file. Tensors and arrays of numbers become NumPy arrays (ml_dtypes
    for bfloat16); everything else becomes `Inert`.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the source text of old modules
            return _plain(_unpickled(file), {})
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a pickle or a PyTorch file") from error
    except ImportError as error:
        raise InputError(f"{path}: holds tensors of PyTorch, which is not installed: {_INSTALL}") from error
    except Exception as error:  # untrusted input: unpickling may raise anything
        raise InputError(f"{path}: not a readable pickle or PyTorch file ({one_line(error)[:300]})") from error


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
    try:
        return _torch().from_numpy(np.array(array))
    except ImportError as error:
        raise InputError(f"PyTorch is needed to write its files: {_INSTALL}") from error


_INSTALL = "pip install 'fsjax[torch]'"


def _torch() -> Any:
    import torch

    return torch


def _read_safetensors(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({one_line(error)})") from error


def _unpickled(file: io.BufferedIOBase | IO[bytes]) -> Any:
    start = file.read(len(_LEGACY_START))
    file.seek(0)
    if not start.startswith(b"PK") and start != _LEGACY_START:
        return _Unpickler(file).load()
    try:
        return _torch().load(file, "cpu", weights_only=True)
    except pickle.UnpicklingError:
        file.seek(0)
        return _torch().load(file, "cpu", _PICKLE_MODULE, weights_only=False)


class Inert:
    """Stand-in for an object of an unknown class or function, whose full name is `name`.

    It accepts everything a pickle does with an object, and does nothing.
    """

    name = ""
    dump_patches = False  # PyTorch asks this of a class that was saved with its source text

    def __new__(cls, *_: Any, **fields: Any) -> "Inert":
        return super().__new__(cls)

    def __call__(self, *_: Any, **fields: Any) -> "Inert":
        return self

    __init__ = __setstate__ = __setitem__ = append = extend = update = add = lambda self, *_, **fields: None


class _Function:
    """A function that a pickle may call and not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        """Ignore the state, which may name any attribute."""


class _Unpickler(pickle._Unpickler):
    """Unpickler that resolves globals to `_FUNCTIONS` or `Inert`.

    Based on Python's implementation: the C one sizes its memo by the largest index in a file, so that a flipped bit may
    fill the memory.
    """

    def __init__(self, file: io.BufferedIOBase | IO[bytes], **_: Any):
        super().__init__(file, encoding="latin1")  # in which Python 2 wrote the bytes of arrays

    def find_class(self, module: str, name: str) -> Any:
        # By package: NumPy and PyTorch have moved some of these between modules.
        if function := _FUNCTIONS.get((module.split(".")[0], name)):
            return _Function(function)
        # A new class each time, so that a pickle cannot change another's.
        return type("Inert", (Inert,), {"name": f"{module}.{name}"})


def _dtype(code: Any, *_: Any) -> Any:
    return np.dtype(code, copy=True) if isinstance(code, str) else Inert()  # a copy, for NumPy's own must not change


def _bytes(data: bytes | bytearray | str = b"", encoding: str = "latin1") -> bytes | bytearray:
    # Not bytes(data): for a number, that makes as many zeros.
    return data.encode("latin1") if isinstance(data, str) else bytes(memoryview(data))


def _tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> Any:
    held = storage.nbytes()
    tensor = _torch()._utils._rebuild_tensor(storage, offset, size, stride)
    if storage.nbytes() != held:
        raise ValueError(f"a tensor of shape {tuple(size)} reaches beyond its numbers")
    return tensor


def _array(data: Any, dtype: np.dtype, shape: tuple, order: Any = "C") -> np.ndarray:
    return np.frombuffer(_bytes(data), dtype).reshape(shape, order=order)


# (package, name) -> what a pickle calls by that name.
_FUNCTIONS: dict[tuple[str, str], Callable] = {
    ("numpy", "_reconstruct"): lambda *_: np.empty(0, np.uint8),  # its state follows
    ("numpy", "dtype"): _dtype,
    ("numpy", "scalar"): lambda dtype, data: _array(data, dtype, ()).item(),
    ("numpy", "_frombuffer"): _array,
    **dict.fromkeys((("torch", "_rebuild_tensor"), ("torch", "_rebuild_tensor_v2")), _tensor),
    ("torch", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch", "_rebuild_from_type_v2"): lambda function, kind, arguments, state: function(*arguments),
    ("torch", "_load_from_bytes"): lambda data: _unpickled(io.BytesIO(data)),
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): collections.OrderedDict,
    **{(module, name): _bytes for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
    ("_codecs", "encode"): _bytes,
}
_PICKLE_MODULE = types.SimpleNamespace(
    __name__="inert", Unpickler=_Unpickler, load=lambda file, **_: _Unpickler(file).load()
)


def _plain(content: Any, seen: dict[int, Any]) -> Any:
    """Return content with tensors as arrays and unknown objects inert. `seen`: results by the id of their source."""
    if content is None or isinstance(content, bool | int | float | str | Inert):
        return content
    if id(content) in seen:
        return seen[id(content)]
    result: Any = Inert()
    seen[id(content)], torch = result, sys.modules.get("torch")  # stands for a container inside itself
    if isinstance(content, dict):
        result = {key: _plain(value, seen) for key, value in content.items() if isinstance(key, str | int)}
    elif isinstance(content, list | tuple):
        result = type(content)([_plain(value, seen) for value in content])
    elif isinstance(content, np.ndarray) and content.dtype.kind in "biuf":
        result = content
    elif torch and isinstance(content, torch.Tensor):
        result = _numpy(content.detach())
    elif isinstance(content, type) and issubclass(content, Inert):
        result = content()  # the file holds the class itself
    seen[id(content)] = result
    return result


def _numpy(tensor: "torch.Tensor") -> np.ndarray | Inert:
    if tensor.dtype == _torch().bfloat16:
        return tensor.view(_torch().int16).numpy().view(ml_dtypes.bfloat16)
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):  # sparse, quantised, or of a type that NumPy lacks
        return Inert()
