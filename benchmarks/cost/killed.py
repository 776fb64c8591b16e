"""Kill whole runs at random moments, and check that they end bit for bit like a run that was not killed.

  python benchmarks/cost/killed.py --kills=100 --moments=0        # 12 minutes on two CPU cores

A run is launch.py on a small planted set: train, search, evaluate, report. It is killed (SIGKILL) and started again a
random number of times, and then runs to its end. Each kill is at a random moment of a random unfinished stage; stages
with few kills so far are drawn more often. Prints one JSON object a kill, one a finished run, and at last {"kills",
"runs", "lost", "different", "by_stage"}. `lost` counts runs whose last start failed or that left temporary files.
`different` counts runs whose checkpoint, scores, masks or evaluation.json differ in any bit from the unkilled run. Exit
status 1 if any run is lost or different.
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
from fsjax.fourier.dfm import DominantFrequencyMaps, file_in
from fsjax.models import trained_network
from fsjax.runtime.errors import InputError
from fsjax.runtime.progress import Progress

ROOT = pathlib.Path(__file__).parents[2]
FIELDS = {
    "data.name": "synthetic",
    "data.image_size": 24,
    "data.synthetic.train_per_class": 24,
    "data.synthetic.test_per_class": 4,
    "model.name": "vit_nano_patch8",
    "train.batch_size": 16,
    "train.steps": 40,
    "run.checkpoint_every": 5,
    "run.save_seconds": 0.0,
    "run.memory_mib": 2,
    "search.patch": 2,
    "search.shares": (0.05, 0.2),
    "search.images_per_class": 20,
    "report.samples": 1,
}
STAGES = ("start", "train", "search-removal", "evaluate-removal", "report-removal")
# Most kills of one run; seconds until a start counts as lost.
MOST, PATIENCE = 6, 600

KILLS = flags.DEFINE_integer("kills", 100, "Number of kills.")
SEED = flags.DEFINE_integer("moments", 0, "Seed of the moments.")


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="fsjax-killed-") as folder:
        summary = run(pathlib.Path(folder), kills=KILLS.value, seed=SEED.value)
    sys.exit(1 if summary["lost"] or summary["different"] else 0)


def run(
    folder: pathlib.Path, *, kills: int, seed: int, whole: pathlib.Path | None = None, fields: dict | None = None
) -> dict:
    """Kill runs in a folder and return the summary that is printed last.

    Args:
      folder: parent of the workdirs.
      kills: number of kills.
      seed: seed of the moments.
      whole: the workdir of a run that was not killed, with the same fields; None = run it first.
      fields: config fields, dotted name -> value; None = FIELDS.
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
    summary = {"kills": by_stage.total(), **counts, "by_stage": {name: by_stage[name] for name in STAGES}}
    print(json.dumps(summary), flush=True)
    return summary


@dataclasses.dataclass
class Start:
    """A start of launch.py on a workdir with config fields; the process's standard error goes to `log`."""

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
        run = self.fields.get("stages", "train,search,evaluate,report").split(",")
        self._stages = [name for name in STAGES if name == "start" or name.partition("-")[0] in run]

    def kill_at_random(self, rng: random.Random, seconds: dict[str, float], kills: Counter) -> tuple[str, int | None]:
        """Kill the process at a random moment of a random unfinished stage.

        `seconds` and `kills` are the wall time of each stage and its kills so far. Returns the stage of the kill, and
        the exit status if the process ended before the kill.
        """
        to_do = [name for name in self._stages if not _record(self.directory, name).get("done")]
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
        """Return whether the process has written to the workdir."""
        return self._mark() != self._before

    def _mark(self) -> int:
        file = self.directory / "config.json"
        return file.stat().st_mtime_ns if file.exists() else 0

    def _stage(self) -> str:
        """Return the current stage: the first that is not done."""
        if not self._begun():
            return "start"
        records = {name: _record(self.directory, name) for name in STAGES[1:]}
        return next((name for name, record in records.items() if not record.get("done")), self._stages[-1])


def _record(directory: pathlib.Path, stage: str) -> dict:
    try:
        return json.loads((directory / "stages" / f"{stage}.json").read_text())
    except FileNotFoundError:
        return {}


def differences(left: pathlib.Path, right: pathlib.Path, fields: dict) -> list[str]:
    """Return the parts of two runs that differ: weights, scores, masks, evaluation.json, presence of the report."""
    config = dfm_vit.get_config()
    config.update_from_flattened_dict(fields)
    with_report = "report" in config.stages.split(",")
    try:
        weights = [jax.tree.leaves(trained_network.load_checkpoint(config, side).variables) for side in (left, right)]
        maps = [DominantFrequencyMaps.load(file_in(side, "removal")) for side in (left, right)]
    except InputError as error:
        return [str(error)]
    pairs = {
        "scores": (maps[0].scores, maps[1].scores),
        "masks": (maps[0].masks, maps[1].masks),
        **{f"weights {index}": pair for index, pair in enumerate(zip(*weights, strict=True))},
    }
    differing = [name for name, pair in pairs.items() if _bits(pair[0]) != _bits(pair[1])]
    evaluations = [(side / "evaluation.json").read_bytes() for side in (left, right)]
    page = (right / "report" / "index.html").exists()
    return differing + ["evaluation.json"] * (evaluations[0] != evaluations[1]) + ["report"] * (page != with_report)


def _bits(array: np.ndarray) -> tuple:
    array = np.asarray(array)
    return array.dtype, array.shape, array.tobytes()


if __name__ == "__main__":
    app.run(main)
