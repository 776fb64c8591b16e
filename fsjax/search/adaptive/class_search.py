"""The adaptive search of one class: successive elimination, checked on an exact sample, its result kept on disk."""

import dataclasses
import logging

import numpy as np
from jaxtyping import Float

from fsjax.engine.engine import LazyArray
from fsjax.runtime import files, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import Progress
from fsjax.runtime.random_streams import Stream, generator
from fsjax.runtime.storage import Path
from fsjax.search import gradient
from fsjax.search.adaptive import estimates, exact_sample
from fsjax.search.adaptive.image_losses import ClassLosses, Evaluator, first_order_scores
from fsjax.search.adaptive.ranking import Ranking
from fsjax.search.adaptive.successive_elimination import SuccessiveElimination
from fsjax.search.precision_check import correlation, rank_correlation
from fsjax.search.problem import Problem

logger = logging.getLogger(__name__)

# Factor by which a step enlarges a patch's sample: finer steps leave tiles partly empty.
GROWTH = 1.25
# First sample of a patch, at least, also where a third of the class is less; at most search.adaptive.first_images.
LEAST_FIRST = 16
# The same where no trusted predictions say which patches start.
LEAST_UNTRUSTED = 32
# Added to an image's importance, as a part of the class's mean. An image that is recognised with certainty has next to
# no gradient and may still be lost with a large component: it needs a fair chance to be drawn.
_LEAST_IMPORTANCE = 0.5


@dataclasses.dataclass(frozen=True)
class ClassResult:
    """What the search knows of a class in the end.

    Attributes:
      rises: of the mean loss, of each patch.
      sums: of the losses with nothing removed and under each sampled patch.
      report: JSON values. `forward_passes`, a backward pass counting 2, and as `share_of_exact`; `rounds`;
        `evaluated_exactly` and `never_evaluated`, patches; `variate_used`, the share of estimated scores that use the
        gradient too; `gradient`, on the sample: `correlation` and `spearman` of the mean first-order scores with the
        exact ones; `agreement`, an `exact_sample.SampleCheck`; and whether the class `went_exact`.
    """

    rises: Float[np.ndarray, " patches"]
    sums: Float[np.ndarray, " masks"]
    report: dict


