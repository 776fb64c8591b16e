"""Train a network that does not lean on the frequency shortcuts of its data.

  python launch.py --config=configs/mitigate.py                # ResNet-8, shortcuts made on the fly: minutes on a CPU
  python launch.py --config=configs/mitigate.py:cifar10        # ResNet-18, a CIFAR-10 prepared by TFDS
  python launch.py --config=configs/mitigate.py:cifar10 --config.data.source=folder --config.data.root=DIR
  python launch.py --config=configs/mitigate.py:imagenet10 --config.data.root=DIR      # DIR/{train,val}/<wnid>/

The stage probe trains networks for a part of the steps, each a run in WORKDIR/probes/<round>, and finds by grafts which
few frequencies control a class. The final training replaces these frequencies of each image by another image's
(train.ways=graft), so they carry no information on the label; it is probed at probe.points. It is then searched and
judged as any run, and tested on corruptions and under an attack. Cost, in training images: at most 1 + probe.rounds x
probe.length times a standard training, or 2.5 times if few classes are learned early and short trainings get longer. A
class whose true cue is a few fixed frequencies would lose it, which the data cannot show: name it in
config.probe.exempt_classes.
"""

from ml_collections import ConfigDict

from configs import dfm_resnet
from fsjax.experiment.stages import probe
from fsjax.runtime import config_fields
from fsjax.training.ways import graft

FIELDS: config_fields.Table = {"probe": probe.FIELDS}


def get_config(arg: str = "synthetic") -> ConfigDict:
    """Return the config of a data set: synthetic, cifar10, imagenet10 or imagenet1k."""
    config = dfm_resnet.get_config(arg)
    config.update(config_fields.config(FIELDS))
    if arg == "synthetic":
        config.data.name, config.model.name = "biased", "resnet8"
        config.train.steps, config.train.learning_rate, config.train.warmup_steps = 500, 0.05, 30
    config.stages = f"probe,{config.stages},ood"
    config.ood.corruptions, config.ood.attacks = "all", "fgsm:2/255"
    config.ood.images_per_class, config.ood.random_masks = 100, 0
    config.train.ways, config.train.graft.maps = "graft,operations", graft.PROBE
    config.train.operations.names = graft.PROBE
    config.search.method = "graft"
    return config
