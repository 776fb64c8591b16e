"""Compare two sets of dominant frequency maps, from any source.

  python launch.py --config=configs/compare.py --config.left=runs/A --config.right=runs/B
  python launch.py --config=configs/compare.py --config.left=runs/A/dfm/removal.npz --config.right=resnet18loss1.pkl

A side is a workdir with one file of maps, such a file, or a pickle of the published code.
"""

from ml_collections import ConfigDict

from configs import common
from fsjax.runtime import config_fields

FIELDS: config_fields.Table = {
    "left": ("", "the maps on the left: a workdir with one file of maps, such a file, or a published pickle"),
    "right": ("", "the maps on the right, in the same forms"),
}


def get_config() -> ConfigDict:
    """Return the config; the shared fields search.shares, report.share and seed matter."""
    config = common.base()
    config.stages = "compare"
    config.update(config_fields.config(FIELDS))
    return config
