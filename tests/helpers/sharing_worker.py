"""One process that evaluates, as tests/engine/test_sharing.py starts it: OUTPUT OUTPUT [ADDRESS PROCESSES INDEX].

It leaves OUTPUT-INDEX.json: of each evaluation what this process ended with (`value`), which images it read (`read`),
and which different images went through its model (`seen`, fingerprints of their pixels; what is one colour is padding).
"""

import json
import pathlib
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np

if len(sys.argv) > 3:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))


from configs import common
from fsjax.data.dataset import Dataset
from fsjax.data.normalisation import measure_mean_std, normalise
from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.evaluation import adcs, heat_map, judge_maps
from fsjax.evaluation.ood import attacks, counting, sets
from fsjax.evaluation.rates import Filterer, evaluate_unfiltered
from fsjax.evaluation.typed_json import to_json
from fsjax.models import network
from fsjax.runtime import parallel
from fsjax.training.evaluators import dynamics
from fsjax.training.evaluators.evaluator import EvaluatorContext, ValidationEvaluator
from tests.helpers.linear_classifier import Made, make_maps

SIZE = 9
# Images of each class: many, of unequal classes; fewer than there are processes; of one class alone.
CASES = {"many": (37, 5, 23, 0, 12), "single": (0, 1), "one class": (11,)}


class Noted(Made):
    """Images of noise; it notes which are read."""

    def __init__(self, counts):
        super().__init__(counts, SIZE, seed=4)
        self.read = []

    def __getitem__(self, index):
        self.read.append(int(index))
        return super().__getitem__(index)


class Convolved(network.Network):
    """A convolution and a matrix."""

    def init(self, seed):
        rng = np.random.default_rng(seed)
        kernel = rng.normal(size=(3, 3, 3, 24)).astype(np.float32) / 4
        matrix = rng.normal(size=(24 * 25, self.num_classes)).astype(np.float32) / 3
        return {"params": {"kernel": kernel, "matrix": matrix}, "batch_stats": {}}

    def apply(self, variables, images):
        return apply(variables["params"], images)


def apply(params, images):
    jax.debug.callback(see, images)
    layout = ("NHWC", "HWIO", "NHWC")
    hidden = jax.lax.conv_general_dilated(images, params["kernel"], (2, 2), "SAME", dimension_numbers=layout)
    return jnp.tanh(hidden).reshape(len(images), -1) @ params["matrix"]


def see(images):
    seen.update(zlib.crc32(image.tobytes()) for image in np.asarray(images) if (image != image[0, 0]).any())


def told(case, evaluation, value):
    jax.effects_barrier()
    found[f"{case}: {evaluation}"] = {"value": value, "read": sorted(made.read), "seen": sorted(seen)}
    made.read.clear()
    seen.clear()


def evaluate_all(case):
    """All evaluations of a case."""
    classes = len(made.classes)
    dataset = Dataset(made, SIZE, cache_gib=0)
    mean_std = measure_mean_std(dataset)
    told(case, "mean and std", np.stack(mean_std).tolist())

    model = Convolved(lambda: None, classes, SIZE, np.dtype("float32"))
    variables = model.init(1)
    classifier = Model(apply, variables["params"], (SIZE, SIZE, 3), made.classes, mean_std)
    told(case, "unfiltered", to_json(evaluate_unfiltered(classifier, dataset)))

    maps = make_maps(classes, SIZE, (0.1, 0.3, 0.7))
    told(case, "filtered", to_json(Filterer(classifier, len(dataset)).rates(dataset, maps.masks, "filtered")))
    usable, unfiltered = np.arange(len(dataset)), evaluate_unfiltered(classifier, dataset)
    told(case, "grafts", to_json(judge_maps.judge_maps(config, classifier, maps, dataset, unfiltered, usable, None)))

    context = EvaluatorContext(model, mean_std, config, lambda split: dataset, output.parent / "workdir")
    validate, count = (ValidationEvaluator(context), dynamics.make_counter(context, ("1234", "12", "4"), dataset))
    for turn, state in (("first", variables), ("second", model.init(2))):
        told(case, f"validation, {turn}", dict(validate.run(1, state)))
        told(case, f"dynamics, {turn}", count(state).tolist())

    if case == "many":
        pixels, labels, (mean, std) = made.images.__getitem__, made.labels, mean_std
        of_class = adcs.class_amplitudes(pixels, labels, classes, (SIZE, SIZE), mean_std)
        told(case, "adcs", of_class.tolist())
        measured = heat_map.measure(
            classifier,
            lambda part: np.asarray(normalise(pixels(part), mean, std)),
            labels,
            classes,
            std,
            norm=2.0,
            save_seconds=0.0,
            directory=output.parent / "waves",
        )
        told(case, "heat map", [measured.error.tolist(), measured.clean_error.tolist()])
        image_set = sets.open_attack(attacks.parse("fgsm:8/255"), config, classifier, dataset)
        fewer = config.copy_and_resolve_references()
        fewer.report.share, fewer.ood.random_masks, fewer.seed = 0.3, 3, 1
        for turn in ("first", "second"):
            counts = counting.Counter(fewer, classifier, dataset, maps).count(image_set, output.parent / "ood", {})
            told(case, f"attack, {turn}", counts.tolist())


index, output = jax.process_index(), pathlib.Path(sys.argv[1])
config = common.base()
config.evaluate.pairs, config.data.validation_share, config.ood.images_per_class = 4, 0.5, 14
# Several chunks, tiles of masks and parts; and processes with more memory than others, as JAX finds it.
tile_size.fit, sets.PART = lambda *args, **options: 8 + 3 * index, 15
parallel._MESSAGE = 50  # so that counts travel in several messages
seen, found = set(), {}
for case, counts in CASES.items():
    made = Noted(counts)
    evaluate_all(case)
pathlib.Path(f"{output}-{index}.json").write_text(json.dumps(found))
