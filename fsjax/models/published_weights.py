"""Weights as timm and torchvision publish them: the config.json beside a file, and modules by library and name."""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from ml_collections import ConfigDict

from fsjax.models.state_dict import ANY_CLASSES
from fsjax.runtime import files, storage, torch_files
from fsjax.runtime.errors import InputError, check_known, one_line
from fsjax.runtime.storage import Path

# Names of the weights in a published folder.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# timm's architecture, and our name. Others may have the same keys and another arithmetic, as resnetaa50 has.
_OURS = (
    (r"(?:tv_)?resnet(18|34|50|101|152)", "resnet{}_imagenet"),
    (r"(?:vit|deit)_(tiny|small|base|large)_patch(\d+)(_gap)?_\d+(?:_in21k)?", "vit_{}_patch{}"),
)
# Arguments of timm's models without effect on the logits, and arguments that we follow.
_HARMLESS = ("num_classes", "in_chans", "drop_rate", "drop_path_rate")
_FOLLOWED = ("img_size", "class_token", "fc_norm", "global_pool")
_APART = 1e-3


class Metadata(NamedTuple):
    """The content of timm's config.json beside a file of weights; empty without such a file."""

    file: Path
    architecture: str  # timm's name, without the tag that says how it was trained
    pool: str  # how tokens or positions are reduced: 'avg', 'token'; '' = not told
    arguments: dict[str, Any]  # of the model, where they differ from its defaults
    mean_std: list[np.ndarray]  # of pixels in [0, 1], per channel


def weights_path(config: ConfigDict) -> Path:
    """Return the path in config.model.weights: a file, a workdir, or the file of weights in a published folder."""
    path = storage.path(config.model.weights)
    return next((path / name for name in _WEIGHTS if (path / name).is_file()), path)


def read_metadata(weights: Path) -> Metadata:
    """Read timm's config.json beside a file of weights."""
    file = weights.parent / "config.json"
    content = files.read_json(file) if file.is_file() else {}
    if not isinstance(content, dict) or not isinstance(content.get("architecture"), str):
        content = {}
    try:
        told = content.get("pretrained_cfg", {})
        mean_std = [np.asarray(told.get(name, ()), float).reshape(-1) for name in ("mean", "std")]
        arguments = dict(content.get("model_args", {}))
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{file}: not a config.json as timm writes it ({one_line(error)})") from error
    return Metadata(
        file, content.get("architecture", "").partition(".")[0], content.get("global_pool", ""), arguments, mean_std
    )


def check_metadata(metadata: Metadata, name: str, pool: Any) -> None:
    """Raise InputError where metadata say another model or pool than ours, or arguments that nothing here follows."""
    file, architecture, told, arguments, _ = metadata
    if not architecture:
        return
    matches = ((re.fullmatch(pattern, architecture), ours) for pattern, ours in _OURS if not is_library_name(name))
    expected = next((ours.format(*match.groups()) for match, ours in matches if match), f"timm/{architecture}")
    if name.removesuffix("_gap") != expected:
        raise InputError(f"model.name: got {name}; expected {expected}, since {file} says {architecture!r}")
    if others := [argument for argument in arguments if argument not in (*_HARMLESS, *_FOLLOWED)]:
        remedy = "fsjax.save_model takes any PyTorch module"
        raise InputError(f"model.weights: {file} says {architecture!r} with {others[0]!r}; expected none ({remedy})")
    if isinstance(pool, str) and told not in ("", pool):
        raise InputError(f"model.name: got {name} of global_pool {pool!r}; expected {told!r}, as {file} says")


def choose_mean_std(config: ConfigDict, told: Any, where: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and std that normalise images: the config's, or else the file's (`told`, maybe empty).

    Raises:
      InputError: neither tells them, or both do and differ.
    """
    chosen = []
    for field, stated in zip(("mean", "std"), map(np.asarray, told), strict=True):
        given = np.asarray(config.data[field], float)
        if len(given) and len(stated) and not (given.shape == stated.shape and np.allclose(given, stated, 0, _APART)):
            got, expected = tuple(given.tolist()), tuple(stated.tolist())
            raise InputError(f"data.{field}: got {got}; expected {expected}, as {where} says, or ()")
        chosen.append(given if len(given) else stated)
    if not all(map(len, chosen)):
        raise InputError(
            "data.mean: got nothing; expected with model.weights, the mean and std that they were trained with; "
            "ImageNet's are --config.data.mean=0.485,0.456,0.406 --config.data.std=0.229,0.224,0.225"
        )
    return chosen[0], chosen[1]


def is_library_name(name: str) -> bool:
    """Return whether a model's name is LIBRARY/NAME, such as timm/convnext_tiny."""
    return name.startswith(("torchvision/", "timm/", "efficientnet_lite_pytorch/"))


def read_module(config: ConfigDict) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """Return a library's module of config.model.name with the weights of a file, and its mean and std.

    Raises:
      InputError: weights of another model, or a config.json that says otherwise than the config.
    """
    path, name, size = weights_path(config), config.model.name, config.data.image_size
    metadata = read_metadata(path)
    mean_std = choose_mean_std(config, metadata.mean_std, metadata.file)
    arguments = {argument: value for argument, value in metadata.arguments.items() if argument in _FOLLOWED}
    side = arguments.get("img_size", size)
    if side not in (size, [size, size]):
        raise InputError(f"data.image_size: got {size}; expected {side}, as {metadata.file} says")
    module = _build_module(name, torch_files.read(path), str(path), arguments)
    check_metadata(metadata, name, getattr(module, "global_pool", None))
    return module, mean_std


def _build_module(name: str, state: dict[str, Shaped[np.ndarray, "..."]], where: str, arguments: dict[str, Any]) -> Any:
    """Return the module in evaluation mode, with as many outputs as the weights have; every tensor is used once."""
    import torch

    make = functools.partial(find_maker(name), **arguments)
    try:
        with torch.device("meta"):
            probe = make(num_classes=ANY_CLASSES).state_dict()
    except Exception as error:  # the model's code may raise anything for untrusted arguments
        raise InputError(f"{where}: {name} does not take {arguments} ({one_line(error)[:200]})") from error
    heads = [key for key, tensor in probe.items() if tensor.ndim and tensor.shape[0] == ANY_CLASSES]
    outputs = {len(state[key]) for key in heads if key in state and state[key].ndim}
    if len(outputs) != 1:
        raise InputError(f"{where}: got no {' or '.join(heads[:2])}; expected weights of {name}")
    module = make(num_classes=outputs.pop())
    tensors = {key: torch.from_numpy(np.array(array)) for key, array in state.items()}
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:  # lists keys that are missing, unexpected or of another shape
        raise InputError(f"{where}, as {name}: {one_line(error)[:400]}") from error
    return module.eval()


def find_maker(name: str) -> Callable:
    """Return what builds a library's module with random weights, make(num_classes=K); InputError if there is none."""
    library, _, model = name.partition("/")
    try:
        if library == "timm":
            import timm

            known, make = timm.list_models(), functools.partial(timm.create_model, model)
        elif library == "efficientnet_lite_pytorch":
            from efficientnet_lite_pytorch import EfficientNet

            known, make = ["efficientnet-lite0"], functools.partial(EfficientNet.from_name, model)
        else:
            import torchvision

            known = torchvision.models.list_models(module=torchvision.models)
            make = functools.partial(torchvision.models.get_model, model, weights=None)
    except ImportError as error:
        raise InputError(f"model.name: got {name!r}; expected pip install torch {library}") from error
    check_known("model.name", name, [f"{library}/{other}" for other in known])
    return make
