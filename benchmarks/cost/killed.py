"""Kills of whole runs: does one that is killed again and again end with the bits of one that never was?

  python benchmarks/cost/killed.py --kills=100 --moments=0        # 12 minutes on two CPU cores

A run is launch.py on a small planted set: train, search, evaluate, report. It is started, killed (SIGKILL) at a random
moment, started again, and so on, until it has had a random number of kills; then it is left to end. A moment is drawn
from a stage, and the stage from those still to be done, those with few kills so far more often. Prints one JSON
object a kill, one a run that has ended, and at last {"kills", "runs", "lost", "different", "by_stage"}: `lost` are runs
whose last start failed, or left temporary files; `different` are those whose checkpoint, scores, masks or
evaluation.json are not those of the run that was not killed, bit for bit. Exit status 1 where there is one.
"""

import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter

import jax
import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from configs import dfm_vit
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.models import trained
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import Progress

ROOT = pathlib.Path(__file__).parents[2]
FIELDS = {
    "data.image_size": 24,
    "data.synthetic.train_per_class": 24,
    "data.synthetic.test_per_class": 4,
    "model.name": "vit_micro_patch8",
    "train.batch_size": 16,
    "train.steps": 40,
    "run.checkpoint_every": 5,
    "run.save_seconds": 0.0,
    "run.memory_mib": 2,
    "search.patch": 2,
    "search.images_per_class": 20,
    "report.samples": 1,
}
STAGES = ("start", "train", "search-removal", "evaluate-removal", "report-removal")
# Kills of one run, at most; and how long a start may take before it counts as lost.
MOST, PATIENCE = 6, 600

KILLS = flags.DEFINE_integer("kills", 100, "How many.")
SEED = flags.DEFINE_integer("moments", 0, "Seed of the moments.")


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="fsjax-killed-") as folder:
        found = run(pathlib.Path(folder), kills=KILLS.value, seed=SEED.value)
    sys.exit(1 if found["lost"] or found["different"] else 0)


def run(
    folder: pathlib.Path, *, kills: int, seed: int, whole: pathlib.Path | None = None, fields: dict | None = None
) -> dict:
    """Delivers so many kills to runs in a folder and returns the last of the objects printed.

    Args:
      folder: for the workdirs.
      kills: how many.
      seed: of the moments.
      whole: the workdir of a run that was not killed, with the same fields; None = it is made first.
      fields: of the config, dotted name -> value; None = FIELDS.
    """
    fields = FIELDS if fields is None else fields
    environment = {**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"}
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "cache"))
    if whole is None:
        whole = folder / "whole"
        start = Start(whole, fields, environment, folder / "whole.log")
        if start.process.wait():
            raise RuntimeError(start.log.read_text())
    seconds = {name: _record(whole, name).get("seconds", 5.0) for name in STAGES}
    rng, by_stage, counts = random.Random(seed), Counter(), Counter(runs=0, lost=0, different=0)
    with Progress("killed", kills, "kills") as progress:
        while by_stage.total() < kills:
            directory = folder / f"run{counts['runs']}"
            wanted = min(rng.randint(1, MOST), kills - by_stage.total())
            status = None
            while wanted and status is None:
                start = Start(directory, fields, environment, folder / f"{directory.name}.log")
                stage, status = start.kill_at_random(rng, seconds, by_stage)
                if status is None:
                    wanted -= 1
                    by_stage[stage] += 1
                    progress.update(1)
                    print(json.dumps({"kill": by_stage.total(), "run": counts["runs"], "stage": stage}), flush=True)
            if status is None:
                status = Start(directory, fields, environment, folder / f"{directory.name}.log").process.wait()
            left = [str(path.relative_to(directory)) for path in directory.rglob("*.tmp")]
            differing = [] if status or left else differences(whole, directory, fields)
            row = {"run": counts["runs"], "status": status, "left": left, "differing": differing}
            counts.update(runs=1, lost=bool(status or left), different=bool(differing))
            print(json.dumps(row), flush=True)
            if status:
                print((folder / f"{directory.name}.log").read_text(), file=sys.stderr)
    found = {"kills": by_stage.total(), **counts, "by_stage": {name: by_stage[name] for name in STAGES}}
    print(json.dumps(found), flush=True)
    return found


