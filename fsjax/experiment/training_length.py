"""One length of training: the field that is set last, train.epochs or train.steps, replaces the other."""

from collections.abc import Collection

from ml_collections import ConfigDict

FIELDS = ("train.epochs", "train.steps")


def choose(config: ConfigDict, given: Collection[str]) -> None:
    """Set the other of FIELDS to 0 where just one of them was given, with a value above 0.

    A config file that sets epochs so takes --config.train.steps=100 alone. Where both are given neither is touched,
    and the check of the stage train refuses them.

    Args:
      config: changed in place.
      given: dotted names of fields that a command line, or the variant of a study, has set.
    """
    chosen = [name for name in FIELDS if name in given and config[name]]
    if len(chosen) == 1 and not set(FIELDS) <= set(given):
        (other,) = set(FIELDS) - set(chosen)
        config.update_from_flattened_dict({other: type(config[other])(0)})
