"""Naming schemes of PyTorch state dicts, and our models that may fit them, recognised by their keys.

Our names are torchvision's for convolutional networks and timm's for vision transformers. NAMINGS lists the others.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

from jaxtyping import Shaped
from numpy import ndarray


@dataclasses.dataclass(frozen=True)
class Naming:
    """A naming scheme: the parts of PyTorch's keys and our names for them.

    Attributes:
      name: of the scheme.
      sign: a pattern that matches a key of this scheme, and no key of another.
      parts: (theirs, ours), in order; each stands for whole dotted segments of a key, at its start or behind a dot.
      copies: (theirs, ours) under which the same arrays may stand a second time.
      kernels: linear layers of ours that are convolutions there: key -> its shape without the first axis.
    """

    name: str
    sign: str
    parts: tuple[tuple[str, str], ...] = ()
    copies: tuple[tuple[str, str], ...] = ()
    kernels: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def ours(self, key: str) -> str:
        """Return our name of a PyTorch array."""
        return _replaced(key, (*self.copies, *self.parts))

    def theirs(self, key: str) -> list[str]:
        """Return PyTorch's name of our array, and a second name where it is stored twice."""
        back = [(ours, theirs) for theirs, ours in self.parts]
        named = _replaced(key, back)
        copies = [named.replace(ours, theirs, 1) for theirs, ours in self.copies if named.startswith(ours)]
        return [named, *copies]


def recognise(keys: Iterable[str]) -> Naming:
    """Return the scheme that a state dict's keys follow; OURS if no other does."""
    keys = list(keys)
    for naming in NAMINGS:
        if any(re.search(naming.sign, key) for key in keys):
            return naming
    return OURS


def _replaced(key: str, parts: Iterable[tuple[str, str]]) -> str:
    for old, new in parts:
        key = re.sub(rf"(^|\.){re.escape(old)}", rf"\g<1>{new}", key)
    return key


OURS = Naming("torchvision/timm", sign="$^")
# Wang et al., ICCV 2023: stem and stages stand a second time in a sequence, without its ReLU.
PUBLISHED_RESNET = Naming(
    "iccv2023 resnet",
    sign=r"^(layer\d+\.\d+\.shortcut\.\d+\.|features\.\d+\.\d+\.conv1\.)",
    parts=(("shortcut.", "downsample."), ("classifier.", "fc.")),
    copies=(
        *(("features.0.", "conv1."), ("features.1.", "bn1."), ("features.3.", "layer1.")),
        *(("features.4.", "layer2."), ("features.5.", "layer3."), ("features.6.", "layer4.")),
    ),
)
NAMINGS = (
    PUBLISHED_RESNET,
    Naming(
        "torchvision vit",
        sign=r"^conv_proj\.",
        parts=(
            *(("conv_proj.", "patch_embed.proj."), ("class_token", "cls_token")),
            ("encoder.pos_embedding", "pos_embed"),
            *(("encoder.layers.encoder_layer_", "blocks."), ("ln_1.", "norm1."), ("ln_2.", "norm2.")),
            *(("self_attention.in_proj_", "attn.qkv."), ("self_attention.out_proj.", "attn.proj.")),
            *(("mlp.0.", "mlp.fc1."), ("mlp.3.", "mlp.fc2."), ("encoder.ln.", "norm."), ("heads.head.", "head.")),
        ),
    ),
    Naming(
        "timm vgg",
        sign=r"^pre_logits\.",
        parts=(
            ("pre_logits.fc1.", "classifier.0."),
            ("pre_logits.fc2.", "classifier.3."),
            ("head.fc.", "classifier.6."),
        ),
        kernels={"pre_logits.fc1.weight": (512, 7, 7), "pre_logits.fc2.weight": (4096, 1, 1)},
    ),
)


def candidate_models(state: Mapping[str, Shaped[ndarray, "..."]], models: Mapping[str, Callable]) -> list[str]:
    """Return the names of our models that may fit a state dict under our names, without building them."""
    kernel = state.get("patch_embed.proj.weight")
    if kernel is not None and kernel.ndim == 4:
        pool = "" if "cls_token" in state else "_gap" if "fc_norm.weight" in state else "_gap_norm"
        end = f"_patch{kernel.shape[-1]}{pool}"
        widths = {name: getattr(builder, "keywords", {}).get("width") for name, builder in models.items()}
        return [name for name in models if name.endswith(end) and widths[name] == kernel.shape[0]]
    depth = _with_depth(state)
    return [name for name in models if depth and re.match(depth, name)]


def _with_depth(state: Mapping[str, Shaped[ndarray, "..."]]) -> str:
    """Return a pattern for the name of a convolutional network, whose number counts layers; '' for other networks."""
    if in_blocks := sum(re.fullmatch(r"layer\d+\.\d+\.conv\d+\.weight", key) is not None for key in state):
        return f"(wide_)?resnex?t{in_blocks + 2}"
    convolutions = sum(key.startswith("features.") and array.ndim == 4 for key, array in state.items())
    return {0: "", 5: "alexnet"}.get(convolutions, f"vgg{convolutions + 3}")
