"""Compare ways of training on the frames of Caltech-101's photographs: shortcuts that nobody planted.

  python benchmarks/accuracy/frames.py --workdir=DIR --root=CALTECH --size=112 --steps=500 --ways=standard,probe
  python benchmarks/accuracy/frames.py ... --seeds=8 --ways=standard,probe --figure=frames.png

CALTECH/{train,test}/<class> holds classes of Caltech-101. Airplanes have white strips to the left and right, and
leopards a black frame; cars, bonsais and other classes have neither. Ways and flags are as in the mitigation benchmark
(benchmarks/planted/mitigation.py), on unchanged images.

Prints a JSON line a way: `accuracy` on unchanged test images, with strips, and with a frame. For both classes, `called`
is the share of other images that are predicted as the class, unchanged and with its border; `recognised` is the share
of its own images, unchanged and with the border cut off and the rest enlarged. The figure has the first test image of
each of some other classes, with both borders, and each way's prediction.
"""

import dataclasses
import json
import pathlib
import sys

from absl import app, flags
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.accuracy import borders
from benchmarks.planted import mitigation
from benchmarks.planted.mitigation_sets import TEST, BiasedSet
from fsjax.experiment.stage import Workspace
from fsjax.runtime import files, storage

_FIGURE = flags.DEFINE_string("figure", "", "File of the figure, of the last seed; none = none.")


def main(_: list[str]) -> None:
    for seed in map(int, mitigation.SEEDS.value):
        data = BiasedSet("clean", mitigation.SIZE.value, seed, mitigation.ROOT.value)
        tested, classifiers = data.draw(mitigation.TESTED, "absent", TEST), {}
        for name in mitigation.WAYS_RUN.value:
            mitigation.run(name, mitigation.WAYS[name], data)
            directory = storage.path(mitigation.run_directory(name, data))
            trained = Workspace(ConfigDict(files.read_json(directory / "config.json")), directory).classifier
            classifiers[name] = dataclasses.replace(trained, classes=data.classes)
            print(json.dumps({"seed": seed, "way": name, **borders.measured(classifiers[name], *tested)}), flush=True)
        if _FIGURE.value:
            borders.draw(classifiers, *tested).savefig(_FIGURE.value, dpi=110)


if __name__ == "__main__":
    app.run(main)
