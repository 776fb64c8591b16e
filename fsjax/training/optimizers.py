"""Optimisers and learning-rate schedules, from optax."""

from collections.abc import Callable

import optax
from ml_collections import ConfigDict

from fsjax.runtime.errors import check_known

OPTIMIZERS = {
    # As in torch.optim.SGD, weight decay is added to the gradient before the momentum.
    "sgd": lambda train: optax.chain(
        optax.add_decayed_weights(train.weight_decay), optax.sgd(1.0, train.momentum, nesterov=True)
    ),
    "adamw": lambda train: optax.adamw(1.0, weight_decay=train.weight_decay),
}
SCHEDULES = ("cosine", "plateau", "constant")


def make(train: ConfigDict) -> optax.GradientTransformation:
    """Return the optimiser of a config, at a learning rate of 1; raise InputError for an unknown name.

    The rate multiplies its updates, so trainings of any length share a compiled step.
    """
    check_known("train.optimizer", train.optimizer, sorted(OPTIMIZERS))
    return OPTIMIZERS[train.optimizer](train)


def learning_rate(train: ConfigDict, steps: int) -> Callable:
    """Return step -> learning rate: a linear warm-up from 0, then a cosine to 0, or a constant, which `plateau` scales.

    Raises InputError for an unknown schedule.
    """
    check_known("train.schedule", train.schedule, SCHEDULES)
    warmup = min(train.warmup_steps, max(steps - 1, 0))
    rest = optax.constant_schedule(train.learning_rate)
    if train.schedule == "cosine":
        rest = optax.cosine_decay_schedule(train.learning_rate, max(steps - warmup, 1))
    if not warmup:
        return rest
    return optax.join_schedules([optax.linear_schedule(0.0, train.learning_rate, warmup), rest], [warmup])


def plateau(train: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """Return the transformation that lowers a factor on the learning rate when the validation loss stops falling.

    Update it after each validation with `value` = its loss; the state's `scale` is the factor.
    """
    # optax lowers the factor at the patience-th validation without a gain; torch and the published code, one later.
    return optax.contrib.reduce_on_plateau(factor=train.plateau_factor, patience=train.plateau_patience + 1)
