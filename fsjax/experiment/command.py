"""The command `fsjax`, the same as launch.py: its flags, and where it begins.

  fsjax --config=dfm_vit[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]

A config is the name of one of fsjax's experiments, which `fsjax --help` lists, or a file of your own.
"""

import sys

from absl import flags
from ml_collections import config_flags

from fsjax.experiment import cli

USAGE = """Runs an experiment: fsjax --config=dfm_vit[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]

Exit status: 0 done, 1 compare found a mean IoU below --config.min_iou, or another process of the run is lost, 2 the
command, the config or a file cannot be used, 143 stopped by SIGTERM and saved. After a loss and after 143 the same
command goes on."""


def main(argv: list[str] | None = None, usage: str = USAGE, values: flags.FlagValues | None = None) -> int:
    """Run a command line and return its exit status.

    Args:
      argv: the words, the program's own first; None = those of this process.
      usage: the first part of the help.
      values: of `flag_values`, not parsed yet; None = new ones.
    """
    return cli.main(sys.argv if argv is None else argv, usage, flag_values() if values is None else values)


def flag_values() -> flags.FlagValues:
    """Return the flags of a command line, not parsed yet."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", None, "An experiment: a name or a file of configs/, with :ARG where it takes one.", flag_values=values
    )
    flags.DEFINE_string(
        "workdir", None, "Where results are kept; runs/<config>-<arg> if not given.", flag_values=values
    )
    # Of several processes that neither Slurm, mpirun nor a TPU slice has started.
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, as every process reaches it.", flag_values=values)
    flags.DEFINE_integer("processes", None, "How many processes run this command.", flag_values=values)
    flags.DEFINE_integer("process", None, "Which of them this is, from 0.", flag_values=values)
    return values
