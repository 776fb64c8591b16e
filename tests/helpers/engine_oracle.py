"""A small network, and the sums of an engine from their definitions in float64."""

import jax.numpy as jnp
import numpy as np

from fsjax.engine.tile import STATISTICS


def network_params(rng, shape, classes):
    return {
        "hidden": rng.normal(size=(np.prod(shape), 8)).astype(np.float32) / 8,
        "out": rng.normal(size=(8, classes)).astype(np.float32),
    }


def apply(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


def oracle_sums(params, filtered, labels, weights, targets):
    """Every (perturbation, image) pair by itself; filtered(m, i) is image i under perturbation m."""
    classes = params["out"].shape[1]
    sums = {name: np.zeros((len(targets), weights.shape[1])) for name in STATISTICS}
    sums["predicted"] = np.zeros((len(targets), weights.shape[1], classes))
    for m, target in enumerate(targets):
        for i, (label, weight) in enumerate(zip(labels, weights, strict=True)):
            hidden = np.tanh(filtered(m, i).ravel() @ params["hidden"].astype(float))
            logits = hidden @ params["out"].astype(float)
            loss = np.log(np.exp(logits).sum()) - logits[label]
            others = [k for k in range(classes) if k == target or k != label]
            sums["loss"][m] += loss * weight
            sums["correct"][m] += (logits.argmax() == label) * weight
            sums["predicted_target"][m] += (logits.argmax() == target) * weight
            sums["captured"][m] += (max(others, key=lambda k: logits[k]) == target) * weight
            sums["predicted"][m, :, logits.argmax()] += weight
    return sums
