"""launch.py in several processes: they train as one, stop together, and end when one of them is lost."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from configs import dfm_vit
from fsjax.experiment import runner
from fsjax.fourier import dfm
from fsjax.runtime import startup, storage
from fsjax.runtime.checkpoints import Checkpoints
from tests.helpers import small_run
from tests.helpers.processes import environment, free_address
from tests.helpers.refused import refused

ROOT = pathlib.Path(__file__).parents[2]
HEARTBEAT = 10
STEPS = 30
SMALL = small_run.SMALL | {
    "data.name": "synthetic",
    "data.synthetic.train_per_class": 24,
    "data.synthetic.test_per_class": 4,
}
SMALL |= {"train.steps": STEPS, "train.schedule": "constant", "train.warmup_steps": 5, "train.evaluators": ""}
SMALL |= {"run.log_every": 1, "run.checkpoint_every": 15, "run.memory_mib": 2, "evaluate.pairs": 2}
SMALL |= {"search.images_per_class": 10, "search.patch": 2, "search.shares": (0.05, 0.2), "search.resamples": 2}


def start(command, *, devices=1, **variables):
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment(devices) | variables, **pipes)


def words(directory, **fields):
    fields = SMALL | {name.replace("__", "."): value for name, value in fields.items()}
    given = [f"--config.{name}={value}" for name, value in fields.items()]
    return ["launch.py", "--config=configs/dfm_vit.py", f"--workdir={directory}", *given]


def launch(directory, processes=1, devices=1, **fields):
    """The processes of one run of launch.py, each with this many devices."""
    together = [f"--coordinator={free_address()}", f"--processes={processes}"] if processes > 1 else []
    return [
        start([*words(directory, **fields), *together, *[f"--process={index}"] * bool(together)], devices=devices)
        for index in range(processes)
    ]


def launch_here(directory, **fields):
    """The same run in this process."""
    config = dfm_vit.get_config()
    config.update_from_flattened_dict(SMALL | {name.replace("__", "."): value for name, value in fields.items()})
    runner.run(config, directory)


def finish(running, status=0, seconds=300):
    """What each wrote to standard error, once all have ended with this status."""
    written = [process.communicate(timeout=seconds)[1] for process in running]
    assert [process.returncode for process in running] == [status] * len(running), written
    return written


def weights(directory):
    return jax.tree.leaves(small_run.final_variables(small_run.small_config(), storage.path(directory)))


def wait_until(condition, running, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert all(process.poll() is None for process in running), [p.communicate()[1] for p in running if p.poll()]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training in one process that nothing interrupted."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    launch_here(directory, stages="train")
    return directory


def test_two_processes_train_as_one_does_and_search_and_evaluate_to_the_same_bits(trained, tmp_path):
    pod, alone = tmp_path / "pod", tmp_path / "alone"
    written = finish(launch(pod, processes=2, devices=2, stages="train,search,evaluate"))
    assert not any("train" in text for text in written[1:]), "only the first process prints"
    expected, found = small_run.losses_of(trained), small_run.losses_of(pod)
    assert found.keys() == expected.keys() == set(range(1, STEPS + 1))
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-5, rtol=0)
    for array, other in zip(weights(pod), weights(trained), strict=True):
        np.testing.assert_allclose(array, other, atol=1e-3)  # Adam divides by what is near 0
    launch_here(alone, stages="train,search,evaluate", model__weights=str(pod))
    expected, found = (dfm.DominantFrequencyMaps.load(run / "dfm" / "removal.npz") for run in (alone, pod))
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.masks, expected.masks)
    expected, found = (json.loads((run / "evaluation.json").read_text()) for run in (alone, pod))
    assert found == expected


@pytest.mark.slow
def test_sigterm_to_one_process_stops_all_in_the_same_step_and_one_process_goes_on_as_two_would(trained, tmp_path):
    # A checkpoint at every step makes steps long enough to be caught between two of them.
    fields = {"train__steps": 100000, "run__checkpoint_every": 1, "stages": "train"}
    running = launch(tmp_path, processes=2, devices=2, **fields)
    wait_until(lambda: (tmp_path / "metrics.jsonl").exists() and len(small_run.losses_of(tmp_path)) > 1, running)
    running[1].send_signal(signal.SIGTERM)
    written = finish(running, 143, seconds=60)
    assert all(text.splitlines()[-1].startswith("stopped by SIGTERM") for text in written)
    stopped = max(small_run.losses_of(tmp_path))
    assert Checkpoints(tmp_path / "checkpoints").newest() == stopped < STEPS - 2, "else this test shows nothing"

    (alone,) = launch(tmp_path, devices=4, **fields)
    wait_until(lambda: len(small_run.losses_of(tmp_path)) > stopped + 1, [alone])
    alone.send_signal(signal.SIGTERM)
    (text,) = finish([alone], 143, seconds=60)
    assert f"resumes from step {stopped} of 100000" in text
    found, expected = small_run.losses_of(tmp_path), small_run.losses_of(trained)
    assert sorted(found) == list(range(1, len(found) + 1)), "each step once"
    for step in range(1, min(len(found), STEPS) + 1):
        assert abs(found[step] - expected[step]) < 1e-5, step


@pytest.mark.parametrize("lost", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_when_a_process_is_killed_the_other_ends_with_status_1(tmp_path, lost):
    fields = {"train__steps": 100000, "run__checkpoint_every": 3, "run__heartbeat_seconds": HEARTBEAT}
    running = launch(tmp_path, processes=2, stages="train", **fields)
    wait_until(lambda: any((tmp_path / "checkpoints").glob("*.sha256.json")), running)
    running[lost].kill()
    killed = time.monotonic()
    other = running[1 - lost]
    text = other.communicate(timeout=HEARTBEAT + 20)[1]
    assert other.returncode == 1, text
    assert time.monotonic() - killed < HEARTBEAT + 10
    running[lost].communicate()
    assert Checkpoints(tmp_path / "checkpoints").newest() % 3 == 0, "what was saved is whole"


@pytest.mark.slow
def test_a_process_that_never_comes_is_not_waited_for_longer_than_asked(tmp_path):
    """Of two runs, one lacks its process 1 and the other its process 0."""
    command = [*words(tmp_path / "run", run__startup_seconds=3), "--processes=2"]
    started = time.monotonic()
    alone = [start([*command, f"--coordinator={free_address()}", f"--process={index}"]) for index in range(2)]
    finish(alone, 1)
    assert time.monotonic() - started < 60
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = [f"--coordinator={address}", "--processes=2", "--process=0"]
        (text,) = finish([start([*words(tmp_path / "run"), *flags])], 2)
    assert text == f"error: --coordinator: process 0 cannot listen at {address}; expected a free port\n"


JOIN = """
import sys
from fsjax.runtime import parallel, startup
several = startup.initialize(startup_seconds=60)
print(several, *parallel.process(), parallel.from_main(sys.argv[1]))
"""


@pytest.mark.parametrize("scheduler", ["slurm", "mpirun"])
def test_processes_of_a_scheduler_find_each_other(scheduler):
    port = free_address().rpartition(":")[2]
    running = []
    for index in range(2):
        if scheduler == "slurm":
            variables = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2"}
            variables |= dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID"), str(index))
        else:
            variables = {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://127.0.0.1:1", "OMPI_COMM_WORLD_SIZE": "2"}
            variables |= dict.fromkeys(("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"), str(index))
        running.append(start(["-c", JOIN, str(index)], JAX_COORDINATOR_PORT=port, **variables))
    printed = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], printed
    assert [out.splitlines()[-1] for out, _ in printed] == ["True 0 2 0", "True 1 2 0"]


def test_one_machine_without_a_scheduler_joins_nobody(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_")):
            monkeypatch.delenv(name)
    assert startup.initialize() is False
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node1")
    assert startup.initialize() is False
    refused(r"run\.heartbeat_seconds: got 0; expected 1 or more", startup.initialize, heartbeat_seconds=0)


@pytest.mark.parametrize("flags", [("a:1", None, None), ("a", 2, 0), ("a:99999", 2, 0), ("a:1", 0, 0), ("a:1", 2, 2)])
def test_flags_that_cannot_be_are_refused(flags):
    message = f"--coordinator, --processes, --process: got {', '.join(map(str, flags))}; expected HOST:PORT"
    refused(message, startup.initialize, *flags)
