"""One of two processes on a workdir, of test_one_workdir.py: DIRECTORY ADDRESS PROCESSES INDEX.

Each prints what it saw, as JSON in its last line.
"""

import json
import pathlib
import sys

import jax
import numpy as np

if __name__ == "__main__":
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

from fsjax.runtime import lock, parallel
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.errors import InputError

lock.LOOKS = 2
directory, index = pathlib.Path(sys.argv[1]), int(sys.argv[4])
seen = {}


def refuse():
    raise InputError(f"process {index} refuses")


try:
    parallel.decide(refuse)
except InputError as error:
    seen["refused"] = str(error)
try:
    with lock.held(directory):
        checkpoints = Checkpoints(directory / "checkpoints")
        like = {"params": np.zeros(3, np.float32)}
        for step, loss in ((1, 0.5), (2, 0.25), (3, 0.75), (4, 1.0)):
            own = {"params": np.full(3, step + 10 * index, np.float32)}
            checkpoints.save(step, own, own, {"at": step}, loss)
        seen["newest"], seen["best"] = checkpoints.newest(), checkpoints.best()
        seen["about"] = checkpoints.metadata(4)
        seen["values"] = [float(checkpoints.variables(step, like)["params"][0]) for step in (2, 4)]
        parallel.from_main(None)  # both have read it
        checkpoints.discard_after(3)
        seen["left"] = checkpoints.newest()
        checkpoints.close()
except InputError as error:
    seen["error"] = str(error)
print(json.dumps(seen))
