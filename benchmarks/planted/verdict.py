"""Score verdicts on planted truth: the verdict benchmark; docs/planted.md explains it.

  python benchmarks/planted/verdict.py --seed=1000 --networks=14 --out=dev.jsonl   # networks of a development seed
  python benchmarks/planted/verdict.py --sha=COMMIT --networks=40 --out=heldout.jsonl
  python benchmarks/planted/verdict.py --score=heldout.jsonl                       # the tables
  python benchmarks/planted/verdict.py --photographs=DIR1,DIR2 --cache=DIR --out=photographs.jsonl

Each network (verdict_networks.py) learns planted cues (verdict_sets.py), and the generator measures which of them it
relies on (verdict_truth.py). Searches use training images, verdicts separate test images. With --photographs the cues
are planted in photographs (photograph_cues.py), searches default to `graft` and use test images that the verdict does
not see, and the only other maps are the planted orbits. `taskset -c 0 python ...` gives a process one core. Further
maps for noise are:

  planted           the planted orbits, also of an ignored cue
  distractors       orbits that all classes have
  another class     the next class's map
  without its cue   the next class's map without the orbits planted for the class
  radial copy       random orbits with the radial profile of the 1 % map, outside it

The last three start from the first search. An output line has the truth of a class, the evidence for it under a source
of maps, and the answer of each rule. A restart skips networks that are in the file.

Searches take fields: --search='removal,learned:steps=14,"hierarchical:candidates=31,62,125,250"'.
"""

import dataclasses
import hashlib
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.common import rows as row_file
from benchmarks.planted import verdict_networks, verdict_truth
from benchmarks.planted.photograph_sets import PhotographSet
from benchmarks.planted.verdict_networks import Network
from benchmarks.planted.verdict_rules import auroc, filtered, tables, thresholds
from fsjax.evaluation import judge_maps, triggers, verdict
from fsjax.evaluation.graft_outcomes import GraftSample
from fsjax.evaluation.graft_results import Grafts, Triggers
from fsjax.evaluation.judge_maps import cut_candidates
from fsjax.fourier import masks
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime import startup

SHARES = (0.01, 0.05)
SEARCHES = ("removal", "learned", "graft")
_LARGE = 64  # pixels, from which triggers take longer than everything else

SEED = flags.DEFINE_integer("seed", 1000, "Seed of the first network; the others follow.")
SHA = flags.DEFINE_string("sha", "", "A commit instead of a seed: nobody chose it.")
NETWORKS = flags.DEFINE_integer("networks", 14, "Number of networks.")
SEARCH = flags.DEFINE_list(
    "search",
    None,
    f"fsjax.search.SEARCHES, each with :field=value ...; default: {','.join(SEARCHES)}, or graft.",
)
PHOTOGRAPHS = flags.DEFINE_list("photographs", [], "Folders with {train,test}/<class>/; most networks use the first.")
SIZE = flags.DEFINE_integer("size", 0, "Side of photographs, pixels, but for those of the first folder; 0 draws it.")
PAIRS = flags.DEFINE_integer("pairs", 120, "Pairs of images behind a verdict.")
OUT = flags.DEFINE_string("out", "", "File that lines are added to; '' = standard output.")
CACHE = flags.DEFINE_string("cache", "", "Folder where trained networks are kept; '' = none.")
SCORE = flags.DEFINE_string("score", "", "Print the tables of a file and run nothing.")
RULES = flags.DEFINE_list("rules", ["verdict", "published"], "Rules to score.")


def main(_: list[str]) -> None:
    if SCORE.value:
        found = row_file.read(pathlib.Path(SCORE.value))
        by_search = {row["search"]: [] for row in found if row["passes"]}
        for row in found:
            by_search.get(row["search"], []).append(row)
        areas = [f"Maps of `{search}`:\n\n{auroc(of_search)}" for search, of_search in by_search.items()]
        print("\n\n".join([tables(found, RULES.value), *areas, thresholds(by_search[found[0]["search"]])]))
        return
    searches = SEARCH.value or (["graft"] if PHOTOGRAPHS.value else list(SEARCHES))
    add_networks(lambda seed: rows(seed, searches, CACHE.value or None, PHOTOGRAPHS.value))


