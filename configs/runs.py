"""Several runs on one page: a row for each run and search method, with its maps and a link to its report.

  python launch.py --config=configs/runs.py --config.runs=runs
  python launch.py --config=configs/runs.py --config.runs=runs/A,runs/B,gs://bucket/runs

config.runs lists workdirs and folders of workdirs. The page is report/runs.html in the workdir, by default runs/runs.
Unfinished and damaged runs have a row that says so.
"""

from ml_collections import ConfigDict

from configs import common
from fsjax.runtime import config_fields

FIELDS: config_fields.Table = {"runs": ("", "workdirs, or folders of workdirs, separated by commas")}


def get_config() -> ConfigDict:
    """Return the config; the shared fields do not matter here."""
    config = common.base()
    config.stages = "runs"
    config.update(config_fields.config(FIELDS))
    return config
