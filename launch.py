"""Runs an experiment: python launch.py --config=configs/dfm_vit.py [--workdir=DIR] [--config.FIELD=VALUE ...]

Exit status: 0 done, 2 something in the config or the files cannot be used, 143 stopped by SIGTERM and saved.
"""

import logging
import sys

from absl import flags
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment: a file of configs/, with ':ARG' where it takes one.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results are kept; by default runs/<config>-<arg>.")


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("fsjax").setLevel(logging.INFO)
    from fsjax.cli import configuration, run

    return run(lambda: configuration(sys.argv, _CONFIG, _WORKDIR))


if __name__ == "__main__":
    sys.exit(main())
