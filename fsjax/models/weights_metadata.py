"""Folders of PyTorch weights as timm and transformers publish them, and what the config.json in one says."""

import re
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

_NAME, _LONGEST = "config.json", 2**20
# Names of the weights beside it.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_ELSEWHERE = "fsjax.save_model takes any PyTorch module"
# timm's architecture, and ours; what is not listed may have the same keys and other arithmetic, as resnetaa50 has.
_OURS = (
    (r"(?:tv_)?resnet(18|34|50|101|152)", "resnet{}_imagenet"),
    (r"(wide_resnet50_2|wide_resnet101_2|resnext50_32x4d|resnext101_32x8d|resnext101_64x4d)", "{}_imagenet"),
    (r"vgg(11|13|16|19)_bn", "vgg{}_imagenet"),
    (r"(?:vit|deit)_(tiny|small|base|large)_patch(\d+)(_gap)?_\d+(?:_in21k)?", "vit_{}_patch{}"),
)
# Arguments of timm's models that change no arithmetic beyond what the keys show.
_HARMLESS = ("num_classes", "in_chans", "drop_rate", "drop_path_rate")
# Arguments that change arithmetic beside the keys, which our forms follow and timm's modules are built with.
FOLLOWED = ("img_size", "class_token", "fc_norm", "global_pool")
_APART = 1e-3


class Metadata(NamedTuple):
    """What a config.json says.

    Attributes:
      file: it.
      architecture: timm's name.
      model: ours; None = none of ours.
      pool: how tokens or positions become one: 'avg', 'token'; '' = not told.
      arguments: of the model, beside its defaults.
      outputs: number of logits; None = not told.
      mean, std: of pixels in [0, 1], per channel; () = not told.
    """

    file: Path
    architecture: str
    model: str | None
    pool: str
    arguments: dict[str, Any]
    outputs: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


def weights_path(config: ConfigDict) -> Path:
    """Return what config.model.weights names: a file, a workdir, or the file of weights in a published folder."""
    path = storage.path(config.model.weights)
    return next((path / name for name in _WEIGHTS if (path / name).is_file()), path)


def beside(weights: Path) -> Metadata | None:
    """Return what the config.json beside a file of weights says; None where there is none, or it is of another kind.

    Raises:
      InputError: it is not JSON, or of a model of transformers, which is none of ours.
    """
    file = weights.parent / _NAME
    if not file.is_file() or file.stat().st_size > _LONGEST:
        return None
    try:
        content = files.read_json(file)
    except InputError as error:
        raise InputError(f"model.weights: got {file}, which is not JSON; expected timm's, or none") from error
    if not isinstance(content, dict):
        return None
    architecture, of_transformers = content.get("architecture"), content.get("architectures")
    if not isinstance(architecture, str):
        if isinstance(of_transformers, list) and of_transformers:
            raise InputError(
                f"model.weights: {file} says {str(of_transformers[0])[:80]!a} of transformers; expected a model of "
                f"fsjax/models ({_ELSEWHERE})"
            )
        return None
    cfg, arguments = content.get("pretrained_cfg"), content.get("model_args")
    cfg = cfg if isinstance(cfg, dict) else {}
    outputs, pool = content.get("num_classes", cfg.get("num_classes")), content.get("global_pool")
    return Metadata(
        file,
        architecture[:80],
        _ours(architecture),
        pool if isinstance(pool, str) else "",
        arguments if isinstance(arguments, dict) else {},
        outputs if isinstance(outputs, int) else None,
        *(_numbers(cfg.get(name)) for name in ("mean", "std")),
    )


def check(metadata: Metadata, config: ConfigDict, outputs: int) -> None:
    """Raise InputError where metadata say another model, number of outputs or normalisation than the config's."""
    file, name = metadata.file, config.model.name
    said, known = f"{metadata.architecture!a}", metadata.model
    if known is None:
        raise InputError(f"model.weights: {file} says {said}, which is none of ours; {_ELSEWHERE}")
    if not (name == known or (known.startswith("vit") and name in (f"{known}_gap", f"{known}_gap_norm"))):
        raise InputError(f"model.name: got {name}; expected {known}, since {file} says {said}")
    pool = "avg" if not name.startswith("vit") or "_gap" in name else "token"
    if metadata.pool not in ("", pool):
        raise InputError(f"model.name: got {name}; expected a model of global_pool {metadata.pool!a}, as {file} says")
    check_arguments(metadata)
    if metadata.outputs not in (None, outputs):
        raise InputError(f"model.weights: got {outputs} outputs; expected {metadata.outputs}, as {file} says")


def check_arguments(metadata: Metadata) -> None:
    """Raise InputError where metadata say arguments of a model that nothing here follows."""
    file, said = metadata.file, f"{metadata.architecture!a}"
    if others := [argument for argument in metadata.arguments if argument not in (*_HARMLESS, *FOLLOWED)]:
        raise InputError(f"model.weights: {file} says {said} with {others[0][:40]!a}; expected none ({_ELSEWHERE})")


def mean_std(config: ConfigDict, metadata: Metadata | None) -> tuple[np.ndarray, np.ndarray]:
    """Return what images are normalised with: the config's, or else what metadata say.

    Raises:
      InputError: neither says it, or both say it and differ.
    """
    for field in ("mean", "std"):
        given, of_file = tuple(config.data[field]), getattr(metadata, field, ())
        if metadata and given and of_file and not np.allclose(given, of_file, rtol=0, atol=_APART):
            raise InputError(f"data.{field}: got {given}; expected {of_file}, as {metadata.file} says, or ()")
    mean, std = (config.data[field] or getattr(metadata, field, ()) for field in ("mean", "std"))
    if not mean or not std:
        raise InputError(
            "data.mean: got nothing; expected with model.weights, the mean and std that they were trained with; "
            "ImageNet's are --config.data.mean=0.485,0.456,0.406 --config.data.std=0.229,0.224,0.225"
        )
    return np.array(mean, float), np.array(std, float)


def _ours(architecture: str) -> str | None:
    """Return our name of an architecture of timm, whose tag after a dot says how it was trained."""
    for pattern, ours in _OURS:
        if found := re.fullmatch(pattern, architecture.partition(".")[0]):
            return ours.format(*found.groups())
    return None


def _numbers(values: Any) -> tuple[float, ...]:
    plain = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    return tuple(map(float, values)) if plain and len(values) == 3 else ()
