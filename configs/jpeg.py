"""Is your fake detector a JPEG detector? Train one on any folder of photographs, and judge it: minutes on two cores.

python launch.py --config=configs/jpeg.py --config.data.root=FOLDER      # photographs, in subfolders or not

Each photograph is in both classes: `real` as it is, and `fake` compressed as JPEG of data.quality. The verdict says
whether few frequencies tell them apart. The stage ood compresses the test images in five qualities, and shows how many
`real` ones remain real. Use some hundred photographs, of 64 pixels or more. docs/gallery.md says what to do about a
detector of your own.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """Return the config of a ResNet-8 on 32 x 32 pixels."""
    config = common.base()
    config.data.source, config.data.skip_undecodable = "jpeg", True
    config.model.name = "resnet8"
    config.train.steps, config.train.learning_rate, config.train.warmup_steps = 1500, 0.05, 50
    config.train.batch_size, config.train.weight_decay, config.train.augment = 32, 5e-4, "flip"
    config.search.method = "graft"
    config.stages = f"{config.stages},ood"
    config.ood.corruptions, config.ood.random_masks = "jpeg", 0
    return config
