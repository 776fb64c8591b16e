"""One of two processes of a run, as tests/runtime/test_one_workdir.py starts them: DIRECTORY ADDRESS PROCESSES INDEX.

Each prints which files of the workdir it wrote, as JSON in its last line.
"""

import json
import pathlib
import sys
import types

import jax

if __name__ == "__main__":
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

from fsjax.experiment import runner
from fsjax.runtime import files
from tests.helpers.small_run import small_config
from tests.helpers.undrawn import leave_undrawn

directory, written = pathlib.Path(sys.argv[1]), []


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
print(json.dumps(written))
