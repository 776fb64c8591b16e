"""Runs an experiment: python launch.py --config=configs/dfm_vit.py[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]

Exit status: 0 done, 1 compare found a mean IoU below --config.min_iou, or another process of the run is lost, 2 the
command, the config or a file cannot be used, 143 stopped by SIGTERM and saved. After a loss and after 143 the same
command goes on.
"""

import sys

from fsjax.experiment import command

FLAGS = command.flag_values()


def main(argv: list[str]) -> int:
    """Run a command line and return its exit status."""
    return command.main(argv, __doc__, FLAGS)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
