"""Ten classes of Caltech-101 at 224 pixels with a small ImageNet-stem ResNet, on a machine without an accelerator.

python launch.py --config=configs/caltech10_cpu.py --config.data.root=DIR     # DIR/{train,test}/<class>/*.jpg

Stands in for ImageNet-10 of Wang et al. (ICCV 2023) where there is no accelerator. Time on two cores, measured:
training 6 to 9 minutes.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """Return the config; its patches of 8 x 8 frequencies are 420, against 25,090 single orbits."""
    config = common.base()
    config.data.source = "folder"
    config.data.image_size = 224
    config.data.mean, config.data.std = common.IMAGENET
    config.model.name = "resnet10w16_imagenet"
    config.train.epochs = 30.0
    config.train.batch_size = 32
    config.train.learning_rate = 0.05
    config.train.warmup_steps = 50
    config.train.weight_decay = 5e-4
    config.train.augment = "flip,resized_crop"
    config.train.min_scale = 0.5
    config.search.patch = 8
    config.search.images_per_class = 40
    config.run.checkpoint_every = 100
    return config
