"""Capacity and training: models x training variants x seeds, in one table.

  python launch.py --config=configs/study.py                   # on planted shortcuts made on the fly
  python launch.py --config=configs/study.py:cifar10 --config.study.models=resnet18_cifar,resnet50_cifar,vgg16_cifar
  python launch.py --config=configs/study.py:imagenet10 --config.data.root=DIR      # DIR/{train,val}/<wnid>/

Per class TPR and FPR at 5 % and their spread over seeds, as Wang et al. (ICCV 2023) tabulate them over ResNet-18, -34,
-50, VGG-16 and a ViT with and without AutoAugment, AugMix and stylised copies, and how alike the maps of two seeds are.
"""

from ml_collections import ConfigDict

from configs import augment

_MODELS = {
    "synthetic": "resnet20,vit_micro_patch8",
    "cifar10_cpu": "resnet20",
    "cifar10": "resnet18_cifar,resnet34_cifar,resnet50_cifar,vgg16_cifar",
    "imagenet10": "resnet18_cifar,resnet34_cifar,resnet50_cifar,vgg16_cifar,vit_base_patch8",
}


def get_config(arg: str = "synthetic") -> ConfigDict:
    """A grid on a data set: synthetic, cifar10_cpu, cifar10 or imagenet10."""
    config = augment.base(arg)
    config.study.models = _MODELS[arg]
    config.study.variants = "standard" if arg == "synthetic" else "standard,autoaugment,augmix"
    config.study.seeds = "0,1,2"
    return config
