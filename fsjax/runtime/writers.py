"""Where people watch a run: what every such place is given."""

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8


class Board(abc.ABC):
    """A place where a run is watched; only the main process has any."""

    @abc.abstractmethod
    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a stage at one of its steps."""

    @abc.abstractmethod
    def images(self, section: str, step: int, images: Mapping[str, UInt8[np.ndarray, "height width"]]) -> None:
        """Grey images of a section, by name, at a step of their own."""

    @abc.abstractmethod
    def outcome(self, name: str, fields: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """What was found in the end, under a name, with the config fields that it rests on."""

    @abc.abstractmethod
    def close(self, *, failed: bool) -> None:
        """Nothing more comes; `failed`: the run did not come to its end."""
