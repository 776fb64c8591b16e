"""Learning dynamics of Wang et al. (ICCV 2023): which frequencies are learned first.

  python launch.py --config=configs/dynamics.py           # syn1, made on the fly; also :syn2, :syn3, :syn4
  python launch.py --config=configs/dynamics.py:cifar10   # prepared by TFDS
  python launch.py --config=configs/dynamics.py:cifar10 --config.data.source=folder --config.data.root=DIR
      # DIR/{train,test}/<class>/
  python launch.py --config=configs/dynamics.py:imagenet10 --config.data.root=DIR      # DIR/{train,val}/<wnid>/

Reproduces the paper's figures of per-class F1 over the first iterations and of relative confusion in band-stop tests:
the published optimiser at its first learning rate, and copies of the test set that keep some radial bands each
(config.dynamics.keep). Natural images are trained on for 1,200 iterations, the synthetic sets for 200 instead of the
published 500 (--config.train.steps=500), since C2 and C3 of ours are learned within 60. Each of config.dynamics.seeds
is a run of its own in WORKDIR/seed-<k>; their joint results are WORKDIR/report/dynamics.html, dynamics.json and
dynamics.npz.

Time: synthetic about six minutes on two CPU cores. One H100-class GPU, ESTIMATED from operation counts at 27 TFLOP/s
and not measured: cifar10 a minute or two, imagenet10 40 minutes.
"""

from ml_collections import ConfigDict

from configs import common
from fsjax.runtime.errors import InputError

_DATA = ("syn1", "syn2", "syn3", "syn4", "cifar10", "imagenet10")


def get_config(arg: str = "syn1") -> ConfigDict:
    """Return the config of a data set: syn1 to syn4, cifar10 or imagenet10."""
    if arg not in _DATA:
        raise InputError(f"--config: got the data set {arg!r}; expected {', '.join(_DATA)}")
    synthetic = arg.startswith("syn")
    config = common.dataset("synthetic" if synthetic else arg)
    config.arg = arg
    config.stages = "dynamics"
    config.dynamics.seeds = "0,1,2"

    config.train.optimizer = "sgd"
    config.train.momentum = 0.9
    config.train.weight_decay = 1e-4
    config.train.learning_rate = 0.01
    config.train.schedule = "constant"
    config.train.batch_size = 64
    config.train.evaluators = "dynamics"
    if synthetic:
        config.data.name = arg
        config.model.name = "resnet20"
        config.train.steps = 200
        config.train.evaluate_every = 5
        config.dynamics.images_per_class = 25
    else:
        config.model.name = "resnet18_cifar"
        config.train.augment = "flip,resized_crop"
        config.train.steps = 1200
        config.train.evaluate_every = 40
        config.dynamics.images_per_class = 100
    return config
