"""A set of the library `datasets` goes to a page, and a run goes on with the images that it began with."""

import io
import logging

import datasets
import numpy as np
from PIL import Image

from configs import folder
from fsjax.experiment import runner
from tests.helpers.refused import refused
from tests.helpers.small_run import OF_PHOTOGRAPHS


def birds(labels, modes=()):
    """Herons and storks of several sizes; modes: of single images, 'broken' is half a file."""
    rng, images = np.random.default_rng(len(labels)), []
    for row in range(len(labels)):
        mode, buffer = dict(modes).get(row, "RGB"), io.BytesIO()
        pixels = rng.integers(0, 256, (30 + row, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).convert("RGB" if mode == "broken" else mode).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue()[: 900 if mode == "broken" else None], "path": None})
    features = datasets.Features({"img": datasets.Image(), "bird": datasets.ClassLabel(names=["heron", "stork"])})
    return datasets.Dataset.from_dict({"img": images, "bird": labels}, features)


def test_a_saved_set_goes_to_a_page_and_has_to_be_the_same_set_at_a_restart(tmp_path, caplog, undrawn):
    root = tmp_path / "birds"
    train, validation = birds([0] * 6 + [1] * 4, {2: "broken", 3: "L", 8: "RGBA"}), birds([0, 0, 1])
    datasets.DatasetDict(train=train, validation=validation).save_to_disk(str(root))
    config = folder.get_config()
    config.data.source, config.data.root, config.data.test_split = "huggingface", str(root), "validation"
    config.update_from_flattened_dict(OF_PHOTOGRAPHS)
    caplog.set_level(logging.INFO, "fsjax")
    runner.run(config, tmp_path / "run")
    assert f"data: huggingface {root}: 2 classes, 7 train, 2 validation, 3 test images, at 32 x 32" in caplog.text
    assert "left out 1 of 10 images, which do not decode: 2" in caplog.text
    page = (tmp_path / "run" / "report" / "graft" / "index.html").read_text()
    assert "vit_nano_patch8 on huggingface data," in page and "stork" in page

    datasets.DatasetDict(train=train, validation=birds([0, 0, 1, 1])).save_to_disk(str(tmp_path / "more"))
    root.rename(tmp_path / "before")
    (tmp_path / "more").rename(root)
    config.report.samples = 2
    caplog.clear()
    refused(r"split 'test' are not .* began with .class 'stork' has 2, had 1", runner.run, config, tmp_path / "run")
    assert "evaluate: already done" in caplog.text
