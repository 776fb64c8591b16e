"""Search and judge the networks of the mitigation benchmark again: which frequencies still control each of them?

  python benchmarks/planted/mitigation_verdicts.py --workdir=DIR --kinds=high --seeds=6 --ways=oracle,standard,probe

Takes the flags and finished runs of mitigation.py, and trains missing runs. Searches use training images, verdicts use
validation images, which are as biased.

Prints the row of each run, and after it a JSON line a search: the number of classes of each verdict; `psi` and
`largest`, the median and maximum psi of the classes' maps at the shares that the verdicts rest on, whose median is
`share`; `smallest`, the median of the shares at which psi reaches 1/2, over the `controlled` classes that reach it. The
shares are in per cent.
"""

import collections
import json
import logging
import pathlib
import sys

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.planted import mitigation
from fsjax.evaluation.graft_results import Grafts
from fsjax.evaluation.results import Evaluation
from fsjax.experiment import runner
from fsjax.runtime import files, storage

_SEARCHES = flags.DEFINE_list("searches", ["graft"], "Search methods of fsjax.")


def main(_: list[str]) -> None:
    logging.getLogger("absl").setLevel(logging.WARNING)  # checkpoints tell of each file
    for data in mitigation.sets():
        for name in mitigation.WAYS_RUN.value or mitigation.WAYS:
            mitigation.run(name, {**mitigation.WAYS, "oracle": mitigation.plain}[name], data)
            directory = storage.path(mitigation.run_directory(name, data))
            for search in _SEARCHES.value:
                row = {
                    "set": mitigation.set_name(data),
                    "seed": data.seed,
                    "model": mitigation.MODEL.value,
                    "way": name,
                }
                print(json.dumps({**row, "search": search, **measured(directory, search)}), flush=True)


def measured(directory: storage.Path, search: str) -> dict:
    """Search and judge the network of a finished run, and return the numbers of a row."""
    config = ConfigDict(files.read_json(directory / "config.json"))
    config.stages, config.search.method = "search,evaluate", search
    runner.run(config, directory)
    grafts = Evaluation.read(directory / "evaluation.json").methods[search].grafts
    assert grafts is not None, "config.evaluate.pairs is not 0"
    return summarised(grafts)


def summarised(grafts: Grafts) -> dict:
    """Return the numbers of a row."""
    psi, smallest = grafts.rates.psi, grafts.curve.smallest
    reached = ~np.isnan(smallest)
    return {
        "verdicts": dict(collections.Counter(verdict.kind for verdict in grafts.verdicts)),
        "share": round(100 * float(np.nanmedian(grafts.rates.share)), 2),
        "psi": round(float(np.nanmedian(psi)), 3),
        "largest": round(float(np.nanmax(psi)), 3),
        "smallest": round(100 * float(np.median(smallest[reached])), 2) if reached.any() else None,
        "controlled": int(reached.sum()),
    }


if __name__ == "__main__":
    app.run(main)
