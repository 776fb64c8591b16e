"""The adaptive search of one class: its race, what an exact sample says of it, and what is kept of both."""

import dataclasses
import logging

import numpy as np
from jaxtyping import Float

from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search import gradient
from fsjax.search.adaptive import estimates, exact_sample
from fsjax.search.adaptive.image_losses import ClassLosses, Evaluator, known_first_order
from fsjax.search.adaptive.ranking import Ranking
from fsjax.search.adaptive.successive_elimination import Race
from fsjax.search.precision_check import correlation, rank_correlation
from fsjax.search.problem import Problem
from fsjax.search.sweep import MaskList

logger = logging.getLogger(__name__)

# Each block of images makes the sample larger by about this: finer steps cost tiles that are not full.
GROWTH = 1.25
# Images that a patch begins with at least, be a third of the class less than that, where no fewer are asked for.
LEAST_FIRST = 16
# The same where no first-order scores say which patches begin.
LEAST_UNGUIDED = 32
# Of the class's mean, added to how much an image is expected to matter. A confident image has next to no gradient and
# may still be lost with a large component: it has to have a fair chance.
_LEAST_SIZE = 0.5


@dataclasses.dataclass(frozen=True)
class Found:
    """What is found of a class.

    Attributes:
      rises: in mean loss, of each patch.
      sums: of the losses with nothing removed and under each sampled patch.
      report: JSON values. `forward_passes`, a backward pass counting 2, and as `share_of_exact`; `rounds`;
        `evaluated_exactly` and `never_evaluated`, patches; `variate_used`, share of those not exact whose estimate
        rests on the gradient too; `gradient`, on the sample: `correlation` of the mean first-order scores with the
        exact ones, and `spearman`; `agreement`, what `exact_sample.compare` found; and whether the class
        `went_exact`.
    """

    rises: Float[np.ndarray, " patches"]
    sums: Float[np.ndarray, " masks"]
    report: dict


class Searcher:
    """Searches one class after another; keeps those that are finished, and goes on from what is kept.

    Args:
      problem: what is searched.
      masks: nothing removed, then each patch.
      progress: of `exact_passes`; those that a class did not need count as it ends.
    """

    def __init__(self, problem: Problem, masks: MaskList, progress: Progress):
        options, own = problem.options, problem.options.adaptive
        self._problem, self._own, self._progress = problem, own, progress
        self._ranking = Ranking.of(problem.plane, options.patch, tuple(sorted(options.shares)))
        drawn = min(own.exact_sample, masks.count - 1)
        rng = np.random.default_rng(problem.seed)
        self.sample = np.sort(rng.choice(masks.count - 1, drawn, replace=False))
        first = [min(own.first_images, max(LEAST_FIRST, count // 3)) for count in problem.counts]
        self._ends = [estimates.block_ends(*pair, GROWTH) for pair in zip(problem.counts, first, strict=True)]
        blocks = [int(size) for ends in self._ends for size in np.diff([0, *ends])]
        layout = {"gradient_batch": gradient.batch_size(problem) if own.gradient else 0}
        step = min(estimates.step_of(min(first)), max(blocks))
        self._evaluator = Evaluator(problem, masks, blocks, step, layout, progress)
        self._batch = self._evaluator.layout["gradient_batch"]
        self._first_order = gradient.make_first_order(problem, batch=self._batch) if own.gradient else None

    def search(self, label: int) -> Found:
        """Of one class; all processes call it alike."""
        every = exact_passes(self._problem, self._evaluator.masks, label)
        found = self._kept(label)
        if found is None:
            start = self._progress.count
            found = self._search(label)
            self._keep(label, found)
            self._progress.update(every - (self._progress.count - start))
        else:
            self._progress.update(every)
            self._progress.resumed += every
        return found

    def _search(self, label: int) -> Found:
        images, predicted = self._problem.images(label), None
        sizes = np.ones(len(images))
        if self._first_order is not None:
            predicted = known_first_order(self._evaluator, label, images, self._first_order, self._batch)
            sizes = importance(predicted)
        order = estimates.order(sizes, np.random.default_rng([self._problem.seed, label]))
        losses = ClassLosses(self._evaluator, label, images[order], self._ends[label])
        for block in range(len(losses.ends)):
            losses.evaluate(np.array([0]), block)
        in_order = None if predicted is None else predicted[order].T
        unguided = min(self._own.first_images, LEAST_UNGUIDED)
        race = Race(losses, self._ranking, sizes[order], self._own.confidence, in_order, self.sample, unguided)
        race.run()
        estimated, variate = ~race.exact, race.variate[~race.exact]
        agreed = exact_sample.compare(race, self._ranking, self.sample)
        if agreed["contradicted"]:
            logger.warning("search: class %s: %s; it goes exact", self._problem.classes[label], agreed)
            race.complete(np.arange(len(race.mean)))
        else:
            race.widen(max(1.0, agreed["error_scale"]))
            race.run()
        count = len(images)
        passes = losses.passes + (0 if predicted is None else gradient.PASSES * count)
        report = {
            "forward_passes": passes,
            "share_of_exact": passes / (count * len(losses.losses)),
            "rounds": race.rounds,
            "evaluated_exactly": int(race.exact.sum()),
            "never_evaluated": int((race.reached < 0).sum()),
            "variate_used": float(variate.mean()) if estimated.any() else 0.0,
            "agreement": agreed,
            "went_exact": agreed["contradicted"],
        }
        exact = race.mean[self.sample]
        if predicted is not None:
            means = predicted.mean(0, dtype=np.float64)[self.sample]
            report["gradient"] = {"correlation": correlation(means, exact), "spearman": rank_correlation(means, exact)}
        sums = losses.losses[np.concatenate([[0], 1 + self.sample])].sum(1, dtype=np.float64)
        return Found(race.mean, sums, report)

    def _file(self, label: int) -> Path | None:
        folder = self._evaluator.folder(label)
        return folder and folder / "found.json"

    def _keep(self, label: int, found: Found) -> None:
        """What a class ended with; its first-order scores are of no use any more."""
        file = self._file(label)
        if file is None or not parallel.is_main_process():
            return
        values = {"rises": found.rises.tolist(), "sums": found.sums.tolist(), "report": found.report}
        files.write_json(file, values | {"shares": list(self._problem.options.shares)})
        for scores in file.parent.glob("first-*.npz"):
            scores.unlink()

    def _kept(self, label: int) -> Found | None:
        file, values = self._file(label), None
        if file is not None and file.exists() and parallel.is_main_process():
            try:
                values = files.read_json(file)
            except InputError:
                values = None
            if values and values["shares"] != list(self._problem.options.shares):
                values = None
        values = parallel.from_main(values)
        return values and Found(np.array(values["rises"]), np.array(values["sums"]), values["report"])


def exact_passes(problem: Problem, masks: MaskList, label: int) -> int:
    """Forward passes of a class of which every patch is evaluated on all images."""
    return problem.counts[label] * (masks.count + (gradient.PASSES if problem.options.adaptive.gradient else 0))


def importance(predicted: Float[np.ndarray, "images patches"]) -> Float[np.ndarray, " images"]:
    """How much an image is expected to matter: the root mean square of its first-order scores, and a little for all."""
    sizes = np.sqrt(np.mean(predicted.astype(np.float64) ** 2, axis=1))
    return sizes + _LEAST_SIZE * sizes.mean() if sizes.any() else np.ones(len(sizes))
