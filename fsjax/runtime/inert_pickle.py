"""Pickles and PyTorch files from others, read so that nothing in them ever runs.

`pickle` calls whatever a file names. Here every global that a file names is either one of a few constructors of ours,
which make arrays of plain numbers, or a stub that does nothing (`Inert`). PyTorch is not needed. What is read takes a
small multiple of the file's size: nothing is unpacked, and what our constructors are given is counted.
"""

import functools
import io
import math
import pickle
import re
import zipfile
from collections.abc import Callable
from typing import IO, Any, ClassVar, Literal

import ml_dtypes
import numpy as np

from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

_File = io.BufferedIOBase | IO[bytes]


class Inert:
    """Stands for an object of a class or function that is not known to be harmless; `name` says which.

    Takes whatever a pickle does with an object, and does nothing.
    """

    name = ""

    def __new__(cls, *arguments: Any, **fields: Any) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **fields: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **fields: Any) -> "Inert":
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    extend = update = add = append


def load(path: Path) -> Any:
    """What a pickle, or a file of `torch.save` in its zip or its older form, holds.

    Returns:
      dict, list, tuple, str, numbers, bool, None and NumPy arrays, nested as in the file. Tensors, parameters and NumPy
      arrays of any strides come back as NumPy arrays (bfloat16 as that of ml_dtypes); everything else as `Inert`.

    Raises:
      InputError: the file is missing, damaged, or of another kind.
    """
    try:
        with path.open("rb") as file:
            return _plain(_read(file, _Budget(file.seek(0, io.SEEK_END))), {})
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected a pickle or a PyTorch file") from error
    except Exception as error:  # the bytes are a stranger's: unpickling them may raise anything
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a readable pickle or PyTorch file ({cause})") from error


class _Budget:
    """What a file of this size may ask for.

    That is no read beyond its end, for which Python would make room; and, of bytes and items that are given to the
    constructors, as many in all as honest files give: each of their bytes once, or twice where a file lies in another.
    """

    def __init__(self, size: int):
        self._size, self._left = size, _COPIES * size

    def check(self, count: int) -> int:
        if count > self._size:
            raise ValueError("it is cut off")
        return count

    def spend(self, values: tuple) -> None:
        self._left -= sum(len(value) for value in values if isinstance(value, str | bytes | bytearray | list | dict))
        if self._left < 0:
            raise ValueError("it repeats itself too often")


_COPIES = 8


def _read(file: _File, budget: _Budget) -> Any:
    """The content of a file in any of the three forms, its arrays still to be made."""
    file.seek(0)
    start = file.read(len(_LEGACY_START))
    file.seek(0)
    if start.startswith(b"PK"):
        return _read_zip(zipfile.ZipFile(file), file.seek(0, io.SEEK_END), budget)
    if start == _LEGACY_START:
        return _read_legacy(file, budget)
    return _Unpickler(file, budget).load()


