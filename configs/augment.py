"""Ways of training side by side: the effect of augmentation on accuracy and on frequency shortcuts.

  python launch.py --config=configs/augment.py            # a small ViT on planted shortcuts, made on the fly
  python launch.py --config=configs/augment.py:cifar10_cpu --config.data.root=DIR  # ResNet-20, DIR/{train,test}/<class>
  python launch.py --config=configs/augment.py:cifar10    # ResNet-18, a CIFAR-10 prepared by TFDS
  python launch.py --config=configs/augment.py:imagenet10 --config.data.root=DIR    # ResNet-18, DIR/{train,val}/<wnid>/

Reproduces the comparison of ways of training by Wang et al. (ICCV 2023): AutoAugment and AugMix. For their stylised
copies (SIN) put the copies beside the images of DIR/train/<class>/. It adds DFM-X (Wang et al., ICCVW 2023), with the
maps of the standard run, and band limits; mitigate and amplitude swapping can be named in --config.study.variants as
well. For results out of distribution add ood to --config.study.stages and set config.ood. The augmentations need pip
install 'fsjax[augment]' (torchvision). Time on one H100-class GPU, ESTIMATED by benchmarks/cost/estimates.py and not
measured: cifar10 an hour and a half; imagenet10 88 hours, 69 of them for searches, or 1 with --config.search.patch=8.
"""

from ml_collections import ConfigDict

from configs import cifar10_cpu, dfm_resnet, dfm_vit
from fsjax.experiment.stages import probe
from fsjax.runtime import config_fields
from fsjax.runtime.errors import InputError

DATA_SETS = ("synthetic", "cifar10_cpu", "cifar10", "imagenet10")

# Way of training -> its fields. {standard} stands for the workdir of that variant, and {and} adds the augmentations of
# the data set, which all variants share.
_VARIANTS = {
    "standard": "",
    "autoaugment": "train.augment=autoaugment{and}",
    "augmix": "train.augment=augmix{and}",
    "randaugment": "train.augment=randaugment{and}",
    "dfmx": "train.dfmx.maps={standard};train.dfmx.share=0.2",
    "mitigate": "train.ways=graft,operations;train.graft.maps=probe;train.operations.names=probe",
    "amplitude_swap": "train.ways=amplitude_swap",
    "low_pass": "data.frequencies=low:0.25",
    "high_pass": "data.frequencies=high:0.0625",
}


FIELDS: config_fields.Table = {
    "study": {
        "models": ("", "names of fsjax/models/__init__.py, separated by commas"),
        "variants": ("standard", "names of config.variants, separated by commas"),
        "seeds": ("0", "seeds of each model and variant, separated by commas"),
        "stages": ("train,search,evaluate,report", "stages of each run; add ood for the sets of config.ood"),
    }
}


def get_config(arg: str = "synthetic") -> ConfigDict:
    """Return the config of several variants on a data set: synthetic, cifar10_cpu, cifar10 or imagenet10."""
    config = base(arg)
    config.study.variants = "standard,autoaugment,augmix,dfmx,low_pass"
    return config


def base(arg: str) -> ConfigDict:
    """Return a study of the standard variant on a data set; config.variants has every variant."""
    if arg not in DATA_SETS:
        raise InputError(f"--config: got the data set {arg!r}; expected {', '.join(DATA_SETS)}")
    if arg == "cifar10_cpu":
        config = cifar10_cpu.get_config()
    elif arg == "synthetic":
        config = dfm_vit.get_config(arg)
    else:
        config = dfm_resnet.get_config(arg)
    config.arg = arg
    config.stages = "study"
    config.search.shares = (0.05, 0.2)
    config.update(config_fields.config({**FIELDS, "probe": probe.FIELDS}))
    config.study.models = config.model.name
    also = "," + config.train.augment if config.train.augment else ""
    config.variants = ConfigDict({name: fields.replace("{and}", also) for name, fields in _VARIANTS.items()})
    return config
