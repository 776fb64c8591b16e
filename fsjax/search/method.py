"""What a search method is to the rest of fsjax."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from fsjax.dfm import DominantFrequencyMaps
from fsjax.search.problem import Problem


def _accepts(options: ConfigDict, plane: tuple[int, int]) -> None:
    pass


@dataclasses.dataclass(frozen=True)
class Method:
    """A search method, as its file offers it to the registry.

    Attributes:
      search: finds the maps; all processes call it alike and get the same maps.
      defaults: the method's own fields, which stand in config.search under its name.
      check: raises InputError for fields of config.search that cannot be used on a plane (H, W).
      patches: whether it uses config.search.patch.
    """

    search: Callable[[Problem], DominantFrequencyMaps]
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    check: Callable[[ConfigDict, tuple[int, int]], None] = _accepts
    patches: bool = False
