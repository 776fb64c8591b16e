"""Typed results made of a few numbers, for tests of what reads evaluation.json."""

import numpy as np

from fsjax.evaluation.results import ControlRates, Controls, Evaluation, MapRates, MethodEvaluation, Rates, Unfiltered
from fsjax.runtime import files


def numbers(values):
    """An array of floats, NaN for None."""
    return np.array(values, float)


def unfiltered(tpr, fpr=None, accuracy=0.5, images=5):
    """Rates of the test images as they are; the confusion matrix is that of a perfect classifier."""
    tpr = numbers(tpr)
    fpr = np.full(len(tpr), 0.1) if fpr is None else numbers(fpr)
    return Unfiltered(accuracy, tpr, fpr, images * np.eye(len(tpr), dtype=int))


def rates(tpr, fpr=None, tpr_ci=None):
    """Rates; by default with an FPR of 0.1 and without an interval."""
    tpr = numbers(tpr)
    limits = np.full((len(tpr), 2), np.nan) if tpr_ci is None else numbers(tpr_ci)
    return Rates(tpr, limits, np.full(len(tpr), 0.1) if fpr is None else numbers(fpr))


def map_rates(tpr, fpr=None, *, tpr_ci=None, positions=3, controls=None, shortcut=None):
    """Rates under maps; by default without controls and verdicts."""
    count = len(tpr)
    return MapRates(
        **vars(rates(tpr, fpr, tpr_ci)),
        positions=np.full(count, positions),
        controls=controls,
        shortcut=(None,) * count if shortcut is None else tuple(shortcut),
    )


def control_rates(count, **rates):
    """TPR under controls, 0.5 unless said otherwise."""
    names = ("low_pass_tpr", "highest_energy_tpr", "random_tpr", "radial_tpr")
    return ControlRates(**{name: numbers(rates.get(name, [0.5] * count)) for name in names})


def controls(count, *, images=5, random_masks=20, radial_masks=20, **values):
    """Controls of maps, with made-up margins and p-values unless said otherwise."""
    defaults = {"tpr": [0.5] * count, "margin": [0.1] * count, "margin_ci": [[-0.1, 0.3]] * count}
    defaults |= {"p_value": [0.5] * count, "q_value": [0.5] * count}
    return Controls(
        **vars(control_rates(count, **values)),
        images=np.full(count, images),
        random_masks=random_masks,
        radial_masks=radial_masks,
        **{name: numbers(values.get(name, default)) for name, default in defaults.items()},
    )


def method(shares, *, grid=None, planted=None):
    """What was measured of a method's maps, by share."""
    return MethodEvaluation("train", 1, {f"{share:g}": rates for share, rates in shares.items()}, grid, planted or {})


def evaluation(classes, of_methods, *, of_images=None, images=5, planted=None):
    """An evaluation of some methods."""
    count = len(classes)
    of_images = unfiltered([0.8] * count, images=images) if of_images is None else of_images
    return Evaluation(tuple(classes), np.full(count, images), of_images, of_methods, planted or {})


def write(directory, results):
    """Writes evaluation.json in a workdir."""
    files.write_json(directory / "evaluation.json", results.to_json())
