"""The ood stage: accuracy, TPR and FPR on other sets and under attacks, beside those in distribution."""

import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.engine import sharing
from fsjax.engine.engine import Engine
from fsjax.evaluation import results
from fsjax.evaluation.controls import RANDOM_RATES, TRIVIAL_RATES
from fsjax.evaluation.evaluate import make_engine
from fsjax.evaluation.ood import controls, sets
from fsjax.evaluation.ood.average_tpr import average_tpr
from fsjax.evaluation.ood.counts import Counts, count, rates
from fsjax.evaluation.ood.sets import Set
from fsjax.evaluation.predict import make_predictor
from fsjax.evaluation.statistics import numbers, wilson
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.fourier.masks import Packed, budget
from fsjax.models.classifier import Classifier
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.storage import Path

logger = logging.getLogger(__name__)


def check(config: ConfigDict) -> None:
    """Raises InputError for a field of config.ood that cannot be used, and for folders that are not as it says."""
    folders, attacked = sets.asked(config)
    if not folders and not attacked:
        raise InputError(
            "ood.sets, ood.attacks: got nothing; expected MAPPING=ROOT or an attack such as fgsm:4/255, "
            "separated by commas"
        )
    if config.ood.images_per_class < 0:
        raise InputError(f"ood.images_per_class: got {config.ood.images_per_class}; expected 0 (all) or more")
    for one in folders:
        sets.places(one, config.data)


def run(
    config: ConfigDict,
    directory: Path,
    classifier: Classifier,
    maps: DominantFrequencyMaps,
    test: Dataset,
    identity: dict,
) -> None:
    """Writes ood/<method>.json; a part of a set that an earlier run has counted is not counted again.

    Args:
      config: of the run; maps are those at the share nearest to config.report.share.
      directory: the workdir, evaluated.
      classifier: that is judged.
      maps: of any method.
      test: the whole test set.
      identity: what a count rests on beside the set: JSON that tells the classifier and the maps.
    """
    share = maps.nearest(config.report.share)
    own = in_distribution(directory, maps.method, share)
    grouping = np.array(own["filtered"]["tpr"], float)
    random_masks = min(config.evaluate.random_masks, controls.MOST)
    result = {
        "classes": list(classifier.classes),
        "share": share,
        "threshold": config.evaluate.threshold,
        "random_masks": random_masks,
        "searched_on": maps.searched_on,
        "in_distribution": own | {"average_tpr": _curve(grouping, own)},
        "sets": {},
    }

    kept = maps.at(share)
    kinds = controls.kinds(kept, random_masks)
    drawn = {
        "images": config.evaluate.control_images,
        "random_masks": random_masks,
        "seed": config.seed,
    }

    @functools.cache
    def engine_of(labels: tuple[int, ...] | None) -> Engine:
        return make_engine(restricted(classifier, labels), test, config.run.memory_mib)

    @functools.cache
    def masks() -> Packed:
        return controls.masks_of(kept, budget(share, *kept.shape[1:]), test, classifier.mean_std, **drawn)

    @functools.cache
    def controls_of(labels: tuple[int, ...] | None) -> tuple[Engine, Packed, list[int]]:
        model = restricted(classifier, labels).model
        # A mask a class lies on the device for every one that its tile takes, so tiles are as few images as parts are.
        tile_images = min(engine_of(labels).tile_images, sets.PART)
        engine = Engine(model.apply, model.params, statistics=("correct",), tile_images=tile_images)
        return engine, masks(), list(kinds.values())

    folders, attacked = sets.asked(config)
    openers: list[Callable[[], Set]] = [
        *(functools.partial(sets.open_folder, one, config, classifier.classes) for one in folders),
        *(functools.partial(sets.open_attack, one, config, classifier, test) for one in attacked),
    ]
    for opener in openers:
        one = opener()
        labels = one.classes if one.restrict else None
        counts = count_all(
            one,
            restricted(classifier, labels),
            functools.partial(engine_of, labels),
            kept,
            directory / "ood" / maps.method / f"{sets.file_name(one.name)}.json",
            {
                **identity,
                "set": one.about,
                "share": share,
                "images_per_class": config.ood.images_per_class,
                "part": sets.PART,
                "controls": drawn if kinds else None,
            },
            len(kinds),
            functools.partial(controls_of, labels) if kinds else None,
        )
        result["sets"][one.name] = found = summary(one, counts, kinds)
        found["average_tpr"] = _curve(grouping, found)
        logger.info("ood: %s: accuracy %.3f on %d images", one.name, found["accuracy"], sum(found["images"]))
    if parallel.is_main_process():
        files.write_json(result_file(directory, maps.method), result)


