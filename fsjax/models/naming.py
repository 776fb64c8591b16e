"""Naming schemes of PyTorch state dicts, recognised by their keys.

Our names are torchvision's for convolutional networks and timm's for vision transformers. The published ResNets have
others.
"""

import dataclasses
import re
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Naming:
    """A naming scheme: parts of PyTorch's keys, whole dotted segments, and our names for them, in order."""

    name: str
    parts: tuple[tuple[str, str], ...] = ()  # (theirs, ours)
    copies: tuple[tuple[str, str], ...] = ()  # (theirs, ours) under which the same arrays may stand a second time

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
    published = r"^(layer\d+\.\d+\.shortcut\.\d+\.|features\.\d+\.\d+\.conv1\.)"
    return PUBLISHED_RESNET if any(re.search(published, key) for key in keys) else OURS


def _replaced(key: str, parts: Iterable[tuple[str, str]]) -> str:
    for old, new in parts:
        key = re.sub(rf"(^|\.){re.escape(old)}", rf"\g<1>{new}", key)
    return key


OURS = Naming("torchvision/timm")
# Wang et al., ICCV 2023: stem and stages stand a second time in a sequence, without its ReLU.
PUBLISHED_RESNET = Naming(
    "iccv2023 resnet",
    parts=(("shortcut.", "downsample."), ("classifier.", "fc.")),
    copies=(
        *(("features.0.", "conv1."), ("features.1.", "bn1."), ("features.3.", "layer1.")),
        *(("features.4.", "layer2."), ("features.5.", "layer3."), ("features.6.", "layer4.")),
    ),
)
