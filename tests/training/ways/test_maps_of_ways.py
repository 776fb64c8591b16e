"""Maps that a training reads, and the names of its ways: what is read, what is refused, and what a result rests on."""

import functools
import pickle
import re

import numpy as np
import pytest

from configs import common
from fsjax import data
from fsjax.experiment.stage import Workspace, fingerprint
from fsjax.experiment.stages import train as train_stage
from fsjax.fourier import spectrum
from fsjax.training import ways
from fsjax.training.ways import graft
from fsjax.training.ways.way import read_masks
from tests.helpers.linear_classifier import save_maps
from tests.helpers.processes import stopped
from tests.helpers.refused import refused
from tests.helpers.small_run import assert_same_bits, train, training_config

CLASSES = ("C0", "C1", "C2", "C3")


def options(names="", **of_ways):
    """config.train with these ways, and fields by way."""
    config = common.base().train
    config.ways = names
    for way, fields in of_ways.items():
        config[way].update(fields)
    return config


# DFM-X


def checked_masks(size, classes, **fields):
    """The masks of train.dfmx, after its check."""
    config = options(dfmx={name: str(value) if name == "maps" else value for name, value in fields.items()})
    ways.check(config, size)
    return read_masks("dfmx", config.dfmx, size, classes)


def test_the_share_asked_for_is_read_and_a_file_of_one_share_is_taken_as_it_is(tmp_path):
    maps = save_maps(tmp_path / "dfm" / "two.npz")
    for where in (tmp_path, tmp_path / "dfm" / "two.npz"):
        np.testing.assert_array_equal(checked_masks(16, CLASSES, maps=where, share=0.2), maps.masks[1])
    one = save_maps(tmp_path / "one.npz", shares=(0.37,))
    np.testing.assert_array_equal(checked_masks(16, CLASSES, maps=tmp_path / "one.npz"), one.masks[0])


def test_a_published_pickle_is_read_by_class_index(tmp_path):
    planes = np.random.default_rng(0).random((3, 16, 16)) < 0.3
    content = {label: plane.astype(float).tolist() for label, plane in enumerate(planes)}
    (tmp_path / "maps.pkl").write_bytes(pickle.dumps(content))
    np.testing.assert_array_equal(checked_masks(16, ("a", "b", "c"), maps=tmp_path / "maps.pkl"), planes)
    message = r"maps\.pkl has the 3 .*; expected the data's 2 classes \['a', 'b'\]$"
    refused(message, checked_masks, 16, ("a", "b"), maps=tmp_path / "maps.pkl")


@pytest.mark.parametrize(
    ("changes", "size", "classes", "message"),
    [
        ({"maps": "nowhere.npz"}, 16, CLASSES, "nowhere.npz: not there"),
        ({}, 24, CLASSES, "has 16 x 16 pixels; expected data.image_size, 24"),
        ({}, 16, CLASSES[:3], "has the 4 classes ['C0', 'C1', 'C2', 'C3']; expected the data's 3 classes ['C0', "),
        ({}, 16, CLASSES[::-1], "has the 4 classes ['C0', 'C1', 'C2', 'C3']; expected the data's 4 classes ['C3', "),
        ({"share": 0.1}, 16, CLASSES, "train.dfmx.share: got 0.1; expected a share of"),
    ],
)
def test_maps_that_cannot_be_used_are_refused_in_one_line(tmp_path, changes, size, classes, message):
    save_maps(tmp_path / "maps.npz")
    refused(re.escape(message), checked_masks, size, classes, **{"maps": tmp_path / "maps.npz"} | changes)


def small_config(**fields):
    changes = {f"train__dfmx__{name}": value for name, value in fields.items()}
    return training_config(train__steps=3, train__evaluators="", data__validation_share=0.0, **changes)


