"""Numbers of a run, as JSON lines for programs and TensorBoard events for people."""

import json
import math
import time

from tensorboardX import SummaryWriter

from fsjax import parallel
from fsjax.storage import Path


class Metrics:
    """Appends to metrics.jsonl and to TensorBoard's event file in a workdir; only the main process writes."""

    def __init__(self, workdir: Path):
        self._file = self._board = None
        if parallel.is_main_process():
            workdir.mkdir(parents=True, exist_ok=True)
            self._file = open(workdir / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115 (lives as long as the run)
            self._board = SummaryWriter(str(workdir / "tensorboard"), flush_secs=10)

    def write(self, stage: str, step: int, values: dict[str, float]) -> None:
        """One line {"stage", "step", "time", name: value, ...}; a value that is not finite becomes null."""
        if self._file is None:
            return
        clean = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"stage": stage, "step": step, "time": round(time.time(), 3), **clean}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{stage}/{name}", value, step)

    def close(self) -> None:
        """Flushes and closes both files."""
        if self._file is not None:
            self._file.close()
            self._board.close()