def result_file(directory: Path, method: str) -> Path:
    """Where the results of a search method's maps lie."""
    return directory / "ood" / f"{method}.json"


def count_all(
    one: Set,
    classifier: Classifier,
    engine: Callable[[], Engine],
    kept: np.ndarray,
    file: Path,
    made_of: dict,
    kinds: int,
    beside: Callable[[], tuple[Engine, Packed, list[int]]] | None,
) -> list[Counts]:
    """Counts of every part of a set, each written to `file` once it is known, together with what they are made of.

    Every process counts another part; all return the same. The engine, and what `count` takes as controls, of so many
    kinds, are made where something is missing.
    """
    made_of = json.loads(json.dumps(made_of))  # as it comes back from a file: lists for tuples
    parts = parallel.decide(lambda: _kept(file, made_of))
    missing = [part for part in one.parts if part.name not in parts]
    index, processes = parallel.process()
    if missing:
        judge, predict = engine(), make_predictor(classifier.model.apply, *classifier.mean_std)
        others = beside and beside()
    for start in range(0, len(missing), processes):
        together = missing[start : start + processes]
        found = np.full((len(together), 5 + kinds, len(classifier.classes)), np.nan)
        if index < len(together):
            part = together[index]
            label = f"ood {one.name}" + (f" {part.name}" if len(one.parts) > 1 else "")
            own = count(classifier, predict, judge, part.open(), kept, np.array(one.classes), others, label)
            found[index] = own.to_rows()
        for part, counted in zip(together, sharing.merge(found), strict=True):
            parts[part.name] = Counts.from_rows(counted.astype(np.int64)).to_json()
        if parallel.is_main_process():
            files.write_json(file, {"made_of": made_of, "parts": parts})
    return [Counts.from_json(parts[part.name]) for part in one.parts]


def _kept(file: Path, made_of: dict) -> dict[str, dict]:
    """The parts that an earlier run has counted of the same things."""
    found = files.read_json(file) if file.exists() else {}
    return found["parts"] if isinstance(found, dict) and found.get("made_of") == made_of else {}


def summary(one: Set, counts: Sequence[Counts], kinds: dict[str, int]) -> dict:
    """Rates of a set, of all its parts together and of each of its groups."""

    def together(chosen: list[int]) -> dict:
        total = functools.reduce(Counts.__add__, [counts[index] for index in chosen])
        return rates(total, kinds, len(chosen) if one.pictures > 1 else 1)

    every = list(range(len(counts)))
    groups = {
        placeholder: {
            folder: together([index for index in every if one.parts[index].groups[placeholder] == folder])
            for folder in folders
        }
        for placeholder, folders in one.groups.items()
    }
    return {**together(every), "restricted": one.restrict, "made_of": one.about, "groups": groups}


def in_distribution(directory: Path, method: str, share: float) -> dict:
    """What evaluation.json says of the test set, in the form of a set's rates."""
    evaluation = results.of_method(directory / "evaluation.json", method)
    images, plain, filtered = evaluation["images"], evaluation["unfiltered"], evaluation[method][f"{share:g}"]
    return {
        "images": images,
        "accuracy": plain["accuracy"],
        "unfiltered": {
            "tpr": plain["tpr"],
            "tpr_ci": numbers(wilson(np.diag(plain["confusion"]), np.array(images))),
            "fpr": plain["fpr"],
        },
        "filtered": {name: filtered[name] for name in ("tpr", "tpr_ci", "fpr")},
        **{name: filtered[name] for name in (*TRIVIAL_RATES, *RANDOM_RATES) if name in filtered},
    }


def restricted(classifier: Classifier, labels: tuple[int, ...] | None) -> Classifier:
    """The classifier with -inf for all other outputs than `labels`: its largest logit is one of theirs. None = all."""
    if labels is None:
        return classifier

    def apply(params, images):
        logits = classifier.model.apply(params, images)
        allowed = np.zeros(logits.shape[-1], bool)
        allowed[list(labels)] = True
        return jnp.where(allowed, logits, -jnp.inf)

    model = dataclasses.replace(classifier.model, apply=apply, apply_bfloat16=None)
    return dataclasses.replace(classifier, model=model)


def _curve(grouping: np.ndarray, found: dict) -> list[dict]:
    filtered, unfiltered = (np.array(found[name]["tpr"], float) for name in ("filtered", "unfiltered"))
    return average_tpr(grouping, filtered, unfiltered)
