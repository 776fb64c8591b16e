"""Dominant frequency maps of a vision transformer.

  python launch.py --config=configs/dfm_vit.py                # planted shortcuts, made on the fly
  python launch.py --config=configs/dfm_vit.py:cifar10 --config.data.root=DIR
"""

from configs import common


def get_config(arg: str = "synthetic"):
    config = common.base()
    config.model.name = "vit_micro_patch4"
    config.train.optimizer = "adamw"
    config.train.learning_rate = 1e-3
    config.train.warmup_steps = 50
    config.train.weight_decay = 0.05
    config.train.steps = 500
    return config