def test_a_restart_changes_nothing_and_a_changed_file_or_maps_of_other_classes_are_refused(tmp_path):
    config, kept = small_config(maps=str(tmp_path / "maps.npz"), probability=0.9), tmp_path / "kept.npy"
    config.data.frequencies = str(kept)
    np.save(kept, spectrum.radius(24, 24) <= 0.4)
    classes = data.load(config.data, "train", 0).classes
    save = functools.partial(save_maps, tmp_path / "maps.npz", size=24)
    save(classes=("a", "b", "c", "d"))
    message = r"^train\.dfmx\.maps: .* has the 4 classes .* expected the data's 4 "
    refused(message, train, config, tmp_path / "whole")
    assert not (tmp_path / "whole" / "checkpoints").exists()
    save(classes=classes)
    whole = train(config, tmp_path / "whole")
    with stopped():
        train(config, tmp_path / "stopped")
    save(classes=classes, seed=1)
    changed = ": the file has changed since .*; put it back, or name"
    refused(rf"^train\.dfmx\.maps{changed}", train, config, tmp_path / "stopped")
    save(classes=classes)
    np.save(kept, spectrum.radius(24, 24) >= 0.2)
    refused(rf"^data\.frequencies{changed}", train, config, tmp_path / "stopped")
    np.save(kept, spectrum.radius(24, 24) <= 0.4)
    assert_same_bits(train(config, tmp_path / "stopped"), whole)


def test_a_training_result_rests_on_its_fields_and_on_the_files_bytes_only_where_it_is_used(tmp_path):
    plain = small_config()
    fields = fingerprint(plain, train_stage.STAGE)
    assert not fields.keys() & {"train.dfmx.share", "train.dfmx.probability"}
    assert train_stage.STAGE.reads(Workspace(plain, tmp_path)) == []
    save_maps(tmp_path / "dfm" / "maps.npz")
    with_maps = small_config(maps=str(tmp_path))
    fields = fingerprint(with_maps, train_stage.STAGE)
    assert (fields["train.dfmx.share"], fields["train.dfmx.probability"]) == (0.05, 0.3)
    assert train_stage.STAGE.reads(Workspace(with_maps, tmp_path)) == [tmp_path / "dfm" / "maps.npz"]


# Grafting


def test_a_mask_a_workdirs_maps_and_the_probes_are_read(tmp_path):
    mask = np.random.default_rng(0).random((16, 16)) < 0.3
    mask |= spectrum.conjugate(mask)
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "none.npy", np.zeros((16, 16), bool))  # as probes leave it that find nothing
    maps = save_maps(tmp_path / "dfm" / "two.npz")

    def read(where, **fields):
        return graft.read_mask(options("graft", graft={"maps": str(where)} | fields), 16, tmp_path)

    np.testing.assert_array_equal(read(tmp_path / "mask.npy"), mask)
    assert not read(tmp_path / "none.npy").any()
    np.testing.assert_array_equal(read(tmp_path, share=0.2), maps.masks[1].any(0))
    np.testing.assert_array_equal(read("low:0.2"), spectrum.radius(16, 16) <= 0.2)
    probed = options("graft", graft={"maps": "probe"})
    ways.check(probed, 16)  # before there are any
    message = r"train\.graft\.maps: got 'probe', and the workdir has no probes; run the st"
    refused(message, ways.files, probed, tmp_path)
    graft.probed_file(tmp_path).parent.mkdir()
    np.save(graft.probed_file(tmp_path), mask)
    np.testing.assert_array_equal(read("probe"), mask)
    assert ways.files(probed, tmp_path) == {"train.graft.maps": graft.probed_file(tmp_path)}


def test_ways_are_named_once_and_in_order(tmp_path):
    save_maps(tmp_path / "dfm" / "two.npz")
    config = options("graft", dfmx={"maps": str(tmp_path)})
    assert ways.chosen(config) == ("graft", "dfmx")
    config.ways = "dfmx,graft"
    assert ways.chosen(config) == ("dfmx", "graft")
    config.ways = ""
    assert ways.chosen(config) == ("dfmx",)  # as before there were names
    for names, message in (("graft,graft", "expected each way once"), ("grafting", "graft")):
        config.ways = names
        refused(rf"train\.ways: .*{message}", ways.check, config, 16)
    config.ways, config.graft.maps = "graft", ""
    refused(r"train\.graft\.maps: got ''; expected .*probe", ways.check, config, 16)
    config.ways = "operations"
    for names, message in (("probe", r"train\.ways=graft,operations"), ("", "operations, with"), ("blurring", "blur")):
        config.operations.names = names
        refused(rf"train\.operations\.names: got .*{message}", ways.check, config, 16)
    config.ways = "graft"
    config.graft.maps, config.graft.start = "low:0.2", str(tmp_path / "none")
    refused(r"train\.graft\.start: got '.*none'; expected the workdir of a finished train", ways.check, config, 16)
