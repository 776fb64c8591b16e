"""A newcomer follows docs/contributing.md: its blocks, put where it says, make a run whose every part is as claimed.

One process runs all five examples: images from the table, the linear model, its way of training, the evaluator and the
search of the page.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from fsjax import data
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime.checkpoints import Checkpoints
from tests.helpers.plane import filtered, spectra
from tests.helpers.processes import of_devices

ROOT = pathlib.Path(__file__).parents[2]
SIZE, CLASSES = 16, ("east", "north", "west")


def blocks(language):
    """The page's fenced blocks with a title: (file, text)."""
    page = (ROOT / "docs" / "contributing.md").read_text()
    return re.findall(rf'^```{language} title="([^"]+)"\n(.*?)^```$', page, re.DOTALL | re.MULTILINE)


def apply(diff, text):
    """A text after a diff whose hunks, parted by @@, each fit in one place."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before, after = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        assert text.count(before) == 1, f"the page's lines are not in the file any more:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with the table's images: a grating of its own for each class, in noise."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    made = {}
    for split, count in (("train", 20), ("test", 9)):
        made[split] = []
        # Classes take turns: no reader may lean on their order.
        for index in range(count * len(CLASSES)):
            label = index % len(CLASSES)
            wave = np.cos(2 * np.pi * ((label + 1) * rows + 2 * label * columns) + rng.normal())
            pixels = 128 + 25 * wave[:, :, None] + rng.normal(0, 30, (SIZE, SIZE, 3))
            pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"{split}{index}.png")
            made[split].append((f"{split}{index}.png", label, pixels))
        (root / f"{split}.csv").write_text("".join(f"{name},{CLASSES[label]}\n" for name, label, _ in made[split]))
    # In the order of a source: class by class.
    ordered = {split: sorted(rows, key=lambda row: row[1]) for split, rows in made.items()}
    return root, {
        split: (np.stack([row[2] for row in rows]).astype(float), np.array([row[1] for row in rows]))
        for split, rows in ordered.items()
    }


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    """A workdir made by a copy of the package with the page's changes."""
    copy = tmp_path_factory.mktemp("newcomer")
    for name in ("fsjax", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "launch.py", copy)
    for file, text in blocks("python"):
        assert not (copy / file).exists()
        (copy / file).write_text(text)
    for file, diff in blocks("diff"):
        (copy / file).write_text(apply(diff, (copy / file).read_text()))
    fields = {"data.source": "table", "data.root": images[0], "data.image_size": SIZE, "model.name": "linear"}
    fields |= {"train.evaluators": "validation,confidence", "train.ways": "grey", "train.grey.probability": 1.0}
    fields |= {"train.steps": 30, "train.batch_size": 16, "train.learning_rate": 0.003, "train.warmup_steps": 0}
    fields |= {"search.method": "contrast", "search.images_per_class": 0, "evaluate.pairs": 0}
    fields |= {"report.samples": 1, "report.attributions": 0, "stages": "train,search,evaluate,report,export"}
    # Figures are left undrawn: no block of the page is about them.
    words = [f"--config.{name}={value}" for name, value in fields.items()]
    command = [sys.executable, ROOT / "tests" / "helpers" / "undrawn.py", "--config=configs/dfm_vit.py", *words]
    subprocess.run(command, cwd=copy, env=os.environ | {"XLA_FLAGS": of_devices(2)}, check=True, timeout=300)
    return copy / "runs" / "dfm_vit-demo"


def trained(run, step):
    """The arrays of the linear model after a step."""
    shapes = {"kernel": np.zeros((3 * SIZE**2, 3), np.float32), "bias": np.zeros(3, np.float32)}
    with contextlib.closing(Checkpoints(run / "checkpoints")) as checkpoints:
        return checkpoints.restore("variables", step, {"params": {"fc": shapes}, "batch_stats": {}})["params"]["fc"]


@pytest.fixture(scope="module")
def truth(images, run):
    """The claims of the blocks, in NumPy: normalised images of each split, and the logits of the trained weights."""
    raw = images[1]
    train, validation = data.split_off_validation(raw["train"][1], 0.1, 0)
    splits = {
        "train": tuple(part[train] for part in raw["train"]),
        "validation": tuple(part[validation] for part in raw["train"]),
        "test": raw["test"],
    }
    mean, std = splits["train"][0].mean((0, 1, 2)), splits["train"][0].std((0, 1, 2))
    fc = trained(run, 30)

    def logits(images):
        return images.reshape(len(images), -1) @ fc["kernel"].astype(float) + fc["bias"]

    return {split: ((images - mean) / std, labels) for split, (images, labels) in splits.items()}, logits


