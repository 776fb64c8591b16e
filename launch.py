"""Runs an experiment: python launch.py --config=configs/dfm_vit.py[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]

Exit status: 0 done, 1 compare found maps less alike than --config.min_iou asks, or another process of the run is lost,
2 something in the command, the config or the files cannot be used, 143 stopped by SIGTERM and saved. After a loss and
after 143 the same command goes on.
"""

import sys

from absl import flags
from ml_collections import config_flags

from fsjax.experiment import cli

FLAGS = flags.FlagValues()
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "An experiment: a file of configs/, with :ARG where it takes one.", flag_values=FLAGS
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results are kept; runs/<config>-<arg> if not given.", flag_values=FLAGS
)
# Of several processes that neither Slurm, mpirun nor a TPU slice has started.
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, as every process reaches it.", flag_values=FLAGS)
flags.DEFINE_integer("processes", None, "How many processes run this command.", flag_values=FLAGS)
flags.DEFINE_integer("process", None, "Which of them this is, from 0.", flag_values=FLAGS)


def main(argv: list[str]) -> int:
    """Exit status of a command line."""
    return cli.main(argv, __doc__, FLAGS, CONFIG, WORKDIR)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
