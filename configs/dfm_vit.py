"""Dominant frequency maps of a vision transformer.

  python launch.py --config=configs/dfm_vit.py                # made on the fly, like photographs: minutes on a CPU
  python launch.py --config=configs/dfm_vit.py:synthetic      # planted shortcuts in noise
  python launch.py --config=configs/dfm_vit.py:cifar10        # ViT-S/4, a CIFAR-10 prepared by TFDS
  python launch.py --config=configs/dfm_vit.py:imagenet10 --config.data.root=DIR   # ViT-B/8, DIR/{train,val}/<wnid>/
  python launch.py --config=configs/dfm_vit.py:imagenet1k --config.data.root=DIR   # ViT-B/16

Any field can be set: --config.data.source=folder --config.data.root=DIR reads CIFAR-10 from folders of images.

Reproduces the maps, and TPR and FPR under them, of the ViT-B of Wang et al. (ICCV 2023). The set `demo` has a class
with a scanner's grid, which is a shortcut, and four without one; `synthetic` has planted orbits in noise, and
--config.data.name=syn1 the form of the published sets. Time: `demo` three minutes on two busy CPU cores (measured). One
H100-class GPU, ESTIMATED by benchmarks/cost/estimates.py and not measured: cifar10 1 h, imagenet10 53 h (search 41 h),
imagenet1k 270 h (training 250 h).
"""

from ml_collections import ConfigDict

from configs import common

_MODELS = {
    "demo": "vit_micro_patch8",
    "synthetic": "vit_micro_patch8",
    "cifar10": "vit_small_patch4",
    "imagenet10": "vit_base_patch8",
    "imagenet1k": "vit_base_patch16",
}


def get_config(arg: str = "demo") -> ConfigDict:
    """Return the config of a ViT on a data set: demo, synthetic, cifar10, imagenet10 or imagenet1k."""
    config = common.dataset(arg)
    config.model.name = _MODELS[arg]
    config.train.optimizer = "adamw"
    config.train.schedule = "cosine"
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 0.05
    if arg in ("demo", "synthetic"):
        config.data.name = arg
        config.train.steps = 500
        config.train.batch_size = 128
        config.train.warmup_steps = 30
    else:
        # Wang et al. train a ViT like a ResNet; from scratch a ViT needs AdamW with a warm-up to learn.
        config.train.epochs = 200.0
        config.train.batch_size = 512
        config.train.warmup_steps = 1000
        config.train.augment = "flip,resized_crop"
    return config
