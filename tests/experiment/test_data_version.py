"""Workdirs of runs from before the synthetic sets had versions go on as version 1."""

import dataclasses
import logging

import pytest

from fsjax.experiment import pipeline
from fsjax.experiment.stages import train
from fsjax.runtime import files
from fsjax.runtime.errors import InputError
from tests.helpers.small_run import small_config

STAGE = dataclasses.replace(train.STAGE, run=lambda workspace: None, outputs=lambda workspace: [])


def start(directory, name, version):
    config = small_config(stages="train", data__name=name, data__synthetic__version=version)
    pipeline.run(config, directory, {"train": STAGE})


def test_a_workdir_from_before_versions_goes_on_with_version_1_and_with_no_other(tmp_path, caplog):
    start(tmp_path, "syn1", version=1)
    file = tmp_path / "stages" / "train.json"
    record = files.read_json(file)
    del record["fields"]["data.synthetic.version"]
    files.write_json(file, record)
    caplog.set_level(logging.INFO, "fsjax")
    start(tmp_path, "syn1", version=1)
    assert "train: already done" in caplog.text
    with pytest.raises(InputError, match=r"other settings \(data.synthetic.version was 1, now 2\); go on with those"):
        start(tmp_path, "syn1", version=2)


def test_the_version_is_no_setting_of_the_other_sets(tmp_path, caplog):
    start(tmp_path, "demo", version=1)
    assert "data.synthetic.version" not in files.read_json(tmp_path / "stages" / "train.json")["fields"]
    caplog.set_level(logging.INFO, "fsjax")
    start(tmp_path, "demo", version=2)
    assert "train: already done" in caplog.text