def _read_zip(archive: zipfile.ZipFile, size: int, budget: _Budget) -> Any:
    _check_plain(archive, size)
    (pickled,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    big = folder + "byteorder" in archive.namelist() and archive.read(folder + "byteorder") == b"big"
    storages: dict[str, _Storage] = {}

    def storage(key: str, dtype: np.dtype) -> _Storage:
        return storages.setdefault(key, _Storage(dtype, big, lambda: archive.read(f"{folder}data/{key}")))

    with archive.open(pickled) as file:
        return _Unpickler(file, budget, storage).load()


def _check_plain(archive: zipfile.ZipFile, size: int) -> None:
    """PyTorch compresses nothing, so its members are no larger than the file, all together where none overlap."""
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{member.filename} is compressed")
    if sum(member.file_size for member in archive.infolist()) > size:
        raise ValueError("its members are larger than the file")


def _read_legacy(file: _File, budget: _Budget) -> Any:
    """Five pickles (magic number, version, byte order, the object, keys of its storages), then the storages' bytes."""
    _Unpickler(file, budget).load()
    _Unpickler(file, budget).load()
    big = _plain(_Unpickler(file, budget).load(), {}).get("little_endian") is False
    storages: dict[str, _Storage] = {}

    def storage(key: str, dtype: np.dtype) -> _Storage:
        return storages.setdefault(key, _Storage(dtype, big, lambda: read[key]))

    content = _Unpickler(file, budget, storage).load()
    read = {}
    for key in _Unpickler(file, budget).load():
        count = int.from_bytes(file.read(8), "big" if big else "little")
        read[key] = file.read(budget.check(count * storages[key].dtype.itemsize))
    return content


_LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


class _Unpickler(pickle._Unpickler):
    """Finds no class but those of this file.

    Python's own and not C's unpickler: that sizes its memo by the largest number a file uses, and one flipped byte of
    a number fills the machine's memory.
    """

    def __init__(self, file: _File, budget: _Budget, storage: Callable | None = None):
        # What Python 2 wrote as text may be an array's bytes: latin-1 keeps them.
        super().__init__(_Bounded(file, budget), encoding="latin1")
        self._budget, self._storage = budget, storage

    def find_class(self, module: str, name: str) -> Any:
        if (storage := re.fullmatch(r"(\w+)Storage", name)) and storage[1] in _STORAGE_TYPES:
            return _Constructor(np.dtype(_STORAGE_TYPES[storage[1]]), self._budget)
        # NumPy and PyTorch have moved some of these from module to module.
        if name in (known := _KNOWN.get(module.split(".")[0], {})):
            return _Constructor(known[name], self._budget)
        # A class of its own each time: nothing a file does to it reaches another.
        return type("Inert", (Inert,), {"name": f"{module}.{name}"})

    def persistent_load(self, identity: Any) -> Any:
        kind, *rest = identity
        if kind == "module":  # a class of the older form, with its source text
            return rest[0]
        if kind != "storage" or self._storage is None:
            raise ValueError(f"a reference to {kind!r} outside the pickle")
        # Of numbers that NumPy has not, such as complex halves, nothing is kept.
        return self._storage(rest[1], rest[0].made) if isinstance(rest[0], _Constructor) else Inert()

    def load_bytearray8(self) -> None:
        """Python's own makes as many zeros as the file says, and reads then."""
        # `load` sets both, in every unpickler of Python's own.
        read, append = self.read, self.append  # type: ignore[attr-defined]
        append(bytearray(read(int.from_bytes(read(8), "little"))))

    dispatch: ClassVar[dict[int, Callable]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}


class _Bounded:
    """A file that is read no further than it goes."""

    def __init__(self, file: _File, budget: _Budget):
        self._file, self._budget, self.readline = file, budget, file.readline

    def read(self, count: int) -> bytes:
        return self._file.read(self._budget.check(count))


class _Constructor:
    """A function, class or dtype that a pickle may name but not change."""

    __slots__ = ("_budget", "made")

    def __init__(self, made: Any, budget: _Budget):
        self.made, self._budget = made, budget

    def __call__(self, *arguments: Any) -> Any:
        self._budget.spend(arguments)
        if self.made is _storage_from_bytes:
            return _storage_from_bytes(*arguments, self._budget)
        return self.made(*arguments)

    def __setstate__(self, state: Any) -> None:
        pass


class _Storage:
    """The numbers behind tensors, read when a tensor that is kept asks for them."""

    def __init__(self, dtype: np.dtype, big: bool, read: Callable[[], bytes]):
        self.dtype, self._big, self._read = dtype, big, read

    def __setstate__(self, state: Any) -> None:
        pass

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        numbers = np.frombuffer(self._read(), self.dtype)
        return numbers.byteswap() if self._big else numbers


class _Tensor:
    """A tensor whose numbers may not have been read yet."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple, strides: tuple, *rest: Any):
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def __setstate__(self, state: Any) -> None:
        pass

    def array(self) -> np.ndarray | Inert:
        if isinstance(self.storage, Inert):
            return self.storage
        numbers, size = self.storage.numbers, math.prod(self.shape)
        last = self.offset + sum((length - 1) * step for length, step in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or size > len(numbers) or (size and last >= len(numbers)):
            raise ValueError(f"a tensor of shape {self.shape} reaches beyond its {len(numbers)} numbers")
        strides = [step * numbers.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False)


class _Dict(dict):
    """An OrderedDict: a state_dict has attributes too."""

    def __setstate__(self, state: Any) -> None:
        pass


class _DType:
    """numpy.dtype."""

    def __init__(self, code: str, *rest: Any):
        self._code = code
        self._order: Any = "="

    def __setstate__(self, state: Any) -> None:
        self._order = state[1]

    def numbers(self) -> np.dtype | None:
        """The dtype, where it is one of numbers."""
        if not re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f[248])", self._code):
            return None
        return np.dtype(self._code).newbyteorder(self._order)


class _Array:
    """numpy.ndarray, as its pickles make it: empty, then given its state."""

    def __init__(self, *rest: Any):
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def array(self) -> np.ndarray | Inert:
        _, shape, dtype, fortran, data = self._state
        return _from_buffer(data, dtype, shape, "F" if fortran else "C")


def _from_buffer(data: Any, dtype: Any, shape: tuple, order: Literal["C", "F"] = "C") -> np.ndarray | Inert:
    if not isinstance(dtype, _DType) or dtype.numbers() is None:
        return Inert()
    return np.frombuffer(_bytes(data), dtype.numbers()).reshape(shape, order=order)


def _scalar(dtype: Any, data: Any) -> float | int | bool | Inert:
    found = _from_buffer(data, dtype, ())
    return found.item() if isinstance(found, np.ndarray) else found


def _rebuilt(function: Callable, kind: Any, arguments: tuple, state: Any) -> Any:
    return function(*arguments)


def _storage_from_bytes(data: bytes, budget: _Budget) -> Any:
    return _read(io.BytesIO(data), budget)


def _size(sizes: Any = ()) -> tuple:
    return sizes if isinstance(sizes, tuple) else tuple(sizes)


def _bytes(data: bytes | bytearray | str = b"", encoding: str = "latin1") -> bytes | bytearray:
    # Not bytes(data): that of a number is as many zeros.
    if isinstance(data, str):
        return data.encode("latin1")
    content = memoryview(data).obj
    assert isinstance(content, bytes | bytearray)
    return content


_STORAGE_TYPES = {
    **{"Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": ml_dtypes.bfloat16},
    **{"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1", "Untyped": "u1", "Bool": "?"},
}
# package -> name -> a class of this file, or a function to be called with what the pickle gives.
_KNOWN: dict[str, dict[str, Any]] = {
    "numpy": {
        "_reconstruct": _Array,
        "ndarray": _Array,
        "dtype": _DType,
        "scalar": _scalar,
        "_frombuffer": _from_buffer,
    },
    "torch": {
        "_rebuild_tensor": _Tensor,
        "_rebuild_tensor_v2": _Tensor,
        "_rebuild_parameter": lambda tensor, *rest: tensor,
        "_rebuild_parameter_with_state": lambda tensor, *rest: tensor,
        "_rebuild_from_type_v2": _rebuilt,
        "_load_from_bytes": _storage_from_bytes,
        "Size": _size,
    },
    "collections": {"OrderedDict": _Dict},
    "_codecs": {"encode": _bytes},
    **{module: {"bytes": _bytes, "bytearray": _bytes} for module in ("builtins", "__builtin__")},
}


def _plain(content: Any, seen: dict[int, Any]) -> Any:
    """The content with its arrays made and everything unknown inert. `seen`: what was made of each container."""
    if content is None or isinstance(content, bool | int | float | str | Inert):
        return content
    made: Any
    if id(content) not in seen:
        seen[id(content)] = Inert()  # a container that holds itself holds this
        if isinstance(content, dict):
            made = {key: _plain(value, seen) for key, value in content.items() if isinstance(key, str | int)}
        elif isinstance(content, list | tuple):
            made = type(content)([_plain(value, seen) for value in content])
        elif isinstance(content, np.ndarray):
            made = content
        elif isinstance(content, _Tensor | _Array):
            made = content.array()
        elif isinstance(content, type) and issubclass(content, Inert):
            made = content()  # the class itself stood in the file
        else:
            made = Inert()
        seen[id(content)] = made
    return seen[id(content)]
