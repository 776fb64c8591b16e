"""Several runs on one page: a row a run and search method, with its maps and a link to its report.

  python launch.py --config=configs/runs.py --config.runs=runs
  python launch.py --config=configs/runs.py --config.runs=runs/A,runs/B,gs://bucket/runs

Listed are workdirs, and folders whose direct subfolders are workdirs. The page is report/runs.html in the workdir,
runs/runs unless told otherwise. A run that is not finished, or is damaged, has a row that says so.
"""

from ml_collections import ConfigDict

from configs import common
from fsjax.runtime import config_fields

FIELDS: config_fields.Table = {"runs": ("", "workdirs, or folders of workdirs, separated by commas")}


def get_config() -> ConfigDict:
    """The shared fields, none of which matters here, and the runs."""
    config = common.base()
    config.stages = "runs"
    config.update(config_fields.config(FIELDS))
    return config
