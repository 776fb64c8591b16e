"""Load PyTorch's weights, and convert state dicts to networks and back."""

import functools
import logging
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped

from fsjax import models
from fsjax.engine.model import Model
from fsjax.models.naming import OURS, Naming, recognise
from fsjax.models.trained_network import TrainedNetwork
from fsjax.models.vit import interpolate_positions
from fsjax.runtime import torch_files
from fsjax.runtime.errors import InputError, listed
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)

State = dict[str, Shaped[np.ndarray, "..."]]
# A number of classes that is the length of no further axis of a model.
ANY_CLASSES = 1009


def load_weights(path: str | Path, model: str, *, image_size: int | None = None) -> Model:
    """Load PyTorch's weights into a `Model` of ours: images [n, S, S, 3] float32, normalised -> logits [n, K].

    The logits equal the PyTorch module's in evaluation mode. Names of torchvision, timm and the ICCV 2023 code are
    recognised. No code in the file is run. InputError lists keys that are missing, not expected, or of another shape.

    Args:
      path: .pt, .pth, .ckpt (also of Lightning) or .safetensors.
      model: a name of fsjax.models.MODELS.
      image_size: S, to which a vision transformer's positions are interpolated; None = the size of the positions.

    Examples:
      >>> logits_fn = fsjax.load_weights("vit.safetensors", "vit_nano_patch8", image_size=24)
      >>> logits_fn(jnp.zeros((2, 24, 24, 3))).shape
      (2, 10)
    """
    return to_network(torch_files.read(path), model, image_size, str(path)).model(empty=True)


def to_network(state: State, name: str, image_size: int | None, where: str) -> TrainedNetwork:
    """Build the named model with these weights and as many classes as they have; every tensor is used once.

    The state dict is emptied, so that no array is in memory twice. Its keys may share a prefix, such as Lightning's.
    `num_batches_tracked` is ignored. A vision transformer's positions are interpolated to `image_size`; None = their
    own. Raises InputError, which calls the state dict `where`, for keys that are missing or not expected, an array of
    another shape, and copies of an array that differ.
    """
    naming, copied = _rename(state, where)
    own_size = _image_size(state)
    image_size = image_size or own_size
    if image_size is None:
        raise InputError(f"image_size: got None; expected a number of pixels, which weights of {name} do not tell")
    shapes, classes = _shapes(state, name, image_size)
    expected = {_key(path): _theirs(np.broadcast_to(np.float32(0), shape)).shape for path, shape in shapes.items()}
    if own_size not in (None, image_size):
        side, prefix = image_size // state["patch_embed.proj.weight"].shape[-1], int("cls_token" in state)
        state["pos_embed"] = interpolate_positions(np.asarray(state["pos_embed"], np.float32), side, prefix)
        logger.info("interpolated the weights' positions, for %d pixels, to this image size", own_size)
    if misfits := _misfits(state, expected):
        raise InputError(f"{where}, as {name}: {misfits} (for a model of timm or torchvision: model.name=timm/NAME)")
    network = models.build(name, num_classes=classes, image_size=image_size)
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for path, shape in shapes.items():
        *parts, last = path
        node = functools.reduce(lambda node, part: node.setdefault(part, {}), parts, variables)
        node[last] = _ours(state.pop(_key(path)), shape)
    return TrainedNetwork(network, variables, naming=naming, copied=copied)


def from_variables(variables: dict, naming: Naming = OURS, copied: bool = False) -> State:
    """Return the state dict of a network's arrays in a naming scheme, with its second copies if asked.

    BatchNorm's `num_batches_tracked` is 0, since we do not count batches.
    """
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        key, array = _key([part.key for part in path]), _theirs(np.asarray(leaf))
        for named in naming.theirs(key)[: 2 if copied else 1]:
            state[named] = array
            if named.endswith("running_mean"):
                state[named.replace("running_mean", "num_batches_tracked")] = np.array(0)
    return state


def _rename(state: State, where: str) -> tuple[Naming, bool]:
    """Give the arrays our names in place; two copies of an array must be equal."""
    shared = os.path.commonprefix(list(state))  # noqa: RUF071 - cut at the last dot
    prefix = shared[: shared.rfind(".") + 1]
    keys = [key for key in state if not key.endswith("num_batches_tracked")]
    naming = recognise(key[len(prefix) :] for key in keys)
    given = {key: state[key] for key in keys}
    state.clear()
    for key, array in given.items():
        ours = naming.ours(key[len(prefix) :])
        if ours in state and not np.array_equal(state[ours], array):
            raise InputError(f"{where}: {key} differs from its copy {ours}; expected equal arrays")
        state[ours] = array
    return naming, len(state) < len(given)


def _image_size(state: State) -> int | None:
    """Return the pixels a side that the weights' positions are for; None for a model without positions."""
    positions, kernel = state.get("pos_embed"), state.get("patch_embed.proj.weight")
    if positions is None or kernel is None:
        return None
    return math.isqrt(positions.shape[1] - ("cls_token" in state)) * kernel.shape[-1]


def _shapes(state: State, name: str, image_size: int) -> tuple[dict[tuple[str, ...], tuple[int, ...]], int]:
    """Return path -> shape of every array of a model, and its number of classes, taken from the weights."""
    probe = models.build(name, num_classes=ANY_CLASSES, image_size=image_size)
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(lambda: probe.init(0)))
    shapes = {tuple(part.key for part in path): leaf.shape for path, leaf in leaves}
    heads = [state[_key(path)] for path, shape in shapes.items() if ANY_CLASSES in shape and _key(path) in state]
    classes = max((len(array) for array in heads if array.ndim), default=1)
    return {path: tuple(classes if n == ANY_CLASSES else n for n in shape) for path, shape in shapes.items()}, classes


def _misfits(state: State, expected: dict[str, tuple[int, ...]]) -> str:
    """List the keys that do not fit, by their fault; '' where all fit."""
    misfits = {
        "missing": sorted(expected.keys() - state.keys()),
        "not expected": sorted(state.keys() - expected.keys()),
        "of another shape": [
            f"{key} {tuple(state[key].shape)}, not {expected[key]}"
            for key in sorted(state.keys() & expected.keys())
            if state[key].shape != expected[key]
        ],
    }
    return "; ".join(f"{what}: {listed(keys)}" for what, keys in misfits.items() if keys)


def _key(path: Sequence[str]) -> str:
    """Return PyTorch's name of the array at a path, which begins with 'params' or 'batch_stats'."""
    *parts, last = path[1:]
    torchs = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    return ".".join([*parts, torchs.get(last, last)])


def _theirs(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Return a kernel with its axes in PyTorch's order; other arrays unchanged."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
    return array.transpose(axes) if axes else array


def _ours(array: Shaped[np.ndarray, "..."], shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    """Reverse `_theirs`, in float32."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(len(shape))
    return np.ascontiguousarray(array.transpose(axes) if axes else array, np.float32)