def scores_of(images, labels):
    """Log of each class's mean energy less its mean over classes, on the centred plane."""
    logs = np.log([(abs(spectra(images[labels == label])) ** 2).mean((0, 3)) for label in range(len(CLASSES))])
    return logs - logs.mean(0)


def best(scores, positions):
    """The best pairs of a frequency and its conjugate that fit, one pair after the other."""
    kept = np.zeros((SIZE, SIZE), bool)
    for index in np.argsort(-scores, axis=None):
        row, column = divmod(int(index), SIZE)
        pair = {(row, column), (-row % SIZE, -column % SIZE)}
        if kept[row, column]:
            continue
        if kept.sum() + len(pair) > positions:
            return kept
        for member in pair:
            kept[member] = True
    return kept


def test_the_search_method_is_a_file_of_fewer_than_30_lines_and_one_line_of_the_registry():
    files, diffs = dict(blocks("python")), dict(blocks("diff"))
    assert files["fsjax/search/contrast.py"].count("\n") < 30
    added = [line for line in diffs["fsjax/search/__init__.py"].splitlines() if line.startswith("+    ")]
    assert added == ['+    "contrast": contrast.METHOD,']
    assert all(text.count("\n") < 35 for text in files.values()) and len(files) == 5 and len(diffs) == 6


def test_the_search_finds_what_it_claims(run, truth):
    maps = DominantFrequencyMaps.load(run / "dfm" / "contrast.npz")
    expected = scores_of(*truth[0]["train"])
    np.testing.assert_allclose(maps.scores, expected, atol=2e-3)
    assert (maps.method, maps.classes, maps.images.tolist()) == ("contrast", CLASSES, [18, 18, 18])
    for row, share in enumerate(maps.shares):
        for label in range(len(CLASSES)):
            np.testing.assert_array_equal(maps.masks[row, label], best(expected[label], int(share * SIZE**2)))


def test_the_model_classifies_the_table_s_images_as_its_weights_say_in_numpy(run, truth):
    (images, labels), logits = truth[0]["test"], truth[1]
    evaluation = json.loads((run / "evaluation.json").read_text())
    called = logits(images).argmax(1)
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (labels, called), 1)
    assert evaluation["classes"] == list(CLASSES) and evaluation["unfiltered"]["confusion"] == confusion.tolist()
    assert evaluation["unfiltered"]["accuracy"] > 0.6
    masks = DominantFrequencyMaps.load(run / "dfm" / "contrast.npz").at(0.2)
    for label, mask in enumerate(masks):
        right = logits(filtered(images, mask)).argmax(1) == label
        rates = evaluation["methods"]["contrast"]["shares"]["0.2"]
        assert rates["tpr"][label] == pytest.approx(right[labels == label].mean())
        assert rates["fpr"][label] == pytest.approx(right[labels != label].mean())


def test_the_model_s_weights_go_out_as_pytorch_s_module_names_them(run, truth):
    module = torch.nn.ModuleDict({"fc": torch.nn.Linear(3 * SIZE**2, 3)})
    module.load_state_dict(torch.load(run / "export" / "linear.pt", weights_only=True), strict=True)
    (images, _), logits = truth[0]["test"], truth[1]
    found = module["fc"](torch.tensor(images.reshape(len(images), -1), dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(found, logits(images), atol=1e-4)


def test_the_evaluator_s_number_is_the_mean_largest_probability(run, truth):
    (images, _), logits = truth[0]["validation"], truth[1]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = {line["step"]: line["validation_confidence"] for line in lines if "validation_confidence" in line}
    values = np.exp(logits(images))
    assert len(images) == 6 and found[30] == pytest.approx((values.max(1) / values.sum(1)).mean(), rel=1e-4)


def test_the_guide_draws_a_figure_of_what_the_run_has_found(run, monkeypatch):
    monkeypatch.chdir(run.parent.parent)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guide" / "verdict.md").read_text(), re.DOTALL)
    exec(next(block for block in blocks if "figure = " in block), names)
    maps = DominantFrequencyMaps.load(run / "dfm" / "contrast.npz").at(0.05)
    drawn = [axis.images[0].get_array() for axis in names["figure"].axes if axis.images]
    assert len(drawn) == len(CLASSES)
    for image, mask in zip(drawn, maps, strict=True):
        assert len(np.unique(np.asarray(image)[mask])) == len(np.unique(np.asarray(image)[~mask])) == 1
    assert pathlib.Path("maps.pdf").read_bytes().startswith(b"%PDF")
