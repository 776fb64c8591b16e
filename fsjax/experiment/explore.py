"""The command `fsjax explore`: a live page about a finished run, on this machine only, until Ctrl-C.

fsjax explore WORKDIR [--method=METHOD] [--port=PORT]
  --method=METHOD    search method of the maps; the only one if not given
  --port=PORT        a free one if not given
"""

import contextlib

from absl import flags

import fsjax
from fsjax.runtime.errors import InputError, one_line


def run(argv: list[str]) -> int:
    """Serve the page of a command line, `explore` its first word after the program's, and return the exit status.

    Raises:
      InputError: an unknown flag, a port that is taken, or a folder without a run's model.
    """
    values = flags.FlagValues()
    flags.DEFINE_string("method", None, "Search method of the maps.", flag_values=values)
    flags.DEFINE_integer("port", 0, "Port of the page.", 0, 65535, flag_values=values)
    if {"--help", "-h"} & set(argv):
        print(__doc__)
        return 0
    try:
        _, _, *rest = values(argv)
    except flags.Error as error:
        raise InputError(one_line(error)) from error
    if len(rest) != 1:
        raise InputError(f"explore: got {len(rest)} folders; expected one, the workdir of a run: fsjax explore WORKDIR")
    page = fsjax.load_result(rest[0], values.method).explore(values.port)
    print(f"explore: {page.address}\nOnly this machine can open it. Ctrl-C ends it.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        page.wait()
    page.close()
    return 0
