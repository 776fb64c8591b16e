"""Does a verdict stay, over draws of images and over numbers of pairs? Networks and flags are those of verdict.py.

  python benchmarks/planted/verdict_stability.py --photographs=DIR --seed=1 --networks=8 --cache=CACHE --out=FILE
  python benchmarks/planted/verdict_stability.py --table=FILE

A network is searched once. Its maps are judged with five draws of test images and of their pairs, and with several
numbers of pairs of the first draw. `undecided` counts as no change.
"""

import itertools
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import rows as row_file
from benchmarks.planted import verdict, verdict_networks
from benchmarks.planted.verdict_rules import stability
from fsjax.evaluation import judge_maps
from fsjax.evaluation.graft_outcomes import GraftSample

DRAWS, PAIRS = 5, (60, 120, 400, 1000)
_IMAGES = 150  # of a class

TABLE = flags.DEFINE_string("table", "", "Print the table of a file and run nothing.")


def main(_: list[str]) -> None:
    if TABLE.value:
        print(stability(row_file.read(pathlib.Path(TABLE.value))))
        return
    verdict.add_networks(lambda seed: rows(seed, verdict.CACHE.value, verdict.PHOTOGRAPHS.value))


def rows(seed: int, cache: str, roots: Sequence[str]) -> Iterator[dict]:
    """Yield a row for each class, draw and number of pairs of a network."""
    network = verdict_networks.load_or_train(cache or None, seed, roots)
    (train, train_labels), _ = verdict_networks.splits(network).values()
    maps = verdict.search(network, ["graft"], train, train_labels)["graft"]
    candidates = judge_maps.cut_candidates(maps, verdict.SHARES[-1])
    labels = np.repeat(np.arange(network.cue_set.num_classes), _IMAGES)
    for draw, pairs in [*itertools.product(range(DRAWS), PAIRS[1:2]), *((0, pairs) for pairs in PAIRS)]:
        # Draws 2, 5, 8, ... are those of photographs that neither the search nor the truth has seen.
        images = network.cue_set.draw(labels, 2 + 3 * draw)
        tpr, fpr = verdict.rates_of(network, images, labels)
        sample = GraftSample(images.__getitem__, labels, np.arange(len(labels)), tpr, fpr, pairs, seed + draw, "")
        found = judge_maps.judge(network.model, candidates, sample)
        for label, class_verdict in enumerate(found.verdicts):
            kind = network.cue_set.kinds[label]
            about = {"seed": seed, "class": label, "cue": kind, "draw": draw}
            yield about | vars(class_verdict) | verdict.evidence(found, sample, label)


if __name__ == "__main__":
    app.run(main)
