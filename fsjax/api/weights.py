"""PyTorch's weights as a function of images."""

from fsjax.engine.model import Model
from fsjax.models import state_dict
from fsjax.runtime import torch_files
from fsjax.runtime.storage import Path


def load_weights(path: str | Path, model: str, *, image_size: int | None = None) -> Model:
    """Load PyTorch's weights into a `Model` of ours: images [n, S, S, 3] float32, normalised -> logits [n, K].

    The logits equal the PyTorch module's in evaluation mode. Names of torchvision, timm and the ICCV 2023 code are
    recognised. No code in the file is run. InputError lists what is missing, not expected, or of another shape.

    Args:
      path: .pt, .pth, .ckpt (also of Lightning) or .safetensors.
      model: a name of fsjax.models.MODELS.
      image_size: S, to which a vision transformer's positions are interpolated; None = the size of the positions.

    Examples:
      >>> logits_fn = fsjax.load_weights("vit.safetensors", "vit_nano_patch8", image_size=24)
      >>> logits_fn(jnp.zeros((2, 24, 24, 3))).shape
      (2, 10)
    """
    return state_dict.to_network(torch_files.read(path), model, image_size, str(path)).model(empty=True)
