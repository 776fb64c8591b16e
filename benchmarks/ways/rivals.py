"""Ways of training that fsjax is compared with, and that are no part of it: a control, and two published ones."""

from ml_collections import ConfigDict

from benchmarks.ways import afa, amplitude_dropout, orbit_dropout
from fsjax.runtime import config_fields
from fsjax.training import ways

RIVALS = {
    "orbit_dropout": orbit_dropout.WAY,
    "afa": afa.WAY,
    "amplitude_dropout": amplitude_dropout.WAY,
}


def add(train: ConfigDict) -> None:
    """Let `train.ways` name these ways, and add their fields to config.train."""
    ways.WAYS.update(RIVALS)
    with train.unlocked():
        for name, way in RIVALS.items():
            train[name] = config_fields.config(way.fields, f"train.{name}")
