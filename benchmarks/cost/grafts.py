"""Compare the cost of verdicts by grafts with the exact removal search of the same classes, with the same model.

  python benchmarks/cost/grafts.py                      # an ESTIMATED half an hour on two cores
  python benchmarks/cost/grafts.py --judged_size=64 --judged_rounds=5

Prints a JSON object: the time of the grafts over the time of removing every orbit. Both sides use the same classes,
noise images and a network with random weights in float32 'highest'; removal takes `judged_images` images a class,
grafts 1.2 times as many pairs, the proportion of a run's defaults, 100 and 120. The ratio is the median over rounds in
turn, with a bootstrap 95 % interval. `by_passes` is the ratio of the numbers of forward passes, `at_most` the same
for a class that takes as many as it can: no map of noise controls a class, so that no control is measured.
"""

import json
import pathlib
import sys
from collections.abc import Callable

import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import paired
from benchmarks.cost.plain_search import Search, random_classifier
from fsjax.evaluation import judge_maps
from fsjax.evaluation.graft_outcomes import GraftSample
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.judge_maps import Candidates
from fsjax.fourier import masks
from fsjax.runtime import parallel, startup
from fsjax.search.removal import removal_masks

TESTED = (0.01, 0.05)

MODEL = flags.DEFINE_string("judged_model", "resnet20", "A name of fsjax.models.")
SIZE = flags.DEFINE_integer("judged_size", 32, "Side of the images, pixels.")
CLASSES = flags.DEFINE_integer("judged_classes", 3, "Number of classes; both sides grow with it alike.")
IMAGES = flags.DEFINE_integer("judged_images", 20, "Images of each class.")
ROUNDS = flags.DEFINE_integer("judged_rounds", 20, "Interleaved rounds.")


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    startup.use_cores(128)
    judged, searched = sides()
    made = judged().made.mean()
    searched()
    # These are rounds a second, so the ratio of times is the inverse ratio of rates.
    rates = paired.rates({"verdict": lambda: len([judged()]), "removal": searched}, ROUNDS.value)
    removals = IMAGES.value * removal_masks((SIZE.value, SIZE.value), 1).count
    most = judge_maps.grafts_a_class(pairs(), sum(share <= TESTED[-1] for share in shares()))
    passes = {"by_passes": round(made / removals, 4), "at_most": round(most / removals, 4)}
    row = {"benchmark": "grafts", **paired.ratio(rates["removal"], rates["verdict"]), **passes}
    settings = {"model": MODEL.value, "image_size": SIZE.value, "classes": CLASSES.value, "images": IMAGES.value}
    print(json.dumps({**row, **settings, "pairs": pairs(), "devices": parallel.describe()}), flush=True)


def pairs() -> int:
    """Return the number of pairs a class."""
    return round(1.2 * IMAGES.value)


def shares() -> tuple[float, ...]:
    """Return the shares of the maps, ascending, as in a run."""
    return tuple(sorted({*TESTED, *judge_maps.curve_shares(SIZE.value, SIZE.value)}))


def sides() -> tuple[Callable[[], Grafts], Callable[[], int]]:
    """Return each side as a function that does all its work once: grafts and removal; programs are compiled once."""
    model = random_classifier(MODEL.value, SIZE.value, CLASSES.value)
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES.value), 2 * pairs())
    images = rng.normal(size=(len(labels), *model.image_shape)).astype(np.float32)
    scores = rng.random((CLASSES.value, SIZE.value, SIZE.value))
    # Recognised, so that nothing is left out; the verdicts themselves mean nothing.
    ones, zeros = np.ones(CLASSES.value), np.zeros(CLASSES.value)
    sample = GraftSample(lambda rows: images[rows], labels, np.arange(len(labels)), ones, zeros, pairs(), 0, "")
    search, orbits = Search(model, [IMAGES.value]), removal_masks((SIZE.value, SIZE.value), 1)

    def judged() -> Grafts:
        def cut(label: int) -> np.ndarray:
            return np.stack([masks.within_share(scores[label], share) for share in shares()])

        names = tuple(str(label) for label in range(CLASSES.value))
        tested = sum(share <= TESTED[-1] for share in shares())
        return judge_maps.judge(model, Candidates(names, shares(), tested, cut), sample)

    def searched() -> int:
        for label in range(CLASSES.value):
            class_images = images[labels == label][: IMAGES.value]
            search.losses(search.image_batches(class_images, np.full(len(class_images), label)), orbits)
        return 1

    return judged, searched


if __name__ == "__main__":
    app.run(main)
