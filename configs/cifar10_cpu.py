"""CIFAR-10 with a ResNet-20 on a machine without an accelerator: about 80 % in half an hour on two cores.

python launch.py --config=configs/cifar10_cpu.py --config.data.root=DIR      # DIR/{train,test}/<class>/*.png or .jpg

The tables of Wang et al. (ICCV 2023) on a set and a model that two cores can manage. Time there, measured: training 21
minutes, the removal search 8, the evaluation 6. On a GPU use configs/dfm_resnet.py:cifar10.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """Return a config with a short schedule; configs/dfm_resnet.py:cifar10 has the published schedule."""
    config = common.base()
    config.data.source = "folder"
    config.data.mean, config.data.std = common.CIFAR10
    config.model.name = "resnet20"
    config.train.epochs = 6.0
    config.train.learning_rate = 0.2
    config.train.warmup_steps = 200
    config.train.weight_decay = 5e-4
    config.train.augment = "flip,crop"
    return config
