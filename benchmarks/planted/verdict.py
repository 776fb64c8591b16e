"""Score verdicts on planted truth: the verdict benchmark.

  python benchmarks/planted/verdict.py --seed=1000 --networks=14 --out=dev.jsonl     # networks a development seed makes
  python benchmarks/planted/verdict.py --sha=COMMIT --networks=40 --out=heldout.jsonl
  python benchmarks/planted/verdict.py --score=heldout.jsonl                         # the tables

A network is trained on a set of planted cues (verdict_sets.py, verdict_networks.py); what it relies on is measured by
the generator itself (verdict_truth.py): it adds the cue to others' images, and leaves it out of the class's own. A
class is a positive where its cue is one of few orbits and the network relies on it; a negative where its cue is
another, or is not used; what lies between is not scored. Every search gives maps from training images, and verdicts
rest on separate test images. Beside the searches, masks are handed in as the map:

  planted        the planted orbits (of an ignored plant as well)
  distractors    orbits that all classes have
  another class  removal's map of the next class
  radial copy    random orbits with the radial profile of removal's 1 % map, outside it

Each line of the output is one class under one source of maps: what is true of it, the evidence, and what each rule says
of it. A run that was stopped goes on: networks in the file are not run again.

To score a rule of your own, write lines with the fields seed, kind, row, label, search and your rule's name: true where
it calls the class a shortcut; then --score=FILE --rules=NAME.
"""

import dataclasses
import hashlib
import json
import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import fsjax
from benchmarks.planted import verdict_networks, verdict_truth
from benchmarks.planted.verdict_networks import Network
from benchmarks.planted.verdict_rules import other_rules
from benchmarks.planted.verdict_score import tables
from fsjax.evaluation import grafting, verdict
from fsjax.evaluation.grafts import GraftSample
from fsjax.fourier import masks
from fsjax.runtime import startup

SHARES = (0.01, 0.05)
SEARCHES = ("removal", "learned", "graft")
_TRAIN, _TEST, _PAIRS = 60, 150, 120
# Of the class index and the sample, so that no image is drawn twice; below 2^32, where training's begin.
_DRAWS = {"train": 1, "test": 2}

SEED = flags.DEFINE_integer("seed", 1000, "Seed of the first network; the others follow.")
SHA = flags.DEFINE_string("sha", "", "A commit instead of a seed: nobody chose it.")
NETWORKS = flags.DEFINE_integer("networks", 14, "Number of networks.")
SEARCH = flags.DEFINE_list("search", list(SEARCHES), "Names of fsjax.search.SEARCHES.")
OUT = flags.DEFINE_string("out", "", "File that lines are added to; '' = standard output.")
CACHE = flags.DEFINE_string("cache", "", "Folder where trained networks are kept; '' = none.")
SCORE = flags.DEFINE_string("score", "", "Print the tables of a file and run nothing.")
RULES = flags.DEFINE_list("rules", ["verdict", "published", "margin"], "Rules to score.")


