"""Harmless stand-ins for the classes and functions that pickles name: they make arrays of plain numbers, or nothing."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any, Literal

import ml_dtypes
import numpy as np


class Stateless:
    """What a pickle may set the state of, to no effect."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class Inert(Stateless):
    """Stand-in for an object of an unknown class or function, whose full name is `name`.

    Accept everything a pickle does with an object, and do nothing.
    """

    name = ""

    def __new__(cls, *arguments: Any, **fields: Any) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **fields: Any):
        pass

    def __call__(self, *arguments: Any, **fields: Any) -> "Inert":
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    extend = update = add = append


# dtypes of PyTorch's storage classes, such as FloatStorage.
STORAGE_DTYPES = {
    **{"Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": ml_dtypes.bfloat16},
    **{"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1", "Untyped": "u1", "Bool": "?"},
}


class Storage(Stateless):
    """The numbers that tensors share, read when the first tensor needs them."""

    def __init__(self, dtype: np.dtype, big_endian: bool, read: Callable[[], bytes]):
        self.dtype, self._big_endian, self._read = dtype, big_endian, read

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        numbers = np.frombuffer(self._read(), self.dtype)
        return numbers.byteswap() if self._big_endian else numbers


class Tensor(Stateless):
    """A PyTorch tensor."""

    def __init__(self, storage: Storage, offset: int, shape: tuple, strides: tuple, *rest: Any):
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def array(self) -> np.ndarray | Inert:
        if isinstance(self.storage, Inert):
            return self.storage
        numbers, size = self.storage.numbers, math.prod(self.shape)
        last = self.offset + sum((length - 1) * step for length, step in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or size > len(numbers) or (size and last >= len(numbers)):
            raise ValueError(f"a tensor of shape {self.shape} reaches beyond its {len(numbers)} numbers")
        strides = [step * numbers.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False)


class OrderedDict(Stateless, dict):
    """collections.OrderedDict: that of a state_dict has attributes too."""


class DType:
    """numpy.dtype."""

    def __init__(self, code: str, *rest: Any):
        self._code = code
        self._order: Any = "="

    def __setstate__(self, state: Any) -> None:
        self._order = state[1]

    def of_numbers(self) -> np.dtype | None:
        """Return the dtype, or None for one that is not of numbers."""
        if not re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f[248])", self._code):
            return None
        return np.dtype(self._code).newbyteorder(self._order)


class Array:
    """numpy.ndarray: pickles make it empty, then set its state."""

    def __init__(self, *rest: Any):
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def array(self) -> np.ndarray | Inert:
        _, shape, dtype, fortran, data = self._state
        return array_from_buffer(data, dtype, shape, "F" if fortran else "C")


def array_from_buffer(data: Any, dtype: Any, shape: tuple, order: Literal["C", "F"] = "C") -> np.ndarray | Inert:
    if not isinstance(dtype, DType) or (numbers := dtype.of_numbers()) is None:
        return Inert()
    return np.frombuffer(to_bytes(data), numbers).reshape(shape, order=order)


def scalar(dtype: Any, data: Any) -> float | int | bool | Inert:
    array = array_from_buffer(data, dtype, ())
    return array.item() if isinstance(array, np.ndarray) else array


def to_bytes(data: bytes | bytearray | str = b"", encoding: str = "latin1") -> bytes | bytearray:
    # Not bytes(data): for a number, that makes as many zeros.
    if isinstance(data, str):
        return data.encode("latin1")
    content = memoryview(data).obj
    assert isinstance(content, bytes | bytearray)
    return content
