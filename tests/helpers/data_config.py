"""The fields of config.data that a source reads, for tests that open one without a run."""

from ml_collections import ConfigDict


def data_config(source, **fields):
    """Fields that every source has, with small images; `fields` are set beside them or in their place."""
    defaults = {
        "source": source,
        "name": "",
        "root": "",
        "classes": "",
        "train_split": "train",
        "test_split": "test",
        "validation_share": 0.0,
        "image_size": 8,
        "resize_shorter": 0,
        "skip_undecodable": False,
        "mean": (),
        "std": (),
        "cache_gib": 1.0,
    }
    return ConfigDict(defaults | {name: str(value) if name == "root" else value for name, value in fields.items()})
