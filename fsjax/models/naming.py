"""Naming schemes of PyTorch state dicts, recognised by their keys.

Our names are torchvision's for convolutional networks and timm's for vision transformers. NAMINGS lists the others.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping


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
    """Return the scheme that a state dict's keys follow, by default OURS."""
    keys = list(keys)
    return next((naming for naming in NAMINGS if any(re.search(naming.sign, key) for key in keys)), OURS)


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
