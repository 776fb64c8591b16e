"""What a state dict that does not fit looks like: an architecture that we lack, or models of ours that may fit it."""

import re
from collections.abc import Callable, Collection, Mapping

from jaxtyping import Shaped
from numpy import ndarray

# Architecture, and a pattern that a key of torchvision, timm, transformers or the original code matches, in order.
_LACKING = (
    ("CLIP", r"^(visual|vision_model|text_model)\.|^transformer\.resblocks\."),
    ("a Swin Transformer", r"\.relative_position_bias_table$"),
    ("a distilled DeiT", r"^(head_dist\.|dist_token$)"),
    ("DINOv2 or another ViT with layer scale", r"^blocks\.\d+\.ls1\."),
    ("a ViT of Hugging Face's transformers", r"(^|\.)embeddings\.patch_embeddings\.|^encoder\.layer\.\d+\.attention\."),
    (
        "a ConvNeXt",
        r"^stages\.\d+\.blocks\.\d+\.conv_dw\.|^stages\.\d+\.\d+\.dwconv\.|^features\.\d+\.\d+\.layer_scale$",
    ),
    ("a DenseNet", r"^features\.denseblock1\."),
    ("an EfficientNet or a MobileNet", r"^conv_stem\.|^features\.\d+\.(\d+\.block|block|conv)\.\d+\.\d+\."),
    ("a RegNet", r"^trunk_output\.|^s1\.b1\.conv1\."),
    ("a SqueezeNet", r"^features\.\d+\.squeeze\."),
    ("an Inception network", r"^(Mixed_5b|inception3a)\."),
    ("an MLP-Mixer", r"^blocks\.\d+\.mlp_tokens\."),
)


def lacking(keys: Collection[str]) -> tuple[str, str] | None:
    """Return the architecture that keys look like and that we lack, and the key that shows it; None for any other."""
    for name, sign in _LACKING:
        found = next((key for key in keys if re.search(sign, key)), None)
        if found is not None:
            return name, found
    return None


def candidates(state: Mapping[str, Shaped[ndarray, "..."]], models: Mapping[str, Callable]) -> list[str]:
    """Return the names of those of our models that a state dict under our names may be of, without building them."""
    kernel = state.get("patch_embed.proj.weight")
    if kernel is not None and kernel.ndim == 4:
        pool = "" if "cls_token" in state else "_gap" if "fc_norm.weight" in state else "_gap_norm"
        end = f"_patch{kernel.shape[-1]}{pool}"
        widths = {name: getattr(builder, "keywords", {}).get("width") for name, builder in models.items()}
        return [name for name in models if name.endswith(end) and widths[name] == kernel.shape[0]]
    depth = _with_depth(state)
    return [name for name in models if depth and re.match(depth, name)]


def _with_depth(state: Mapping[str, Shaped[ndarray, "..."]]) -> str:
    """Return a pattern of how the name of a convolutional network begins, whose number counts layers; '' for none."""
    if in_blocks := sum(re.fullmatch(r"layer\d+\.\d+\.conv\d+\.weight", key) is not None for key in state):
        return f"(wide_)?resnex?t{in_blocks + 2}"
    convolutions = sum(key.startswith("features.") and array.ndim == 4 for key, array in state.items())
    return {0: "", 5: "alexnet"}.get(convolutions, f"vgg{convolutions + 3}")
