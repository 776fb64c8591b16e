"""Read untrusted pickles and PyTorch files without running anything in them.

`pickle` calls everything that a file names. Here each name stands for one of our own constructors
(`pickle_constructors`) or for a stub that does nothing (`Inert`). PyTorch is not needed. Reading takes a small multiple
of the file's size: nothing is decompressed, and the constructors' arguments are counted.
"""

import io
import pickle
import re
import types
import zipfile
from collections.abc import Callable
from typing import IO, Any, ClassVar

import numpy as np

from fsjax.runtime import pickle_constructors as constructors
from fsjax.runtime.errors import InputError, one_line
from fsjax.runtime.pickle_constructors import Inert, Stateless, Storage
from fsjax.runtime.storage import Path

_File = io.BufferedIOBase | IO[bytes]


def load(path: Path) -> Any:
    """Load a pickle, or a file of `torch.save` in its zip or its legacy format.

    Returns:
      dict, list, tuple, str, numbers, bool, None and NumPy arrays, nested as in the file. Tensors and parameters become
      NumPy arrays (bfloat16 that of ml_dtypes) with their strides; everything else becomes `Inert`.

    Raises:
      InputError: the file is missing, damaged, or of another kind.
    """
    try:
        with path.open("rb") as file:
            return _plain(_read(file, _Budget(file.seek(0, io.SEEK_END))), {})
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a pickle or a PyTorch file") from error
    except Exception as error:  # untrusted input: unpickling may raise anything
        raise InputError(f"{path}: not a readable pickle or PyTorch file ({one_line(error)})") from error


# An honest file gives the constructors each of its bytes once, or twice where it holds another file.
_COPIES = 8


class _Budget:
    """Limits on what a file of `size` bytes may ask for.

    No read may go beyond the file's end, since Python allocates first. All bytes and items given to the constructors
    together may be _COPIES times `size`.
    """

    def __init__(self, size: int):
        self._size, self._remaining = size, _COPIES * size

    def check(self, count: int) -> int:
        if count > self._size:
            raise ValueError("it is cut off")
        return count

    def spend(self, values: tuple) -> None:
        self._remaining -= sum(
            len(value) for value in values if isinstance(value, str | bytes | bytearray | list | dict)
        )
        if self._remaining < 0:
            raise ValueError("it repeats itself too often")


def _read(file: _File, budget: _Budget) -> Any:
    """Return the content of a file in any of the three formats; `_plain` makes its arrays."""
    file.seek(0)
    start = file.read(len(_LEGACY_START))
    file.seek(0)
    if start.startswith(b"PK"):
        return _read_zip(zipfile.ZipFile(file), file.seek(0, io.SEEK_END), budget)
    if start == _LEGACY_START:
        return _read_legacy(file, budget)
    return _Unpickler(file, budget).load()


