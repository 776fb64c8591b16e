"""The fields of config.data and images for tests that open data without a run."""

import numpy as np
from PIL import Image

from configs import common


def data_config(source, **fields):
    """The default config.data, with images of 8 pixels and no validation split, and `fields` in place of others."""
    config = common.base().data
    config.update({"source": source, "image_size": 8, "validation_share": 0.0})
    config.update({name: str(value) if name == "root" else value for name, value in fields.items()})
    return config


def save_images(folder, images, suffix=".png", first=0):
    """Write images [height, width, 3] to a folder under their numbers, three digits long."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, first):
        Image.fromarray(image).save(folder / f"{number:03d}{suffix}")


def smooth_images(count, size):
    """Random images with structure at several scales, grey levels in [0, 255]."""
    small = np.random.default_rng(0).integers(0, 256, (count, 7, 7, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(s).resize((size, size), Image.Resampling.BICUBIC)) for s in small])
