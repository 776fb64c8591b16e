"""A model of torchvision or timm by its name, such as timm/convnext_tiny, with the weights of a file."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Shaped

from fsjax.runtime.errors import InputError, one_line, unknown

LIBRARIES = ("torchvision", "timm")
# A number of classes that is no other size in any model.
_ANY = 1009


def is_one(name: str) -> bool:
    """Return whether a name is LIBRARY/NAME."""
    return name.partition("/")[0] in LIBRARIES and "/" in name


def check(name: str) -> None:
    """Raise InputError if the library is not installed, or has no such model."""
    _maker(name)


def build(
    name: str, state: dict[str, Shaped[np.ndarray, "..."]], where: str, arguments: dict[str, Any] | None = None
) -> Any:
    """Return the module in evaluation mode, with as many outputs as the weights have; every tensor is used once.

    Args:
      name: LIBRARY/NAME.
      state: key -> array of a state dict.
      where: what holds it, for messages.
      arguments: of the model, beside its defaults.

    Raises:
      InputError: weights of another model, or arguments that it does not take.
    """
    import torch

    make = functools.partial(_maker(name), **(arguments or {}))
    try:
        with torch.device("meta"):
            probe = make(num_classes=_ANY).state_dict()
    except Exception as error:  # of the model's own code, about untrusted arguments
        raise InputError(f"{where}: {name} does not take {arguments} ({one_line(error)[:200]})") from error
    heads = [key for key, tensor in probe.items() if tensor.ndim and tensor.shape[0] == _ANY]
    found = {len(state[key]) for key in heads if key in state and state[key].ndim}
    if len(found) != 1:
        raise InputError(f"{where}: got no {' or '.join(heads[:2])}; expected weights of {name}")
    module = make(num_classes=found.pop())
    tensors = {key: torch.from_numpy(np.array(array)) for key, array in state.items()}
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:  # lists what is missing, unexpected or of another shape
        raise InputError(f"{where}, as {name}: {one_line(error)[:400]}") from error
    return module.eval()


def _maker(name: str) -> Callable:
    """Return what builds the module of a name with random weights: make(num_classes=K)."""
    library, _, model = name.partition("/")
    try:
        if library == "timm":
            import timm

            known, make = timm.list_models(), functools.partial(timm.create_model, model)
        else:
            import torchvision

            known = torchvision.models.list_models(module=torchvision.models)
            make = functools.partial(torchvision.models.get_model, model, weights=None)
    except ImportError as error:
        raise InputError(f"model.name: got {name!r}; expected pip install torch {library}") from error
    if model not in known:
        raise unknown("model.name", name, [f"{library}/{of}" for of in known])
    return make
