"""Ways of training that change what a network can learn from: a way is a file and a line of WAYS.

Low-pruning (arXiv 2606.03493) filters test images too, so it is `data.frequencies=high:...` instead of a way.
"""

from ml_collections import ConfigDict

from fsjax.runtime import config_fields
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path
from fsjax.training.ways import amplitude_swap, dfmx, graft, operations
from fsjax.training.ways.way import Copies, Setting, Transform, Way

WAYS: dict[str, Way] = {
    "graft": graft.WAY,
    "dfmx": dfmx.WAY,
    "amplitude_swap": amplitude_swap.WAY,
    "operations": operations.WAY,
}

FIELDS: config_fields.Table = {
    "ways": ("", f"some of {', '.join(WAYS)}, separated by commas, in their order; after train.augment"),
    **{name: way.fields for name, way in WAYS.items()},
}


def chosen(options: ConfigDict) -> tuple[str, ...]:
    """Return the ways of config.train in order, dfmx last where only its maps are set; raise InputError for others."""
    names = config_fields.names("train.ways", options.get("ways", ""), WAYS, each="way")
    return names if "dfmx" in names or not options.dfmx.maps else (*names, "dfmx")


def probed(options: ConfigDict) -> tuple[str, ...]:
    """Return the chosen ways of config.train that take what the stage probe finds."""
    given = {"graft": options.graft.maps, "operations": options.operations.names}
    return tuple(name for name in chosen(options) if given.get(name) == graft.PROBE)


def use_probes(options: ConfigDict) -> bool:
    """Return whether a training with this config.train grafts the frequencies that the stage probe finds."""
    return "graft" in probed(options)


def check(options: ConfigDict, size: int) -> None:
    """Raise InputError for a way of config.train that cannot be used, on images of this side."""
    for name in chosen(options):
        WAYS[name].check(options, size)
    if probed(options) == ("operations",):
        expected = f"train.ways=graft,operations with train.graft.maps={graft.PROBE}"
        raise InputError(f"{operations.FIELD}: got {graft.PROBE!r}; expected {expected}")


def make(setting: Setting) -> tuple[Transform | Copies, ...]:
    """Return the chosen ways of a step, in order; raise InputError for files that do not fit the data."""
    return tuple(WAYS[name].make(setting) for name in chosen(setting.options))


def files(options: ConfigDict, directory: Path) -> dict[str, Path]:
    """Return field -> file that the ways of config.train read; raise InputError for a missing file."""
    return {field: file for name in chosen(options) for field, file in WAYS[name].files(options, directory).items()}


def passes(options: ConfigDict) -> int:
    """Return the passes of a step through the network, where a step without ways has 1: about its relative time."""
    return 1 + sum(WAYS[name].passes for name in chosen(options))


def used(field: str, options: ConfigDict) -> bool:
    """Return whether the result of a training depends on this field of config.train."""
    name = field.partition(".")[0]
    return name not in WAYS or name in chosen(options)
