"""JTT, DFR and GroupDRO against numbers from their authors' code, which was run once on the inputs drawn here."""

import jax
import numpy as np
import pytest

from benchmarks.ways import dfr, group_dro, jtt
from fsjax.runtime import parallel


@pytest.mark.parametrize("devices", [1, 2])
def test_robust_losses_weights_and_gradients_are_the_published_ones(devices):
    """kohpangwei/group_DRO cbbc1c5, loss.py: LossComputer.loss in three steps, with is_robust and step_size=0.5."""
    published = [
        (1.2350284, [0.2444345, 0.3393388, 0.1408806, 0.2753461], 1.2352498),
        (0.9903101, [0.2229619, 0.2943598, 0.1308398, 0.3518386], 1.1747690),
        (1.4704304, [0.3852698, 0.1554015, 0.1630765, 0.2962521], 1.2889462),
    ]
    rng, weights = np.random.default_rng(0), np.full(4, 0.25, np.float32)
    for step, (loss, expected, slopes) in enumerate(published):
        logits, labels = rng.normal(size=(8, 3)).astype(np.float32), rng.integers(0, 3, 8)
        groups = rng.integers(0, 4, 8) if step else np.array([0, 0, 1, 1, 0, 3, 3, 1])

        def robust(logits, labels, groups, weights=weights):
            losses = -jax.nn.log_softmax(logits)[np.arange(len(labels)), labels]
            return group_dro.robust_loss(losses, groups, weights, 0.5)

        split = [array.reshape(devices, -1, *array.shape[1:]) for array in (logits, labels, groups)]
        step = jax.vmap(jax.value_and_grad(robust, has_aux=True), axis_name=parallel.AXIS)
        (values, grown), gradients = step(*split)
        assert float(values.mean()) == pytest.approx(loss, abs=2e-6)
        assert float(np.abs(gradients).sum()) / devices == pytest.approx(slopes, abs=2e-6)
        weights = np.asarray(grown[0])
        np.testing.assert_allclose(grown, [expected] * devices, atol=1e-6)


def test_wrong_images_are_appended_as_often_as_published():
    """anniesch/jtt 1de6cc5, main of process_training.py, and lists of run_expt.py with up_weight=2."""
    rng = np.random.default_rng(0)
    labels, found = rng.integers(0, 3, 12), rng.integers(0, 3, 12)
    published = [*range(12), *2 * [0, 2, 3, 4, 5, 6, 7, 10, 11]]
    assert jtt.upweighted(found != labels, 2).tolist() == published


@pytest.mark.parametrize(
    ("strength", "published", "intercept"),
    [(1.0, [2.879588, 0, 0, 0.909628, -0.04091], 0.784265), (0.3, [1.311384, 0, 0, 0.0287, 0], 0.228787)],
)
def test_last_layers_are_the_published_regressions(strength, published, intercept, monkeypatch):
    """deep_feature_reweighting 9d8d5de, dfr_on_validation_eval of dfr_evaluate_spurious.py, on groups of one size."""
    rng, labels, groups = np.random.default_rng(0), np.tile([0, 1, 1], 10), np.tile([0, 1, 2], 10)
    features = rng.normal(size=(30, 5)) + labels[:, None] * [1.5, 0, 0.5, 0, 0] + (groups == 2)[:, None] * np.eye(5)[1]
    features = features * [1, 2, 3, 4, 5] + 7
    monkeypatch.setattr(dfr, "STRENGTHS", (strength,))
    kernel, bias = dfr.last_layer(features, labels, groups, rng)
    scaled = kernel[:, 1] * features.std(0)
    np.testing.assert_allclose([*scaled, bias[1] + features.mean(0) @ kernel[:, 1]], [*published, intercept], atol=2e-5)
    np.testing.assert_allclose([*kernel[:, 0], bias[0]], [*-kernel[:, 1], -bias[1]], atol=1e-6)
    assert np.bincount(groups[:20][dfr.balanced(groups[:20], rng)]).tolist() == [6, 6, 6]
