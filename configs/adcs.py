"""Class-wise spectra of the data, without a model: the ADCS figures of Wang et al. (ICCV 2023), one panel a class.

  python launch.py --config=configs/adcs.py                   # planted shortcuts, made on the fly
  python launch.py --config=configs/adcs.py:cifar10           # prepared by TFDS
  python launch.py --config=configs/adcs.py:cifar10 --config.data.source=folder --config.data.root=DIR
  python launch.py --config=configs/adcs.py:imagenet10 --config.data.root=DIR    # DIR/{train,val}/<wnid>/
  python launch.py --config=configs/adcs.py:imagenet1k --config.data.root=DIR

Nothing is trained. The published figure uses the val folder and the rule of the published code:
--config.adcs.split=test --config.adcs.compat=True. A stopped run starts again: it reads every image once. Time on two
CPU cores: the synthetic set and CIFAR-10's test images 4 and 7 seconds (measured); at 224 pixels 320 transforms a
second (measured), so ImageNet-1k's training images more than an hour. On a GPU, decoding takes most of the time.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "synthetic") -> ConfigDict:
    """Return the config of a data set: synthetic, cifar10, imagenet10 or imagenet1k."""
    config = common.dataset(arg)
    config.stages = "adcs"
    return config
