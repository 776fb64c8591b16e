"""Runs an experiment: python launch.py --config=configs/dfm_vit.py[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]

Exit status: 0 done, 1 compare found maps less alike than --config.min_iou asks, 2 something in the command, the config
or the files cannot be used, 143 stopped by SIGTERM and saved: the same command goes on.
"""

import sys

from absl import flags
from ml_collections import config_flags

from fsjax import cli

FLAGS = flags.FlagValues()
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "An experiment: a file of configs/, with :ARG where it takes one.", flag_values=FLAGS
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results are kept; runs/<config>-<arg> if not given.", flag_values=FLAGS
)


def main(argv: list[str]) -> int:
    """Exit status of a command line."""
    return cli.main(argv, __doc__, FLAGS, CONFIG, WORKDIR)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
