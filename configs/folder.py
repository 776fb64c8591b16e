"""Train a model on a folder of images, DIR/{train,test}/<class>/, search it, and report its frequency shortcuts.

  python launch.py --config=configs/folder.py:DIR             # test images in DIR/test, or else in DIR/val
  python launch.py --config=configs/folder.py:DIR --config.train.epochs=60 --workdir=runs/mine

Image size, model, patch and shares follow from the images' sizes and number: up to 64 pixels a ResNet-20, above it a
small ResNet with the ImageNet stem. The search is graft, or removal for one class or a class of very few images. Images
may have any size and be grey; files that do not decode are named in the log and left out. Every field can be set, and
`--help` lists the chosen values.
"""

import pathlib
from collections import Counter

import numpy as np
from ml_collections import ConfigDict

from configs import common
from fsjax import search
from fsjax.data.folder import class_folders, image_files
from fsjax.runtime.errors import InputError
from fsjax.runtime.image_files import open_image
from fsjax.search import patch_maps

SIZES = (32, 48, 64, 96, 128, 160, 224)
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
# Read the size of at most so many images, without decoding them.
_MEASURED = 200
# Train on about so many pixels, ten minutes on two cores, within these limits of epochs.
_PIXELS, _EPOCHS = 1.7e9, (5, 60)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for a folder DIR; without DIR, set data.root.

    Raises:
      InputError: a missing folder, or a train folder without images.
    """
    config = common.base()
    config.arg = arg
    config.data.source = "folder"
    config.data.root = arg
    config.data.skip_undecodable = True
    config.train.learning_rate = 0.05
    config.train.warmup_steps = 50
    config.train.weight_decay = 5e-4
    config.run.checkpoint_every = 100
    files = _files(arg)
    # Fewer than the images that are left for training.
    config.train.batch_size = min(32, 2 ** int(np.log2(max(1, 0.8 * len(files))))) if files else 32
    size = config.data.image_size = _image_size(files)
    small = size <= 64
    config.model.name = "resnet20" if small else "resnet10w16_imagenet"
    config.train.augment, config.train.min_scale = ("flip,crop", 0.08) if small else ("flip,resized_crop", 0.5)
    config.train.epochs = float(np.clip(round(_PIXELS / size**2 / max(1, len(files))), *_EPOCHS))
    # A plane of about 30 x 30 patches; powers of two divide every size.
    config.search.patch = next(side for side in (1, 2, 4, 8) if size / side <= 32)
    config.search.images_per_class = 100 if small else 40
    # An image of each class, or more, is for validation.
    counts = [count - 1 for count in Counter(file.parent.name for file in files).values()]
    config.search.method = search.default_method(counts) if files else search.DEFAULT
    held = [share for share in SHARES if patch_maps.whole(share, (size, size), config.search.patch) >= patch_maps.FEW]
    config.search.shares = tuple(share for share in held if not (share == 0.02 and 0.01 in held))
    return config


def _files(root: str) -> list[pathlib.Path]:
    """Return the training images; none without a folder, or for a store, which the run itself checks."""
    if not root or "://" in root:
        return []
    train = pathlib.Path(root) / "train"
    if not pathlib.Path(root).is_dir() or not train.is_dir():
        raise InputError(
            f"--config: got folder.py:{root}, no folder {train}; expected DIR with train/<class>/ and test/"
        )
    return [pathlib.Path(file) for name in class_folders(train) for file in image_files(train / name)]


def _image_size(files: list[pathlib.Path]) -> int:
    """Return the largest of SIZES that half of the images have on their shorter side; at least the smallest."""
    sides = []
    for file in files[:: max(1, len(files) // _MEASURED)]:
        try:
            with open_image(file) as image:
                sides.append(min(image.size))
        except Exception:  # the run itself names undecodable files and leaves them out
            continue
    return max([size for size in SIZES if sides and size <= np.median(sides)], default=SIZES[0])
