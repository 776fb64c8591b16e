"""Run an experiment: python launch.py --config=configs/dfm_vit.py[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]

The same as the command `fsjax`; --help lists the experiments and the exit statuses.
"""

import sys

from fsjax.experiment.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
