"""Evaluation in real processes: each computes its share and no more, and all end with the bits of one."""

import itertools
import json
from collections import Counter

import pytest

from tests.helpers.processes import finish, start

# tests/helpers/sharing_worker.py: images of each case, and how many masks they are filtered by.
IMAGES = {"many": 77, "single": 1, "one class": 11}
FILTERED = {"many": 15, "single": 6, "one class": 3}
CHUNK = 8


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """By number of processes, with two devices each: what each process ended with, by case and evaluation."""
    folders = {count: tmp_path_factory.mktemp(f"processes-{count}") for count in (1, 2)}
    worker = ("tests/helpers/sharing_worker.py",)
    outs = {count: folder / "out" for count, folder in folders.items()}
    running = [start(out, out, devices=2, processes=count, worker=worker) for count, out in outs.items()]
    finish([process for one in running for process in one])
    return {
        count: [json.loads((folder / f"out-{index}.json").read_text()) for index in range(count)]
        for count, folder in folders.items()
    }


def test_all_processes_end_with_the_bits_of_one(ended):
    (alone,) = ended[1]
    assert len(alone) == 3 * 8 + 4
    for found in ended[2]:
        values = [{name: one["value"] for name, one in each.items()} for each in (found, alone)]
        assert values[0] == values[1]


def test_every_filtered_image_goes_through_one_model_only(ended):
    (alone,) = ended[1]
    # A graft of nothing is its recipient, which is one in several classes' pairs.
    for name, expected in alone.items():
        if name.endswith("grafts"):
            continue
        seen = Counter(itertools.chain.from_iterable(found[name]["seen"] for found in ended[2]))
        assert set(seen) == set(expected["seen"]), f"{name}: nothing is left out, and nothing is beyond it"
        again = 77 if name.endswith("heat map") else 0  # in each process: its images without a wave
        assert sum(seen.values()) - len(seen) <= again, f"{name}: nothing is computed twice"


@pytest.mark.parametrize("case", IMAGES)
def test_a_process_reads_and_computes_its_share_and_no_more(ended, case):
    processes, devices = ended[2], 2
    for evaluation in ("mean and std", "unfiltered", "validation, first", "validation, second"):
        read = [found[f"{case}: {evaluation}"]["read"] for found in processes]
        assert sorted(itertools.chain.from_iterable(read)) == list(range(IMAGES[case])), "every image is read once"
        block = -(-IMAGES[case] // 8)
        assert max(map(len, read)) <= -(-IMAGES[case] // block // 2) * block + block * (IMAGES[case] % block > 0)
    for found in processes:
        units = -(-IMAGES[case] // CHUNK) * -(-FILTERED[case] // devices)
        assert len(found[f"{case}: filtered"]["seen"]) <= -(-units // 2) * CHUNK * devices, "as even as whole tiles are"
        copies = 3 * (IMAGES[case] // 2 + CHUNK)
        assert len(found[f"{case}: dynamics, first"]["seen"]) <= copies, "as even as whole batches are"