def _read_zip(archive: zipfile.ZipFile, size: int, budget: _Budget) -> Any:
    _check_uncompressed(archive, size)
    (pickled,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    big_endian = folder + "byteorder" in archive.namelist() and archive.read(folder + "byteorder") == b"big"
    with archive.open(pickled) as file:
        return _Unpickler(file, budget, lambda key: archive.read(f"{folder}data/{key}"), big_endian).load()


def _check_uncompressed(archive: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError for compressed or overlapping members. PyTorch compresses nothing."""
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{member.filename} is compressed")
    if sum(member.file_size for member in archive.infolist()) > size:
        raise ValueError("its members are larger than the file")


def _read_legacy(file: _File, budget: _Budget) -> Any:
    """Read five pickles (magic number, version, byte order, the object, its storages' keys), then the storages."""
    _Unpickler(file, budget).load()
    _Unpickler(file, budget).load()
    big_endian = _plain(_Unpickler(file, budget).load(), {}).get("little_endian") is False
    storages: dict[str, bytes] = {}
    unpickler = _Unpickler(file, budget, storages.__getitem__, big_endian)
    content = unpickler.load()
    for key in _Unpickler(file, budget).load():
        count = int.from_bytes(file.read(8), "big" if big_endian else "little")
        storages[key] = file.read(budget.check(count * unpickler.storages[key].dtype.itemsize))
    return content


_LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


class _Unpickler(pickle._Unpickler):
    """Unpickler that resolves names to our constructors or to `Inert`.

    Based on the Python implementation: the C one sizes its memo by the largest index in a file, so that one flipped
    byte may fill the machine's memory.
    """

    def __init__(
        self, file: _File, budget: _Budget, read: Callable[[str], bytes] | None = None, big_endian: bool = False
    ):
        bounded = types.SimpleNamespace(read=lambda count: file.read(budget.check(count)), readline=file.readline)
        # Python 2 wrote an array's bytes as text; latin-1 keeps them.
        super().__init__(bounded, encoding="latin1")
        self._budget, self._read, self._big_endian = budget, read, big_endian
        self.storages: dict[str, Storage] = {}  # of the tensors, by the keys that `read` takes

    def find_class(self, module: str, name: str) -> Any:
        if (storage := re.fullmatch(r"(\w+)Storage", name)) and storage[1] in constructors.STORAGE_DTYPES:
            return _Constructor(np.dtype(constructors.STORAGE_DTYPES[storage[1]]), self._budget)
        # By package: NumPy and PyTorch have moved some of these between modules.
        if name in (known := _KNOWN.get(module.split(".")[0], {})):
            return _Constructor(known[name], self._budget)
        # A new class each time, so that what a file does to it affects no other.
        return type("Inert", (Inert,), {"name": f"{module}.{name}"})

    def persistent_load(self, identity: Any) -> Any:
        kind, *rest = identity
        if kind == "module":  # a class with its source text, in the legacy format
            return rest[0]
        read = self._read
        if kind != "storage" or read is None:
            raise ValueError(f"a reference to {kind!r} outside the pickle")
        dtype, key, *_ = rest
        if not isinstance(dtype, _Constructor):
            return Inert()  # NumPy lacks some number types, such as complex halves
        return self.storages.setdefault(key, Storage(dtype.target, self._big_endian, lambda: read(key)))

    def load_bytearray8(self) -> None:
        """Read a bytearray; Python's implementation first allocates the length that the file states."""
        # `load` of the base class sets both.
        read, append = self.read, self.append  # type: ignore[attr-defined]
        append(bytearray(read(int.from_bytes(read(8), "little"))))

    dispatch: ClassVar[dict[int, Callable]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}


class _Constructor(Stateless):
    """Wrapper of a function, class or dtype that a pickle may call but not change."""

    __slots__ = ("_budget", "target")

    def __init__(self, target: Any, budget: _Budget):
        self.target, self._budget = target, budget

    def __call__(self, *arguments: Any) -> Any:
        self._budget.spend(arguments)
        if self.target is _storage_from_bytes:
            return _storage_from_bytes(*arguments, self._budget)
        return self.target(*arguments)


def _storage_from_bytes(data: bytes, budget: _Budget) -> Any:
    return _read(io.BytesIO(data), budget)


# package -> name -> the constructor to call with the pickle's arguments.
_KNOWN: dict[str, dict[str, Any]] = {
    "numpy": {
        "_reconstruct": constructors.Array,
        "ndarray": constructors.Array,
        "dtype": constructors.DType,
        "scalar": constructors.scalar,
        "_frombuffer": constructors.array_from_buffer,
    },
    "torch": {
        "_rebuild_tensor": constructors.Tensor,
        "_rebuild_tensor_v2": constructors.Tensor,
        "_rebuild_parameter": lambda tensor, *rest: tensor,
        "_rebuild_parameter_with_state": lambda tensor, *rest: tensor,
        "_rebuild_from_type_v2": lambda function, kind, arguments, state: function(*arguments),
        "_load_from_bytes": _storage_from_bytes,
        "Size": tuple,
    },
    "collections": {"OrderedDict": constructors.OrderedDict},
    "_codecs": {"encode": constructors.to_bytes},
    "builtins": {"bytes": constructors.to_bytes, "bytearray": constructors.to_bytes},
    "__builtin__": {"bytes": constructors.to_bytes, "bytearray": constructors.to_bytes},
}


def _plain(content: Any, seen: dict[int, Any]) -> Any:
    """Return content with its arrays made and everything unknown inert. `seen`: results by the id of their source."""
    if content is None or isinstance(content, bool | int | float | str | Inert):
        return content
    result: Any
    if id(content) not in seen:
        seen[id(content)] = Inert()  # stands for the container inside itself
        if isinstance(content, dict):
            result = {key: _plain(value, seen) for key, value in content.items() if isinstance(key, str | int)}
        elif isinstance(content, list | tuple):
            result = type(content)([_plain(value, seen) for value in content])
        elif isinstance(content, np.ndarray):
            result = content
        elif isinstance(content, constructors.Tensor | constructors.Array):
            result = content.array()
        elif isinstance(content, type) and issubclass(content, Inert):
            result = content()  # the file holds the class itself
        else:
            result = Inert()
        seen[id(content)] = result
    return seen[id(content)]
