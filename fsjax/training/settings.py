"""Check the fields of config.train, and work out the length of a training."""

import math
from collections.abc import Collection

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fsjax.data.augment import make_augment, split_names
from fsjax.runtime.errors import InputError, check_known, expect, require
from fsjax.training import evaluators, optimizers, ways

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def check(config: ConfigDict) -> None:
    """Raise InputError for a train field that cannot be used."""
    options, devices = config.train, jax.device_count()
    optimizers.make(options)
    optimizers.learning_rate(options, 1)
    make_augment(options.augment, pad=options.pad, min_scale=options.min_scale)
    if split_names(options.augment)[0]:
        require("augment")
    ways.check(options, config.data.image_size)
    evaluators.parse(options.evaluators)
    if bool(options.epochs) == bool(options.steps):
        raise InputError(
            f"train.epochs, train.steps: got {options.epochs:g}, {options.steps}; expected one of them above 0, and "
            "the other 0"
        )
    batches = f"a positive multiple of the {devices} devices"
    check_known("train.precision", options.precision, PRECISIONS)
    expect(options.batch_size % devices == 0, "train.batch_size", options.batch_size, batches)
    measured = "validation" in options.evaluators or options.schedule != "plateau"
    expect(measured, "train.evaluators", options.evaluators, "'validation' with train.schedule='plateau'")
    if options.schedule == "plateau" and not config.data.validation_share:
        raise InputError("data.validation_share: got 0; expected above 0 with train.schedule='plateau'")


def choose_length(config: ConfigDict, given: Collection[str]) -> None:
    """Set train.steps or train.epochs to 0 where only the other field is given, with a value above 0.

    So --config.train.steps=100 suffices for a config file that sets epochs. `check` refuses a config with both. given:
    dotted names of the fields that a command line, or the variant of a study, sets.
    """
    chosen = [name for name in ("train.epochs", "train.steps") if name in given]
    if chosen == ["train.epochs"] and config.train.epochs:
        config.train.steps = 0
    elif chosen == ["train.steps"] and config.train.steps:
        config.train.epochs = 0.0


def num_steps(options: ConfigDict, images: int) -> int:
    """Return the number of steps: train.epochs over `images` images, or train.steps where epochs is 0.

    Raises InputError for a batch of more images than there are.
    """
    expect(options.batch_size <= images, "train.batch_size", options.batch_size, f"up to {images}, the training images")
    return math.ceil(options.epochs * images / options.batch_size) if options.epochs else options.steps


def last_step(options: ConfigDict, images: int) -> int:
    """Return the step after which a training ends: the share train.until of all steps, and at least 1."""
    return max(1, round(options.until * num_steps(options, images)))
