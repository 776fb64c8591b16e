"""One of two processes on a workdir, of test_one_workdir.py: FUNCTION DIRECTORY ADDRESS PROCESSES INDEX.

Each prints what its function returns, as JSON in its last line.
"""

import json
import pathlib
import sys
import types

import jax
import numpy as np

if __name__ == "__main__":
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))

from fsjax.experiment import runner
from fsjax.runtime import files, lock, parallel
from fsjax.runtime.checkpoints import Checkpoints
from fsjax.runtime.errors import InputError
from tests.helpers.small_run import small_config
from tests.helpers.undrawn import leave_undrawn

directory, index = pathlib.Path(sys.argv[2]), int(sys.argv[5])


def refuse():
    raise InputError(f"process {index} refuses")


def checkpoint():
    """What this process saw of checkpoints in the workdir."""
    lock.LOOKS, seen = 2, {}
    try:
        parallel.decide(refuse)
    except InputError as error:
        seen["refused"] = str(error)
    try:
        with lock.held(directory):
            checkpoints = Checkpoints(directory / "checkpoints")
            like = {"params": np.zeros(3, np.float32)}
            for step in (1, 2, 3, 4):
                own = {"params": np.full(3, step + 10 * index, np.float32)}
                checkpoints.save(step, own, own, {"at": step})
            seen["newest"] = checkpoints.newest()
            seen["about"] = checkpoints.metadata(4)
            seen["values"] = [float(checkpoints.restore("variables", step, like)["params"][0]) for step in (3, 4)]
            parallel.from_main(None)  # both have read it
            checkpoints.discard_after(3)
            seen["left"] = checkpoints.newest()
            checkpoints.close()
    except InputError as error:
        seen["error"] = str(error)
    return seen


def share_files():
    """The files of the workdir that this process wrote in a run of all stages."""
    written = []

    def recorded(function):
        def call(path):
            written.append(str(path.relative_to(directory)))
            return function(path)

        return call

    files.replacing, files.replacing_folder = map(recorded, (files.replacing, files.replacing_folder))
    leave_undrawn(types.SimpleNamespace(setattr=setattr))
    fields = {"train__steps": 2, "train__evaluators": "validation,dynamics", "train__evaluate_every": 1}
    fields |= {"dynamics__keep": "1234,12", "dynamics__seeds": "0", "search__patch": 6, "search__shares": (0.2,)}
    fields |= {"report__share": 0.2, "evaluate__pairs": 2, "ood__random_masks": 1, "ood__attacks": "fgsm:4/255"}
    config = small_config(stages="train,adcs,search,evaluate,ood,dynamics,report,export", **fields)
    runner.run(config, directory, command=["launch.py"])
    return written


print(json.dumps({"checkpoint": checkpoint, "share_files": share_files}[sys.argv[1]]()))
