"""How often does `fsjax check` refuse a clean network? Networks and flags are those of verdict.py.

  python benchmarks/planted/false_failures.py --photographs=DIR1,DIR2 --seed=1 --networks=40 --cache=CACHE --out=FILE
  python benchmarks/planted/false_failures.py --table=FILE

A network learns three to five classes of photographs, in which nothing was planted. `fsjax.analyse` runs with its
defaults on training images and on images of all test photographs, and `Result.check` says with its defaults which
classes it refuses. The table counts networks with a refused class, and classes. A restart skips networks that are in
the file.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.common import rows as row_file
from benchmarks.planted import photographs, verdict_networks
from benchmarks.planted.verdict_cues import TRAINING
from fsjax.evaluation.statistics import wilson

_CLASSES = (3, 4, 5)
# Images of a class: as many as a search draws by default, and of each third of the test photographs.
_SEARCHED, _JUDGED = 100, 50
# Draws training photographs, moved in other ways than in training.
_SEARCH_SEED = 2 * TRAINING


def main(_: list[str]) -> None:
    if TABLE.value:
        print(table(row_file.read(pathlib.Path(TABLE.value))))
        return
    verdict.add_networks(lambda seed: rows(seed, verdict.CACHE.value, verdict.PHOTOGRAPHS.value))


def rows(seed: int, cache: str, roots: Sequence[str]) -> Iterator[dict]:
    """Yield the row of a network: its accuracy, the classes that are refused, and what verdicts rest on."""
    classes = int(np.random.default_rng([seed, 3]).choice(_CLASSES))
    network = verdict_networks.load_or_train(cache or None, seed, roots, ["photograph"] * classes)
    cue_set = network.cue_set
    searched, judged = (np.repeat(np.arange(classes), count) for count in (_SEARCHED, _JUDGED))
    drawn = [cue_set.draw(judged, third) for third in range(photographs.PARTS)]
    test, labels = np.concatenate(drawn), np.tile(judged, photographs.PARTS)
    names = [cue_set.photographs.names[folder] for folder in cue_set.folders]
    result = fsjax.analyse(
        network.model,
        train=(cue_set.draw(searched, _SEARCH_SEED), searched),
        test=(test, labels),
        classes=names,
        seed=seed,
    )
    found = result.evaluation.methods[result.method].grafts
    triggers = result.evaluation.triggers
    yield {
        "seed": seed,
        "photographs": pathlib.Path(cue_set.photographs.root).name,
        "size": cue_set.size,
        "architecture": network.architecture,
        "accuracy": float(np.mean(np.asarray(network.model.apply(network.model.params, test)).argmax(-1) == labels)),
        "refused": [each.name for each in result.check()],
        "verdicts": [dataclasses.asdict(each) for each in result.verdicts],
        "rates": {name: np.asarray(values).tolist() for name, values in vars(found.rates).items()},
        "triggers": triggers and {name: np.asarray(values).tolist() for name, values in vars(triggers).items()},
    }


def table(found: Sequence[dict]) -> str:
    """Return Markdown: refused networks and classes with 95 % intervals [Wilson 1927], and each refused class."""
    lines = ["| networks of | accuracy | refused networks | refused classes |", "| --- | --- | --- | --- |"]
    for name in [*dict.fromkeys(row["photographs"] for row in found), "all"]:
        own = [row for row in found if name in ("all", row["photographs"])]
        accuracy = np.quantile([row["accuracy"] for row in own], [0.5, 0, 1])
        networks = _share(sum(bool(row["refused"]) for row in own), len(own))
        classes = _share(sum(len(row["refused"]) for row in own), sum(len(row["verdicts"]) for row in own))
        lines.append("| {} | {:.2f} ({:.2f} to {:.2f}) | {} | {} |".format(name, *accuracy, networks, classes))
    lines.append("")
    for row in found:
        said = [each["sentence"] for each in row["verdicts"] if each["name"] in row["refused"]]
        lines += [f"- {row['seed']} ({row['architecture']}, {row['size']} pixels): {sentence}" for sentence in said]
    return "\n".join(lines)


def _share(refused: int, total: int) -> str:
    low, high = wilson(np.array(refused), np.array(total))
    return f"{refused}/{total} = {refused / total:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    # Flags of a script, which would meet another script's where tests import both.
    from benchmarks.planted import verdict

    TABLE = flags.DEFINE_string("table", "", "Print the table of a file and run nothing.")
    app.run(main)
