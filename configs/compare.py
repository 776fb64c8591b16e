"""Compare two sets of dominant frequency maps, from any source.

  python launch.py --config=configs/compare.py --config.left=runs/A --config.right=runs/B
  python launch.py --config=configs/compare.py --config.left=runs/A/dfm/removal.npz --config.right=resnet18loss1.pkl

A side is a workdir with one file of maps, such a file, or a pickle of the published code. With --config.min_iou=0.5 the
exit status is 1 if the mean IoU at config.report.share is below 0.5.
"""

from ml_collections import ConfigDict

from configs import common
from fsjax.runtime import config_fields

FIELDS: config_fields.Table = {
    "left": ("", "the maps on the left: a workdir with one file of maps, such a file, or a published pickle"),
    "right": ("", "the maps on the right, in the same forms"),
    "min_iou": (0.0, "exit with status 1 if the mean IoU is below this; 0 = no check", "[0, 1]"),
}


def get_config() -> ConfigDict:
    """Return the config; the shared fields search.shares, report.share and seed matter."""
    config = common.base()
    config.stages = "compare"
    config.update(config_fields.config(FIELDS))
    return config
