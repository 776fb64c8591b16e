"""Runs an experiment: python launch.py --config=configs/dfm_vit.py[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]

Exit status: 0 done, 1 compare found a mean IoU below --config.min_iou, or another process of the run is lost, 2 the
command, the config or a file cannot be used, 143 stopped by SIGTERM and saved. After a loss and after 143 the same
command goes on.
"""

import sys

from absl import flags
from ml_collections import config_flags

from fsjax.experiment import cli

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
    "config", None, "An experiment: a file of configs/, with :ARG where it takes one.", flag_values=FLAGS
)
flags.DEFINE_string("workdir", None, "Where results are kept; runs/<config>-<arg> if not given.", flag_values=FLAGS)
# Of several processes that neither Slurm, mpirun nor a TPU slice has started.
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, as every process reaches it.", flag_values=FLAGS)
flags.DEFINE_integer("processes", None, "How many processes run this command.", flag_values=FLAGS)
flags.DEFINE_integer("process", None, "Which of them this is, from 0.", flag_values=FLAGS)


def main(argv: list[str]) -> int:
    """Run a command line and return its exit status."""
    return cli.main(argv, __doc__, FLAGS)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
