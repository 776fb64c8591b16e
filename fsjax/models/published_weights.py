"""Weights as timm and torchvision publish them: the config.json beside a file, and modules by library and name."""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from ml_collections import ConfigDict

from fsjax.runtime import files, storage, torch_files
from fsjax.runtime.errors import InputError, one_line, unknown
from fsjax.runtime.storage import Path

_NAME, _LONGEST = "config.json", 2**20
# Names of the weights beside it.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_ELSEWHERE = "fsjax.save_model takes any PyTorch module"
# timm's architecture, and our name. Others may have the same keys and another arithmetic, as resnetaa50 has.
_OURS = (
    (r"(?:tv_)?resnet(18|34|50|101|152)", "resnet{}_imagenet"),
    (r"(wide_resnet50_2|wide_resnet101_2|resnext50_32x4d|resnext101_32x8d|resnext101_64x4d)", "{}_imagenet"),
    (r"vgg(11|13|16|19)_bn", "vgg{}_imagenet"),
    (r"(?:vit|deit)_(tiny|small|base|large)_patch(\d+)(_gap)?_\d+(?:_in21k)?", "vit_{}_patch{}"),
)
# Arguments of timm's models without effect on the logits, and arguments that we follow.
_HARMLESS = ("num_classes", "in_chans", "drop_rate", "drop_path_rate")
_FOLLOWED = ("img_size", "class_token", "fc_norm", "global_pool")
_APART = 1e-3
_LIBRARIES = ("torchvision", "timm")
# A number of classes that no other axis of any model has.
_ANY = 1009


class Metadata(NamedTuple):
    """The content of a config.json."""

    file: Path
    architecture: str  # timm's name
    model: str | None  # our name; None = we have no such model
    pool: str  # how tokens or positions are reduced: 'avg', 'token'; '' = not told
    arguments: dict[str, Any]  # arguments of the model that differ from its defaults
    mean_std: tuple[tuple[float, ...], tuple[float, ...]]  # of pixels in [0, 1], per channel; () = not told


def weights_path(config: ConfigDict) -> Path:
    """Return the path in config.model.weights: a file, a workdir, or the file of weights in a published folder."""
    path = storage.path(config.model.weights)
    return next((path / name for name in _WEIGHTS if (path / name).is_file()), path)


def read_metadata(weights: Path) -> Metadata | None:
    """Read timm's config.json beside a file of weights; None where there is none, or one of another kind."""
    file = weights.parent / _NAME
    if not file.is_file() or file.stat().st_size > _LONGEST:
        return None
    content = files.read_json(file)
    architecture = content.get("architecture") if isinstance(content, dict) else None
    if not isinstance(architecture, str):
        return None
    cfg, arguments, pool = (content.get(name) for name in ("pretrained_cfg", "model_args", "global_pool"))
    cfg = cfg if isinstance(cfg, dict) else {}
    return Metadata(
        file,
        architecture[:80],
        _our_name(architecture),
        pool if isinstance(pool, str) else "",
        arguments if isinstance(arguments, dict) else {},
        (_numbers(cfg.get("mean")), _numbers(cfg.get("std"))),
    )


def check_network(metadata: Metadata, name: str) -> None:
    """Raise InputError where metadata say another model than our network of this name."""
    if metadata.model is None:
        raise InputError(
            f"model.weights: {metadata.file} says {metadata.architecture!a}, which is not supported; {_ELSEWHERE}"
        )
    forms = ("", "_gap", "_gap_norm") if metadata.model.startswith("vit") else ("",)
    _check_metadata(metadata, name, [f"{metadata.model}{form}" for form in forms])
    _check_pool(metadata, name, "token" if name.startswith("vit") and "_gap" not in name else "avg")


def choose_mean_std(config: ConfigDict, told: Any, where: Path | None) -> tuple[np.ndarray, np.ndarray]:
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


def metadata_mean_std(config: ConfigDict, metadata: Metadata | None) -> tuple[np.ndarray, np.ndarray]:
    """Return `choose_mean_std` for a config.json."""
    told, file = (metadata.mean_std, metadata.file) if metadata else (((), ()), None)
    return choose_mean_std(config, told, file)


def is_library_name(name: str) -> bool:
    """Return whether a model's name is LIBRARY/NAME, such as timm/convnext_tiny."""
    return name.partition("/")[0] in _LIBRARIES and "/" in name


def check_library_name(name: str) -> None:
    """Raise InputError if the library is not installed, or has no such model."""
    _maker(name)


def read_module(config: ConfigDict) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """Return torchvision's or timm's module of config.model.name with the weights of a file, and its mean and std.

    Raises:
      InputError: weights of another model, or a config.json that says otherwise than the config.
    """
    path, name, size = weights_path(config), config.model.name, config.data.image_size
    if not path.is_file():
        raise InputError(f"model.weights: no file {path}; expected PyTorch weights of {name}")
    metadata = read_metadata(path)
    mean_std, arguments = metadata_mean_std(config, metadata), {}
    if metadata:
        _check_metadata(metadata, name, [f"timm/{metadata.architecture.partition('.')[0]}", metadata.architecture])
        arguments = {name: value for name, value in metadata.arguments.items() if name in _FOLLOWED}
        side = arguments.get("img_size", size)
        if side not in (size, [size, size]):
            raise InputError(f"data.image_size: got {size}; expected {side}, as {metadata.file} says")
    with storage.local(path) as file:
        module = _build_module(name, torch_files.read(file), str(path), arguments)
    if metadata and isinstance(pool := getattr(module, "global_pool", None), str):
        _check_pool(metadata, name, pool)
    return module, mean_std


def _build_module(name: str, state: dict[str, Shaped[np.ndarray, "..."]], where: str, arguments: dict[str, Any]) -> Any:
    """Return the module in evaluation mode, with as many outputs as the weights have; every tensor is used once."""
    import torch

    make = functools.partial(_maker(name), **arguments)
    try:
        with torch.device("meta"):
            probe = make(num_classes=_ANY).state_dict()
    except Exception as error:  # the model's code may raise anything for untrusted arguments
        raise InputError(f"{where}: {name} does not take {arguments} ({one_line(error)[:200]})") from error
    heads = [key for key, tensor in probe.items() if tensor.ndim and tensor.shape[0] == _ANY]
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
        raise unknown("model.name", name, [f"{library}/{other}" for other in known])
    return make


def _check_metadata(metadata: Metadata, name: str, expected: list[str]) -> None:
    """Raise InputError for another model's name, and for arguments of the model that nothing here follows."""
    file, said = metadata.file, f"{metadata.architecture!a}"
    if name not in expected:
        raise InputError(f"model.name: got {name}; expected {expected[0]}, since {file} says {said}")
    if others := [argument for argument in metadata.arguments if argument not in (*_HARMLESS, *_FOLLOWED)]:
        raise InputError(f"model.weights: {file} says {said} with {others[0][:40]!a}; expected none ({_ELSEWHERE})")


def _check_pool(metadata: Metadata, name: str, pool: str) -> None:
    if metadata.pool not in ("", pool):
        raise InputError(
            f"model.name: got {name} of global_pool {pool!a}; expected {metadata.pool!a}, as {metadata.file} says"
        )


def _our_name(architecture: str) -> str | None:
    """Return our name of a timm architecture; its tag after a dot says how it was trained."""
    for pattern, name in _OURS:
        if match := re.fullmatch(pattern, architecture.partition(".")[0]):
            return name.format(*match.groups())
    return None


def _numbers(values: Any) -> tuple[float, ...]:
    plain = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    return tuple(map(float, values)) if plain and len(values) == 3 else ()