class ClassSearcher:
    """Searches one class after another, keeps the finished ones on disk, and resumes from what is there.

    Args:
      problem: classifier and images.
      masks: nothing removed, then each patch.
      progress: of `exact_passes`; those that a class did not need count when it ends.

    Attributes:
      sample: patches drawn at random, which are evaluated exactly in every class.
    """

    def __init__(self, problem: Problem, masks: LazyArray, progress: Progress):
        options, own = problem.options, problem.options.adaptive
        self._problem, self._own, self._progress = problem, own, progress
        self._ranking = Ranking.of_plane(problem.plane, options.patch, tuple(sorted(options.shares)))
        sampled = min(own.exact_sample, masks.count - 1)
        self.sample = np.sort(
            generator(problem.seed, Stream.ADAPTIVE_EXACT_SAMPLE).choice(masks.count - 1, sampled, replace=False)
        )
        first = [min(own.first_images, max(LEAST_FIRST, count // 3)) for count in problem.counts]
        self._sample_sizes = [
            estimates.sample_sizes(count, size, GROWTH) for count, size in zip(problem.counts, first, strict=True)
        ]
        steps = [int(size) for sizes in self._sample_sizes for size in np.diff([0, *sizes])]
        smallest = min(estimates.smallest_step(min(first)), max(steps))
        layout = {"gradient_batch": gradient.batch_size(problem) if own.gradient else 0}
        self._evaluator = Evaluator(problem, masks, steps, smallest, layout, progress)
        batch = self._evaluator.layout["gradient_batch"]
        self._first_order = gradient.make_first_order(problem, batch=batch) if own.gradient else None

    def search(self, label: int) -> ClassResult:
        """Search a class, or read its result from disk. Collective: every process must call this."""
        passes = exact_passes(self._problem, self._evaluator.masks, label)
        if (result := self._read(label)) is not None:
            self._evaluator.resume(passes)
            return result
        start = self._progress.count
        result = self._search(label)
        self._write(label, result)
        self._progress.update(passes - (self._progress.count - start))
        return result

    def _search(self, label: int) -> ClassResult:
        images, predicted = self._problem.images(label), None
        importance = np.ones(len(images))
        if self._first_order is not None:
            predicted = first_order_scores(self._evaluator, label, images, self._first_order)
            importance = image_importance(predicted)
        losses, elimination = self._start(label, images, importance, predicted)
        elimination.run()
        control_variate = elimination.control_variate[~elimination.exact]
        check = exact_sample.compare(elimination, self._ranking, self.sample)
        if check.contradicted:
            name = self._problem.classes[label]
            logger.warning(
                "search: class %s: the exact sample contradicts the estimates: %s; it goes exact", name, check
            )
            elimination.complete(np.arange(len(elimination.mean)))
        else:
            elimination.widen(max(1.0, check.error_scale))
            elimination.run()
        passes = losses.passes + (0 if predicted is None else gradient.PASSES * len(images))
        report = {
            "forward_passes": passes,
            "share_of_exact": passes / losses.losses.size,
            "rounds": elimination.rounds,
            "evaluated_exactly": int(elimination.exact.sum()),
            "never_evaluated": int((elimination.step < 0).sum()),
            "variate_used": float(control_variate.mean()) if len(control_variate) else 0.0,
            "agreement": dataclasses.asdict(check),
            "went_exact": check.contradicted,
        }
        if predicted is not None:
            means, exact = predicted.mean(0, dtype=np.float64)[self.sample], elimination.mean[self.sample]
            report["gradient"] = {"correlation": correlation(means, exact), "spearman": rank_correlation(means, exact)}
        sums = losses.losses[np.concatenate([[0], 1 + self.sample])].sum(1, dtype=np.float64)
        return ClassResult(elimination.mean, sums, report)

    def _start(
        self,
        label: int,
        images: Float[np.ndarray, "images height width channels"],
        importance: Float[np.ndarray, " images"],
        predicted: Float[np.ndarray, "images patches"] | None,
    ) -> tuple[ClassLosses, SuccessiveElimination]:
        """Draw the images' order, evaluate all of them with nothing removed, and start the elimination."""
        order = estimates.sampling_order(importance, generator(self._problem.seed, Stream.ADAPTIVE_IMAGE_ORDER, label))
        losses = ClassLosses(self._evaluator, label, images[order], self._sample_sizes[label])
        for step in range(len(losses.sample_sizes)):
            losses.evaluate(np.array([0]), step)
        elimination = SuccessiveElimination(
            *(losses, self._ranking, importance[order], self._own.confidence),
            predicted=None if predicted is None else predicted[order].T,
            probes=self.sample,
            untrusted_images=min(self._own.first_images, LEAST_UNTRUSTED),
        )
        return losses, elimination

    def _file(self, label: int) -> Path | None:
        folder = self._evaluator.partial_results.folder(label)
        return folder and folder / "found.json"

    def _write(self, label: int, result: ClassResult) -> None:
        """Write a class's result and delete its first-order scores, which nothing needs any more."""
        file = self._file(label)
        if file is None or not parallel.is_main_process():
            return
        values = {"rises": result.rises.tolist(), "sums": result.sums.tolist(), "report": result.report}
        files.write_json(file, values | {"shares": list(self._problem.options.shares)})
        for scores in file.parent.glob("first-*.npz"):
            scores.unlink()

    def _read(self, label: int) -> ClassResult | None:
        """Read a class's result; None if it is missing, damaged, or of other shares."""
        file, values = self._file(label), None
        if file is not None and file.exists() and parallel.is_main_process():
            try:
                values = files.read_json(file)
            except InputError:
                values = None
            if values and values["shares"] != list(self._problem.options.shares):
                values = None
        values = parallel.from_main(values)
        return values and ClassResult(np.array(values["rises"]), np.array(values["sums"]), values["report"])


def exact_passes(problem: Problem, masks: LazyArray, label: int) -> int:
    """Return a class's forward passes where every patch is evaluated on all images."""
    return problem.counts[label] * (masks.count + (gradient.PASSES if problem.options.adaptive.gradient else 0))


def image_importance(predicted: Float[np.ndarray, "images patches"]) -> Float[np.ndarray, " images"]:
    """Return each image's importance: the root mean square of its first-order scores, plus a constant."""
    importance = np.sqrt(np.mean(predicted.astype(np.float64) ** 2, axis=1))
    return importance + _LEAST_IMPORTANCE * importance.mean() if importance.any() else np.ones(len(importance))
