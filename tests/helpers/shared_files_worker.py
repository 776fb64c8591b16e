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

from configs import common
from fsjax.experiment import runner
from fsjax.runtime import files
from tests.helpers.undrawn import leave_undrawn

directory, written = pathlib.Path(sys.argv[1]), []


def recorded(function):
    def call(path):
        written.append(str(path.relative_to(directory)))
        return function(path)

    return call


files.replacing, files.replacing_folder = map(recorded, (files.replacing, files.replacing_folder))
leave_undrawn(types.SimpleNamespace(setattr=setattr))
config = common.base()
config.data.image_size = 24
config.data.synthetic.train_per_class, config.data.synthetic.test_per_class = 12, 4
config.model.name = "vit_nano_patch8"
config.train.batch_size, config.train.steps = 16, 2
config.train.evaluators, config.train.evaluate_every = "validation,dynamics", 1
config.dynamics.keep, config.dynamics.seeds = "1234,12", "0"
config.search.patch, config.search.images_per_class, config.search.shares = 6, 4, (0.2,)
config.search.resamples, config.report.share, config.report.attributions = 1, 0.2, 0
config.evaluate.pairs, config.ood.random_masks, config.evaluate.grid = 2, 1, (0.3,)
config.heat_map.images_per_class = 1
config.ood.attacks = "fgsm:4/255"
config.stages = "train,adcs,search,evaluate,ood,dynamics,report,export"
runner.run(config, directory, command=["launch.py"])
print(json.dumps(written))
