"""The command `fsjax explore`: a live page about a finished run, on this machine only, until Ctrl-C.

fsjax explore WORKDIR [--method=METHOD] [--port=PORT]
  --method=METHOD    search method of the maps; only needed after several searches
  --port=PORT        a free port if not given
"""

from absl import flags

import fsjax


def define_flags() -> flags.FlagValues:
    """Return the command's flags, not parsed yet."""
    values = flags.FlagValues()
    flags.DEFINE_string("method", None, "Search method of the maps.", flag_values=values)
    flags.DEFINE_integer("port", 0, "Port of the page.", 0, 65535, flag_values=values)
    return values


def run(workdir: str, values: flags.FlagValues) -> int:
    """Serve the page of a workdir, and return the exit status.

    Raises InputError for a port that is taken, and a folder without a run's model.
    """
    page = fsjax.load_result(workdir, values.method).explore(values.port)
    print(f"explore: {page.address}\nOnly this machine can open it. Ctrl-C ends it.", flush=True)
    page.wait()
    page.close()
    return 0
