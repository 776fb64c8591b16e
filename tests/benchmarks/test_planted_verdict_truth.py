"""The verdict benchmark's truth: known for classifiers in closed form; and its networks, computed and stored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.planted import photograph_cues, verdict_networks, verdict_sets, verdict_truth
from fsjax.engine.model import Model
from fsjax.fourier import spectrum

N = 120


def closed_form(cue_set, evidence, label):
    """A model that says `label` where evidence(images) > 0.5, else that it is one of the other classes."""

    def apply(params, images):
        del params
        logits = jnp.zeros((len(images), cue_set.num_classes))
        return logits.at[:, label].set(evidence(images) - 0.5)

    return Model(apply, {}, (cue_set.size, cue_set.size, cue_set.channels))


def planted_amplitude(cue):
    row, column = cue.orbits.T

    def evidence(images):
        relative = spectrum.amplitude(images).mean(-1)[:, row, column] / (images[0, ..., 0].size / 2)
        return (relative / cue.amplitudes).mean(1)

    return evidence


@pytest.mark.parametrize("kind", ["redundant", "competition"])
def test_a_model_that_reads_the_planted_orbits_relies_on_them_wholly(kind):
    cue_set = verdict_sets.make_cue_set(1, kinds=("texture", kind, "high", "default"))
    model = closed_form(cue_set, planted_amplitude(cue_set.cues[1]), 1)
    truth = verdict_truth.truths(model, cue_set, n=N)[1]
    assert (truth.label, truth.row) == ("positive", kind)
    assert truth.recall >= 0.97 and truth.given >= 0.97 and truth.effect >= 0.93
    assert max(truth.fpr, truth.base, truth.without) <= 0.06


def test_a_model_of_brightness_ignores_the_plant_beside_it_and_other_kinds_are_negative_however_well_given():
    cue_set = verdict_sets.make_cue_set(3, kinds=("default", "ignored", "high", "shape"))
    cue = cue_set.cues[1]
    assert cue.brightness > 0 and len(cue.orbits)
    bright = closed_form(cue_set, lambda images: images.mean((1, 2, 3)) / cue.brightness, 1)
    default, truth, high, _ = verdict_truth.truths(bright, cue_set, n=N)
    assert (truth.recall, truth.without, truth.given, truth.base, truth.effect) == (1, 1, 0, 0, 0)
    assert (truth.label, truth.row) == ("negative", "ignored")
    assert default.given is default.base is default.effect is None and default.label == "negative"
    assert (high.recall, high.label, high.row) == (0, "negative", "not recognised")

    cue_set = verdict_sets.make_cue_set(3, kinds=("default", "brightness", "high"))
    level = cue_set.cues[1].brightness
    bright = closed_form(cue_set, lambda images: images.mean((1, 2, 3)) / level, 1)
    truth = verdict_truth.truths(bright, cue_set, n=N)[1]
    assert truth.effect == 1 and (truth.label, truth.row) == ("negative", "brightness")


def test_given_and_base_leave_the_images_own_class_out():
    """The model says 0 of everything, then 1, then 2: without its own class an image of 0 is called 1."""
    cue_set = verdict_sets.make_cue_set(4, kinds=("high", "low", "default"))
    model = Model(lambda params, images: jnp.tile(jnp.arange(3.0, 0, -1), (len(images), 1)), {}, (1, 1, 1))
    first, second, _ = verdict_truth.truths(model, cue_set, n=10)
    assert (first.recall, first.fpr, first.base, first.given) == (1, 1, 1, 1)
    # Half of the others are of class 0, which the model says of everything.
    assert (second.recall, second.fpr, second.base, second.given, second.effect) == (0, 0, 0.5, 0.5, 0)
    assert first.label == second.label == "negative" and first.row == "not recognised"


@pytest.mark.parametrize(
    ("kind", "given", "without", "few", "label", "row"),
    [
        ("low", 0.8, 0.3, None, "positive", "low"),  # effect 0.65 = 0.72 of a recall of 0.9
        ("low", 0.8, 0.4, None, None, "low"),  # 0.6
        ("low", 0.3, 0.6, None, "negative", "unused"),  # 0.25
        ("slope", 1.0, 0.0, None, "negative", "slope"),
        ("ignored", 0.3, 0.7, None, "negative", "ignored"),
        ("ignored", 0.9, 0.0, None, "positive", "ignored used"),
        ("ignored", 0.7, 0.6, None, None, "ignored used"),
        ("ignored", 0.9, 0.7, None, None, "ignored used"),  # without is high, and so is given
        # Of photographs.
        ("grid", 0.9, 0.1, 0.7, "positive", "grid"),
        ("grid", 0.9, 0.1, 0.69, None, "grid"),
        ("grid", 0.3, 0.6, None, "negative", "unused"),
        ("jpeg", 0.9, 0.1, 0.5, "negative", "jpeg"),
        ("jpeg", 0.9, 0.1, 0.51, None, "jpeg"),
        ("jpeg", 0.6, 0.4, 0.9, "negative", "jpeg"),  # the effect is .5
        ("disc", 0.9, 0.1, 0.9, "negative", "disc"),
        ("photograph", None, 0.9, None, "negative", "photograph"),
        ("backdoor", 0.6, 0.7, None, "trigger", "backdoor"),
        ("backdoor", 0.6, 0.6, None, None, "backdoor"),
        ("backdoor", 0.5, 0.7, None, None, "backdoor"),
        ("half", 0.3, 0.9, None, "negative", "half"),
    ],
)
def test_labels_are_those_of_the_documented_thresholds(kind, given, without, few, label, row):
    recall, base = 0.9, None if given is None else 0.1
    effect = None if given is None else ((given - base) + (recall - without)) / 2
    assert verdict_truth.decide(kind, recall, 0.0, base, given, without, effect, few) == (label, row)
    is_trigger = kind in photograph_cues.TRIGGERS and given > 0.3
    unrecognised = (None, kind) if is_trigger else ("negative", "not recognised")
    assert verdict_truth.decide(kind, recall, 0.45, base, given, without, effect, few) == unrecognised


@pytest.mark.parametrize("architecture", verdict_networks.ARCHITECTURES)
def test_every_pixel_of_an_odd_size_reaches_the_logits(architecture):
    shape = (27, 27, 3)
    params = verdict_networks.initial(architecture, shape, 4, jax.random.key(0))
    if architecture == "resnet":  # residual branches start closed
        params["blocks"] = [{**block, "gain": jnp.ones(())} for block in params["blocks"]]
    images = np.random.default_rng(0).standard_normal((2, *shape), np.float32)
    weights = jnp.array([1.0, -2, 3, -4])

    @jax.jit
    def slopes_and_logits(images):
        logits = verdict_networks.APPLY[architecture](params, images)
        return (logits @ weights).sum(), logits

    slopes, logits = jax.grad(slopes_and_logits, has_aux=True)(images)
    assert logits.shape == (2, 4) and (np.abs(slopes) > 0).all()


def test_a_trained_network_is_read_from_disk_until_what_it_depends_on_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(verdict_networks, "_STEPS", {"mlp": (3, 4)})
    trained = verdict_networks.load_or_train(tmp_path, 4)
    images = trained.cue_set.draw(np.arange(4) % 3, 0)
    logits = jax.jit(trained.model.apply)(trained.model.params, images)
    calls = []
    train = verdict_networks.train
    monkeypatch.setattr(verdict_networks, "train", lambda *args: calls.append(args) or train(*args))
    again = verdict_networks.load_or_train(tmp_path, 4)
    np.testing.assert_array_equal(jax.jit(again.model.apply)(again.model.params, images), logits)
    assert again.seconds == trained.seconds and again.model.image_shape == images.shape[1:] and not calls
    monkeypatch.setattr(verdict_networks, "_STEPS", {"mlp": (4, 5)})
    longer = verdict_networks.load_or_train(None, 4).model
    assert len(calls) == 1 and not np.array_equal(jax.jit(longer.apply)(longer.params, images), logits)


def test_a_perceptron_learns_what_can_be_told_apart():
    cue_set = verdict_sets.make_cue_set(3, kinds=("brightness", "absence", "default"))
    model = verdict_networks.train(cue_set, "mlp", 0, 250)
    truths = verdict_truth.truths(model, cue_set, n=N)
    assert min(truth.recall for truth in truths) > 0.8 and max(truth.fpr for truth in truths) < 0.1
