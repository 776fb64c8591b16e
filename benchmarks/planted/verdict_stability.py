"""Does a verdict stay, over draws of images and over numbers of pairs? Networks of verdict.py, a table at the end.

  python benchmarks/planted/verdict_stability.py --photographs=DIR --seed=1 --networks=8 --cache=CACHE --out=FILE
  python benchmarks/planted/verdict_stability.py --table=FILE

A network is searched once. Its maps are judged with five draws of test images and of their pairs, and with several
numbers of pairs of the first draw. `undecided` counts as no change.
"""

import itertools
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.planted import verdict, verdict_networks
from fsjax.evaluation import judge_maps
from fsjax.evaluation.graft_outcomes import GraftSample
from fsjax.runtime import startup

DRAWS, PAIRS = 5, (60, 120, 400, 1000)
_OF_DRAWS = 120
_IMAGES = 150  # of a class

TABLE = flags.DEFINE_string("table", "", "Print the table of a file and run nothing.")


def main(_: list[str]) -> None:
    if TABLE.value:
        print(table([json.loads(line) for line in pathlib.Path(TABLE.value).read_text().splitlines()]))
        return
    startup.use_cores(128)
    out = pathlib.Path(verdict.OUT.value)
    known = {json.loads(line)["seed"] for line in out.read_text().splitlines()} if out.exists() else set()
    first, networks = verdict.SEED.value, verdict.NETWORKS.value
    for number, seed in enumerate(range(first, first + networks), 1):
        if seed in known:
            continue
        started = time.monotonic()
        lines = "".join(json.dumps(row) + "\n" for row in rows(seed, verdict.CACHE.value, verdict.PHOTOGRAPHS.value))
        with out.open("a") as file:
            file.write(lines)
        print(f"network {number} of {networks}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(table([json.loads(line) for line in out.read_text().splitlines()]))


def rows(seed: int, cache: str, roots: Sequence[str]) -> Iterator[dict]:
    """Yield a row for each class, draw and number of pairs of a network."""
    network = verdict_networks.load_or_train(cache or None, seed, roots)
    (train, train_labels), _ = verdict_networks.splits(network).values()
    maps = verdict.search(network, ["graft"], train, train_labels)["graft"]
    candidates = judge_maps.cut_candidates(maps, verdict.SHARES[-1])
    labels = np.repeat(np.arange(network.cue_set.num_classes), _IMAGES)
    for draw, pairs in [*itertools.product(range(DRAWS), [_OF_DRAWS]), *((0, pairs) for pairs in PAIRS)]:
        # Draws 2, 5, 8, ... are those of photographs that neither the search nor the truth has seen.
        images = network.cue_set.draw(labels, 2 + 3 * draw)
        tpr, fpr = verdict.rates_of(network, images, labels)
        sample = GraftSample(images.__getitem__, labels, np.arange(len(labels)), tpr, fpr, pairs, seed + draw, "")
        for label, found in enumerate(judge_maps.judge(network.model, candidates, sample).verdicts):
            kind = network.cue_set.kinds[label]
            yield {"seed": seed, "class": label, "cue": kind, "draw": draw, "pairs": pairs, **vars(found)}


def table(found: Sequence[dict]) -> str:
    """Return how many classes keep their verdict over draws and over pairs, and which do not."""
    classes = sorted({(row["seed"], row["class"]) for row in found})
    lines, kept, turned = [], {"draws": 0, "pairs": 0}, 0
    for one in classes:
        own = [row for row in found if (row["seed"], row["class"]) == one]
        kinds = {
            "draws": [row["kind"] for row in own if row["pairs"] == _OF_DRAWS][:DRAWS],
            "pairs": [row["kind"] for row in own if row["draw"] == 0][1:],
        }
        changed = {name: len(set(of) - {"undecided"}) > 1 for name, of in kinds.items()}
        for name in kept:
            kept[name] += not changed[name]
        known = [kind for kind in kinds["pairs"] if kind != "undecided"]
        turned += any(first != "shortcut" == then for first, then in itertools.pairwise(known))
        if any(changed.values()):
            shown = "; ".join(f"{name}: {', '.join(of)}" for name, of in kinds.items() if changed[name])
            lines.append(f"- network {one[0]}, class {one[1]} ({own[0]['cue']}): {shown}")
    head = [
        f"{kept['draws']} of {len(classes)} classes keep their verdict over {DRAWS} draws, "
        f"{kept['pairs']} over {', '.join(map(str, PAIRS))} pairs; {turned} become a shortcut with more pairs.",
        "",
    ]
    return "\n".join(head + lines)


if __name__ == "__main__":
    app.run(main)
