"""Typed results made of a few numbers, for tests of what reads evaluation.json."""

import dataclasses

import numpy as np

from fsjax.evaluation.graft_results import Baseline, Curve, GraftRates, Grafts, Verdict
from fsjax.evaluation.ood.results import ControlRates
from fsjax.evaluation.results import Evaluation, MapRates, MethodEvaluation, Rates, Unfiltered
from fsjax.fourier import dfm
from fsjax.runtime import files


def numbers(values):
    """An array of floats, NaN for None."""
    return np.array(values, float)


def maps(scores, shares, classes, **about):
    """Maps cut from scores as `removal` leaves them; `about` are other arguments of `dfm.from_scores`."""
    own = {"method": "removal", "searched_on": "train", "images": np.full(len(classes), 5), "forward_equivalents": 1}
    return dfm.from_scores(scores, shares, classes=classes, **own | {"provenance": {}} | about)


def unfiltered(tpr, fpr=None, accuracy=0.5, images=5):
    """Rates of the test images as they are; the confusion matrix is that of a perfect classifier."""
    tpr = numbers(tpr)
    fpr = np.full(len(tpr), 0.1) if fpr is None else numbers(fpr)
    return Unfiltered(accuracy, tpr, fpr, images * np.eye(len(tpr), dtype=int))


def rates(tpr, fpr=None, tpr_ci=None):
    """Rates; by default with an FPR of 0.1 and without intervals."""
    tpr = numbers(tpr)
    unknown = np.full((len(tpr), 2), np.nan)
    fpr = np.full(len(tpr), 0.1) if fpr is None else numbers(fpr)
    return Rates(tpr, unknown if tpr_ci is None else numbers(tpr_ci), fpr, unknown, np.full(len(tpr), 15))


def map_rates(tpr, fpr=None, *, tpr_ci=None, positions=3, plane=64):
    """Rates under maps of a plane with this many positions."""
    positions = np.broadcast_to(positions, len(tpr)).copy()
    kept = positions / plane
    return MapRates(**vars(rates(tpr, fpr, tpr_ci)), positions=positions, kept=kept)


def control_rates(count, **rates):
    """TPR under controls, 0.5 unless said otherwise."""
    names = ("low_pass_tpr", "highest_energy_tpr", "random_tpr", "radial_tpr")
    return ControlRates(**{name: numbers(rates.get(name, [0.5] * count)) for name in names})


def grafts(names, kinds, *, share=0.05, curve_shares=(0.01, 0.05, 0.5), pairs=120, smallest=None, **values):
    """Grafts with a verdict of each kind ('shortcut by phase') on each class; every rate is 0.5 unless said otherwise.

    `share` is that of the verdicts; `values` are fields of GraftRates.
    """
    count, every = len(names), len(curve_shares)
    smallest = numbers([None] * count if smallest is None else smallest)
    every_name = [field.name for field in dataclasses.fields(GraftRates)]
    fields = {name: np.full((count, 2)[: 1 + name.endswith("_ci")], 0.5) for name in every_name}
    fields["share"] = np.full(count, share)
    rates = GraftRates(**fields | {name: numbers(value) for name, value in values.items()})
    halves = np.full((every, count, 2), 0.5)
    curve = Curve(halves[..., 0].copy(), halves, smallest, np.stack([smallest, smallest], 1))
    baseline = Baseline(*(np.full(count, pairs) for _ in range(3)), base=np.full(count, 0.1))
    verdicts = []
    for label, (name, words) in enumerate(zip(names, kinds, strict=True)):
        kind, _, by = words.partition(" by ")
        psi, least = float(rates.psi[label]), float(smallest[label])
        limits = tuple(rates.psi_ci[label].tolist())
        known = {"psi": None, "psi_ci": ()} if np.isnan(psi) else {"psi": psi, "psi_ci": limits}
        known |= {"smallest": None if np.isnan(least) else least, "sentence": f"{name}: {words}: made up."}
        verdicts.append(Verdict(name=name, kind=kind, by=by, share=share, **known))
    return Grafts(baseline, rates, (share,), tuple(curve_shares), curve, np.full(count, 10), tuple(verdicts))


def method(shares, *, grid=(), planted=None, grafts=None):
    """What was measured of a method's maps, by share."""
    by_share = {f"{share:g}": rates for share, rates in shares.items()}
    return MethodEvaluation("train", 1, by_share, dict(grid), planted or {}, grafts)


def evaluation(classes, of_methods, *, of_images=None, images=5, planted=None, triggers=None):
    """An evaluation of some methods."""
    count = len(classes)
    of_images = unfiltered([0.8] * count, images=images) if of_images is None else of_images
    return Evaluation(tuple(classes), np.full(count, images), of_images, of_methods, planted or {}, triggers)


def write(directory, results):
    """Writes evaluation.json in a workdir."""
    files.write_json(directory / "evaluation.json", results.to_json())
