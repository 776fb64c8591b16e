"""Capacity and training: models x training variants x seeds, in one table.

  python launch.py --config=configs/study.py                   # on planted shortcuts made on the fly
  python launch.py --config=configs/study.py:cifar10 --config.study.models=resnet18_cifar,resnet50_cifar,vgg16_cifar
  python launch.py --config=configs/study.py:imagenet10 --config.data.root=DIR      # DIR/{train,val}/<wnid>/

Reproduces the table of Wang et al. (ICCV 2023) over models and augmentations: TPR and FPR of each class at 5 %, here
with their spread over seeds, and the agreement between the maps of two seeds (for its stylised copies see
configs/augment.py). A finished run is not repeated, so models, variants and seeds can be added. Time on one H100-class
GPU, ESTIMATED by benchmarks/cost/estimates.py and not measured: cifar10 15 hours for 36 runs; imagenet10 1,400 hours
for 45, or 330 with --config.search.patch=8.
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
    """Return the config of a grid on a data set: synthetic, cifar10_cpu, cifar10 or imagenet10."""
    config = augment.base(arg)
    config.study.models = _MODELS[arg]
    config.study.variants = "standard" if arg == "synthetic" else "standard,autoaugment,augmix"
    config.study.seeds = "0,1,2"
    return config