@dataclasses.dataclass
class Start:
    """One start of launch.py on a workdir.

    Attributes:
      directory: the workdir.
      fields: of the config.
      environment: of the process.
      log: takes its standard error.
    """

    directory: pathlib.Path
    fields: dict
    environment: dict
    log: pathlib.Path

    def __post_init__(self):
        words = [f"--config.{name}={value}" for name, value in self.fields.items()]
        command = [sys.executable, "launch.py", "--config=configs/dfm_vit.py", f"--workdir={self.directory}", *words]
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stderr=log)
        self._before, self._started = self._mark(), time.monotonic()

    def kill_at_random(self, rng: random.Random, seconds: dict[str, float], kills: Counter) -> tuple[str, int | None]:
        """Kills it in a stage that is drawn from those still to be done, at a moment that is drawn from its seconds.

        Args:
          rng: draws.
          seconds: that each stage takes.
          kills: that each stage has had.

        Returns the stage that it was killed in, and its exit status where it ended before.
        """
        to_do = [name for name in STAGES if not _record(self.directory, name).get("done")]
        (name,) = rng.choices(to_do, [1 / (1 + kills[name]) ** 2 for name in to_do])
        part = rng.random()
        while self.process.poll() is None and not self._has_come(name):
            if time.monotonic() - self._started > PATIENCE:
                self.process.kill()
                return name, self.process.wait()
            time.sleep(0.005)
        try:
            return name, self.process.wait(part * seconds[name])
        except subprocess.TimeoutExpired:
            stage = self._stage()
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            return stage, None

    def _has_come(self, name: str) -> bool:
        return name == "start" or (self._begun() and STAGES.index(self._stage()) >= STAGES.index(name))

    def _begun(self) -> bool:
        """Whether it has come as far as to write to the workdir."""
        return self._mark() != self._before

    def _mark(self) -> int:
        file = self.directory / "config.json"
        return file.stat().st_mtime_ns if file.exists() else 0

    def _stage(self) -> str:
        """The stage that it is in: the last that has begun and is not done."""
        if not self._begun():
            return "start"
        records = {name: _record(self.directory, name) for name in STAGES[1:]}
        return next((name for name, record in records.items() if not record.get("done")), STAGES[-1])


def _record(directory: pathlib.Path, stage: str) -> dict:
    try:
        return json.loads((directory / "stages" / f"{stage}.json").read_text())
    except FileNotFoundError:
        return {}


def differences(left: pathlib.Path, right: pathlib.Path, fields: dict) -> list[str]:
    """What of a run is not as in a finished one: weights, scores, masks, evaluation.json, whether there is a report."""
    config = dfm_vit.get_config()
    config.update_from_flattened_dict(fields)
    with_report = "report" in config.stages.split(",")
    try:
        weights = [jax.tree.leaves(trained.from_checkpoint(config, side).variables) for side in (left, right)]
        maps = [DominantFrequencyMaps.load(side / "dfm" / "removal.npz") for side in (left, right)]
    except InputError as error:
        return [str(error)]
    pairs = {
        "scores": (maps[0].scores, maps[1].scores),
        "masks": (maps[0].masks, maps[1].masks),
        **{f"weights {index}": pair for index, pair in enumerate(zip(*weights, strict=True))},
    }
    found = [name for name, pair in pairs.items() if _bits(pair[0]) != _bits(pair[1])]
    evaluations = [(side / "evaluation.json").read_bytes() for side in (left, right)]
    page = (right / "report" / "index.html").exists()
    return found + ["evaluation.json"] * (evaluations[0] != evaluations[1]) + ["report"] * (page != with_report)


def _bits(array: np.ndarray) -> tuple:
    array = np.asarray(array)
    return array.dtype, array.shape, array.tobytes()


if __name__ == "__main__":
    app.run(main)
