"""DFM-X: which images are filtered, by whose map, against NumPy; the same on any devices and after a restart."""

import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from configs import common
from fsjax import data
from fsjax.data.augment import image_keys
from fsjax.experiment.stage import Workspace, fingerprint
from fsjax.experiment.stages import train as train_stage
from fsjax.training import ways
from fsjax.training.ways import dfmx
from fsjax.training.ways.way import read_masks
from tests.helpers.linear_classifier import save_maps
from tests.helpers.plane import real, spectra
from tests.helpers.processes import stopped
from tests.helpers.refused import refused
from tests.helpers.small_run import assert_same_bits, train, training_config

CLASSES = ("C0", "C1", "C2", "C3")


def random_case(images, height=8, width=7, classes=4, seed=0):
    """Images, labels and masks that are not constant on orbits and lack DC."""
    rng = np.random.default_rng(seed)
    masks = rng.random((classes, height, width)) < 0.4
    masks[:, height // 2, width // 2] = False
    return rng.normal(size=(images, height, width, 3)).astype(np.float32), rng.integers(0, classes, images), masks


def keys(count, seed=0, epoch=0):
    return image_keys(seed, jnp.full(count, epoch), jnp.arange(count))


def filtered_by_numpy(image, mask):
    """Re F^-1(M F x) with DC kept, in float64."""
    mask = mask.copy()
    mask[mask.shape[0] // 2, mask.shape[1] // 2] = True
    return real(spectra(image) * mask[..., None])


def drawn_by_numpy(images, out, masks):
    """The class whose map each image was filtered by; -1 where it is what it was, bit for bit."""
    found = []
    for image, made in zip(images, out, strict=True):
        if np.array_equal(image, made):
            found.append(-1)
            continue
        apart = [np.abs(filtered_by_numpy(image, mask) - made).max() for mask in masks]
        assert min(apart) < 1e-5, "neither the image nor the image under a class's map"
        found.append(int(np.argmin(apart)))
    return np.array(found)


def test_an_image_keeps_the_frequencies_of_another_class_and_dc_or_is_left_as_it_is():
    images, labels, masks = random_case(3000)
    out = np.asarray(jax.jit(dfmx.make_dfmx(masks, 0.5))(keys(3000), labels, images))
    drawn = drawn_by_numpy(images, out, masks)
    assert not (drawn == labels).any(), "never its own class"
    assert binomtest(int((drawn >= 0).sum()), 3000, 0.5 * 3 / 4).pvalue > 1e-3
    for label in range(4):
        others = np.bincount(drawn[(labels == label) & (drawn >= 0)], minlength=4)
        assert chisquare(np.delete(others, label)).pvalue > 1e-3, "all other classes equally often"
    images, labels, masks = random_case(40)
    np.testing.assert_array_equal(dfmx.make_dfmx(masks, 0.0)(keys(40), labels, images), images)
    alone = jax.jit(dfmx.make_dfmx(masks[:1], 1.0))
    np.testing.assert_array_equal(alone(keys(40), labels * 0, images), images)


def test_of_an_empty_map_the_mean_of_each_channel_is_left():
    images, labels, masks = random_case(50, classes=3)
    out = np.asarray(jax.jit(dfmx.make_dfmx(np.zeros_like(masks), 1.0))(keys(50), labels, images))
    changed = (out != images).any((1, 2, 3))
    assert changed.sum() > 20
    means = np.broadcast_to(images.mean((1, 2), keepdims=True), images.shape)
    np.testing.assert_allclose(out[changed], means[changed], atol=1e-6)


def test_what_happens_to_an_image_follows_from_seed_epoch_and_index_alone():
    images, labels, masks = random_case(64)
    apply = dfmx.make_dfmx(masks, 0.6)
    whole = np.asarray(jax.jit(apply)(keys(64), labels, images))
    some = np.array([33, 2, 61, 7])
    alone = jax.jit(apply)(image_keys(0, jnp.zeros(4, int), jnp.asarray(some)), labels[some], images[some])
    np.testing.assert_allclose(alone, whole[some], atol=1e-6)
    split = [jax.tree.map(lambda a: a.reshape(2, 32, *a.shape[1:]), value) for value in (keys(64), labels, images)]
    on_two = jax.pmap(apply, devices=jax.local_devices()[:2])(*split)
    np.testing.assert_allclose(np.asarray(on_two).reshape(images.shape), whole, atol=1e-6)
    drawn = [drawn_by_numpy(images, whole, masks)]
    for other in (keys(64, epoch=1), keys(64, seed=1)):
        drawn.append(drawn_by_numpy(images, np.asarray(jax.jit(apply)(other, labels, images)), masks))
        assert (drawn[0] != drawn[-1]).sum() > 20


def options(**changes):
    config = common.base().train.dfmx
    config.update(changes)
    return config


def checked_masks(own, size, classes):
    """The masks of train.dfmx, after its check."""
    config = common.base().train
    config.dfmx = own
    ways.check(config, size)
    return read_masks("dfmx", own, size, classes)


def test_the_share_asked_for_is_read_and_a_file_of_one_share_is_taken_as_it_is(tmp_path):
    maps = save_maps(tmp_path / "dfm" / "two.npz")
    for where in (tmp_path, tmp_path / "dfm" / "two.npz"):
        np.testing.assert_array_equal(checked_masks(options(maps=str(where), share=0.2), 16, CLASSES), maps.masks[1])
    one = save_maps(tmp_path / "one.npz", shares=(0.37,))
    np.testing.assert_array_equal(checked_masks(options(maps=str(tmp_path / "one.npz")), 16, CLASSES), one.masks[0])


def test_a_published_pickle_is_read_by_class_index(tmp_path):
    rng = np.random.default_rng(0)
    planes = rng.random((3, 16, 16)) < 0.3
    content = {label: plane.astype(float).tolist() for label, plane in enumerate(planes)}
    (tmp_path / "maps.pkl").write_bytes(pickle.dumps(content))
    read = checked_masks(options(maps=str(tmp_path / "maps.pkl")), 16, ("a", "b", "c"))
    np.testing.assert_array_equal(read, planes)
    message = r"maps\.pkl has the 3 .*; expected the data's 2 classes \['a', 'b'\]$"
    refused(message, checked_masks, options(maps=str(tmp_path / "maps.pkl")), 16, ("a", "b"))


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
    own = options(**{"maps": str(tmp_path / "maps.npz"), **changes})
    refused(re.escape(message), checked_masks, own, size, classes)


def small_config(**fields):
    changes = {f"train__dfmx__{name}": value for name, value in fields.items()}
    return training_config(train__steps=3, train__evaluators="", data__validation_share=0.0, **changes)


def test_a_restart_changes_nothing_and_a_changed_file_is_refused(tmp_path):
    config = small_config(maps=str(tmp_path / "maps.npz"), probability=0.9)
    classes = data.load(config.data, "train", 0).classes
    save_maps(tmp_path / "maps.npz", size=24, classes=classes)
    whole = train(config, tmp_path / "whole")
    with stopped():
        train(config, tmp_path / "stopped")
    save_maps(tmp_path / "maps.npz", size=24, classes=classes, seed=1)
    changed = r"^train\.dfmx\.maps: the file has changed since .*; put it back, or name"
    refused(changed, train, config, tmp_path / "stopped")
    save_maps(tmp_path / "maps.npz", size=24, classes=classes)
    assert_same_bits(train(config, tmp_path / "stopped"), whole)


def test_maps_of_other_classes_are_refused_before_a_step_is_trained(tmp_path):
    save_maps(tmp_path / "maps.npz", size=24, classes=("a", "b", "c", "d"))
    config, message = small_config(maps=str(tmp_path / "maps.npz")), "has the 4 classes .* expected the data's 4 "
    refused(rf"train\.dfmx\.maps: .* {message}", train, config, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


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
