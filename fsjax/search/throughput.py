"""Images per second of a search: on its progress bar, and in metrics.jsonl whenever partial results are saved."""

from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.search.problem import Problem


class Throughput:
    """Counts the images that pass the model.

    Args:
      problem: says where metrics are written.
      progress: of the search; its units need not be images.
      partial_results: whose saves write the rates.
    """

    def __init__(self, problem: Problem, progress: Progress, partial_results: PartialResults):
        self._metrics, self._progress, self._images = problem.metrics, progress, 0
        partial_results.on_save = self._write

    def count(self, units: int, images: int, note: str = "") -> None:
        """Count units of progress, which took this many images; the note stands behind the rate."""
        self._images += images
        rate = f"{self._images / self._progress.seconds:,.0f} images/s"
        self._progress.update(units, f"{rate}, {note}" if note else rate)

    def _write(self) -> None:
        if self._metrics and self._images:
            progress = self._progress
            rates = {
                f"{progress.unit}_per_second": progress.rate,
                "images_per_second": self._images / progress.seconds,
                "eta_seconds": progress.eta,
            }
            self._metrics.write("search", progress.count, rates)
