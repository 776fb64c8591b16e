"""Dominant frequency maps of a ResNet, trained as in Wang et al. (ICCV 2023).

  python launch.py --config=configs/dfm_resnet.py             # ResNet-20, planted shortcuts made on the fly
  python launch.py --config=configs/dfm_resnet.py:cifar10     # ResNet-18 with the CIFAR stem, prepared by TFDS
  python launch.py --config=configs/dfm_resnet.py:cifar10 --config.data.source=folder --config.data.root=DIR
  python launch.py --config=configs/dfm_resnet.py:imagenet10 --config.data.root=DIR    # DIR/{train,val}/<wnid>/
  python launch.py --config=configs/dfm_resnet.py:imagenet1k --config.data.root=DIR    # ImageNet stem

The published search is on the test images: --config.search.split=test --config.search.images_per_class=0.

Wang et al.'s maps, and TPR and FPR at 5 %, of a ResNet-18 on ImageNet-10 (training: SGD 0.01, batch 64, 200 epochs, the
rate divided by ten on plateaus); imagenet1k is the data of Wang et al. (CVPR 2025), in patches of 8 x 8. Time on one
H100-class GPU, ESTIMATED by benchmarks/cost/estimates.py and not measured: cifar10 20 min, imagenet10 18 h
(search 14 h), imagenet1k 25 h.
"""

from ml_collections import ConfigDict

from configs import common

_MODELS = {
    "demo": "resnet20",
    "synthetic": "resnet20",
    "cifar10": "resnet18_cifar",
    "imagenet10": "resnet18_cifar",
    "imagenet1k": "resnet18_imagenet",
}


def get_config(arg: str = "synthetic") -> ConfigDict:
    """Return the config of a ResNet on a data set: demo, synthetic, cifar10, imagenet10 or imagenet1k."""
    config = common.dataset(arg)
    config.model.name = _MODELS[arg]
    config.train.optimizer = "sgd"
    config.train.momentum = 0.9
    config.train.weight_decay = 1e-4
    config.train.learning_rate = 0.01
    if arg in ("demo", "synthetic"):
        config.train.steps = 200
        config.train.batch_size = 64
        config.train.schedule = "cosine"
    else:
        config.train.epochs = 200.0
        config.train.batch_size = 64
        config.train.schedule = "plateau"
        config.train.plateau_patience = 10
        config.train.plateau_factor = 0.1
        config.train.augment = "flip,resized_crop"
    return config