def add_networks(rows_of: Callable[[int], Iterator[dict]]) -> None:
    """Add the rows of each network that the flags name to their file, but for networks that are in it."""
    startup.use_cores(128)
    first = int(hashlib.sha256(SHA.value.encode()).hexdigest()[:7], 16) if SHA.value else SEED.value
    out = pathlib.Path(OUT.value) if OUT.value else None
    known = {row["seed"] for row in row_file.begun(out)}
    for number, seed in enumerate(range(first, first + NETWORKS.value), 1):
        if seed in known:
            continue
        started = time.monotonic()
        row_file.add(out, rows_of(seed))
        print(f"network {number} of {NETWORKS.value}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def rows(seed: int, searches: list[str], cache: str | None, roots: Sequence[str] = ()) -> Iterator[dict]:
    """Yield a row for each source of maps and each class of a network."""
    network = verdict_networks.load_or_train(cache, seed, roots, size=SIZE.value)
    classes = network.cue_set.num_classes
    (train, train_labels), (test, test_labels) = verdict_networks.splits(network).values()
    tpr, fpr = rates_of(network, test, test_labels)
    sample = GraftSample(
        lambda rows: test[rows], test_labels, np.arange(len(test_labels)), tpr, fpr, PAIRS.value, seed, ""
    )
    family = "photographs" if roots else "noise"
    about = {"seed": seed, "family": family, "architecture": network.architecture, "size": network.cue_set.size}
    found_maps = search(network, searches, train, train_labels)
    truths = verdict_truth.truths(network.model, network.cue_set, found_maps[searches[0]].masks[-1])
    planted = network.cue_set.masks()
    found_triggers = None
    if roots and network.cue_set.size < _LARGE:
        found_triggers = triggers.measure(network.model, lambda rows: test[rows], test_labels, classes, seed=seed)
    for source, candidates in _sources(network, found_maps).items():
        found = judge_maps.judge(network.model, candidates, sample, triggers=found_triggers)
        passes = found_maps[source].forward_equivalents // classes if source in found_maps else None
        largest = np.stack([candidates.masks(label)[candidates.tested - 1] for label in range(classes)])
        others = filtered(network.model, largest, test, test_labels)
        for label, class_verdict in enumerate(found.verdicts):
            yield {
                **about,
                "class": label,
                "search": source,
                **dataclasses.asdict(truths[label]),
                "verdict": class_verdict.kind == "shortcut",
                "trigger": None if found_triggers is None else _trigger(found_triggers, label),
                **others[label],
                "decision": [class_verdict.kind, class_verdict.by, class_verdict.sentence],
                "passes": passes,
                "recovered": float(largest[label][planted[label]].mean()) if planted[label].any() else None,
                **evidence(found, sample, label),
                "psi": {
                    f"{share:g}": float(psi)
                    for share, psi in zip(found.tested_shares, found.curve.psi[:, label], strict=False)
                    if np.isfinite(psi)
                },
                "grafts": int(found.made[label]),
            }


def evidence(found: Grafts, sample: GraftSample, label: int) -> dict:
    """Return all that the verdict on a class rests on, beside triggers."""
    classes = len(found.verdicts)
    return {
        "q0": float(found.baseline.base[label]),
        "classes": classes,
        "pairs": sample.pairs,
        "level": verdict.level(classes, len(found.tested_shares)),
        "test_tpr": float(sample.tpr[label]),
        "test_fpr": float(sample.fpr[label]),
        "rates": {name: values[label].tolist() for name, values in vars(found.rates).items()},
    }


def _trigger(found: Triggers, label: int) -> dict:
    """Return whether the trigger of a class would be its verdict where grafts leave it open, and its measures."""
    undecided = verdict.Decision("undecided", "")
    measures = {name: float(getattr(found, name)[label]) for name in ("triggered", "elsewhere", "frequency")}
    lower = float(found.triggered_ci[label, 0])
    return measures | {"lower": lower, "found": verdict.or_trigger(undecided, found, label).kind == "trigger"}


def search(
    network: Network, searches: list[str], images: np.ndarray, labels: np.ndarray
) -> dict[str, DominantFrequencyMaps]:
    """Return the maps of every search, such as `learned` or `learned:steps=14:restarts=2`."""
    found = {}
    for search in searches:
        method, *fields = search.split(":")
        found[search] = fsjax.dominant_frequencies(
            lambda batch: network.model.apply(network.model.params, batch),
            images,
            labels,
            search=method,
            shares=SHARES,
            resamples=0,
            seed=network.seed,
            **{name: _value(text) for name, text in (field.split("=", 1) for field in fields)},
        )
    return found


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _sources(network: Network, found: dict[str, DominantFrequencyMaps]) -> dict[str, judge_maps.Candidates]:
    """Return the candidates of every source of maps: the searches first, then the maps that are handed in."""
    classes = network.cue_set.num_classes
    names = tuple(str(label) for label in range(classes))

    def handed(maps: np.ndarray) -> judge_maps.Candidates:
        share = float(maps.mean((1, 2)).max())
        return judge_maps.Candidates(names, (share,), 1, lambda label: maps[label][None])

    sources = {search: cut_candidates(maps, SHARES[-1]) for search, maps in found.items()}
    planted, distractors = network.cue_set.masks(), network.cue_set.distractors
    if planted.any():
        sources["planted"] = handed(planted)
    if distractors.any():
        sources["distractors"] = handed(np.broadcast_to(distractors, (classes, *distractors.shape)))
    if isinstance(network.cue_set, PhotographSet):
        return sources
    first_search = next(iter(found))
    first = sources[first_search]

    def next_class(label: int) -> np.ndarray:
        return first.masks((label + 1) % classes)

    sources["another class"] = dataclasses.replace(first, masks=next_class)
    # A map that holds the cue of the class does control it, whichever class it was searched for.
    sources["without its cue"] = dataclasses.replace(first, masks=lambda label: next_class(label) & ~planted[label])
    rng = np.random.default_rng([network.seed, 8])
    sources["radial copy"] = handed(
        np.stack([masks.radial_neighbours(mask, rng) for mask in found[first_search].masks[0]])
    )
    return sources


def rates_of(network: Network, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return TPR and FPR of each class, unfiltered."""
    predicted = np.asarray(network.model.apply(network.model.params, images)).argmax(-1)
    called = [predicted == label for label in range(network.cue_set.num_classes)]
    tpr = [of[labels == label].mean() for label, of in enumerate(called)]
    return np.array(tpr), np.array([of[labels != label].mean() for label, of in enumerate(called)])


if __name__ == "__main__":
    app.run(main)