def main(_: list[str]) -> None:
    if SCORE.value:
        lines = pathlib.Path(SCORE.value).read_text().splitlines()
        print(tables([json.loads(line) for line in lines], RULES.value))
        return
    startup.use_cores(128)
    first = int(hashlib.sha256(SHA.value.encode()).hexdigest()[:7], 16) if SHA.value else SEED.value
    out = pathlib.Path(OUT.value) if OUT.value else None
    known = {json.loads(line)["seed"] for line in out.read_text().splitlines()} if out and out.exists() else set()
    for number, seed in enumerate(range(first, first + NETWORKS.value), 1):
        if seed in known:
            continue
        started = time.monotonic()
        text = "".join(json.dumps(row) + "\n" for row in rows(seed, SEARCH.value, CACHE.value or None))
        if out is None:
            print(text, end="", flush=True)
        else:
            with out.open("a") as file:
                file.write(text)
        print(f"network {number} of {NETWORKS.value}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def rows(seed: int, searches: list[str], cache: str | None) -> Iterator[dict]:
    """Yield a row for each source of maps and each class of a network."""
    network = verdict_networks.load_or_train(cache, seed)
    truths = verdict_truth.truths(network.model, network.cue_set)
    classes = network.cue_set.num_classes
    labels = {split: np.repeat(np.arange(classes), count) for split, count in (("train", _TRAIN), ("test", _TEST))}
    images = {split: network.cue_set.draw(labels[split], _DRAWS[split]) for split in labels}
    sources = _sources(network, searches, images["train"], labels["train"])
    names = tuple(str(label) for label in range(classes))
    # All masks of all sources at once: their numbers stand for their shares.
    stacked = np.concatenate(list(sources.values()))
    candidates = grafting.Candidates(
        names,
        tuple(float(1 + row) for row in range(len(stacked))),
        (True,) * len(stacked),
        lambda label: stacked[:, label],
    )
    tpr, fpr = _rates(network, images["test"], labels["test"])
    sample = GraftSample(
        lambda rows: images["test"][rows], labels["test"], np.arange(len(labels["test"])), tpr, fpr, _PAIRS, seed, ""
    )
    grafts = grafting.judge(network.model, candidates, sample)
    about = {"seed": seed, "architecture": network.architecture, "size": network.cue_set.size}
    first = 0
    for source, maps in sources.items():
        shares = {f"{1 + row:g}": grafts.shares[f"{1 + row:g}"] for row in range(first, first + len(maps))}
        first += len(maps)
        evidence = verdict.evidence_of(tpr, fpr, grafts.baseline, shares, "")
        own = (
            [float(of_share.mean()) for of_share in maps.mean((1, 2, 3), keepdims=False)]
            if len(maps) != len(SHARES)
            else SHARES
        )
        evidence = [
            dataclasses.replace(of, shares=tuple(at._replace(share=s) for at, s in zip(of.shares, own, strict=True)))
            for of in evidence
        ]
        decisions = verdict.decide(evidence)
        others = other_rules(network.model, maps[-1], images["test"], labels["test"], seed)
        for label in range(classes):
            yield {
                **about,
                "class": label,
                "search": source,
                **dataclasses.asdict(truths[label]),
                "verdict": decisions[label].kind == "shortcut",
                **others[label],
                "decision": list(decisions[label]),
                "evidence": _plain(evidence[label]),
            }


def _sources(network: Network, searches: list[str], images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks [shares, classes, H, W] of every source."""
    model, classes = network.model, network.cue_set.num_classes

    def found(search: str) -> np.ndarray:
        maps = fsjax.dominant_frequencies(
            lambda batch: model.apply(model.params, batch),
            images,
            labels,
            num_classes=classes,
            method=search,
            shares=SHARES,
            resamples=0,
            seed=network.seed,
        )
        return maps.masks

    sources = {search: found(search) for search in searches}
    planted, distractors = network.cue_set.masks(), network.cue_set.distractors
    if planted.any():
        sources["planted"] = planted[None]
    if distractors.any():
        sources["distractors"] = np.broadcast_to(distractors, (1, classes, *distractors.shape))
    first = sources[searches[0]]
    sources["another class"] = np.roll(first, 1, axis=1)
    rng = np.random.default_rng([network.seed, 8])
    sources["radial copy"] = np.stack([masks.radial_neighbours(mask, rng) for mask in first[0]])[None]
    return sources


def _rates(network: Network, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return TPR and FPR of each class, unfiltered."""
    predicted = np.asarray(network.model.apply(network.model.params, images)).argmax(-1)
    called = [predicted == label for label in range(network.cue_set.num_classes)]
    tpr = [of[labels == label].mean() for label, of in enumerate(called)]
    return np.array(tpr), np.array([of[labels != label].mean() for label, of in enumerate(called)])


def _plain(evidence: verdict.Evidence) -> dict:
    values = dataclasses.asdict(evidence)
    values["shares"] = [at._asdict() for at in evidence.shares]
    return json.loads(json.dumps(values, default=float))


if __name__ == "__main__":
    app.run(main)
