"""Write a workdir with a report, without training or searching: random scores and made-up rates and verdicts.

It serves to measure and test the page. The figures mean nothing, but have a run's number and size.
"""

import dataclasses

import numpy as np

from configs import common
from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation import judge_maps
from fsjax.evaluation.graft_outcomes import GraftSample
from fsjax.evaluation.graft_results import Baseline, Curve, GraftRates, Grafts
from fsjax.evaluation.results import Evaluation, MapRates, MethodEvaluation, Rates, Unfiltered
from fsjax.evaluation.verdict import CONTROL
from fsjax.fourier import dfm, spectrum
from fsjax.report import page
from fsjax.runtime import files
from fsjax.runtime.storage import Path

IMAGES = 4  # a class
HEADLINE = 0.05  # config.report.share
# The evidence of a shortcut, and what differs where a class is of another kind.
_SHORTCUT = {"psi": 0.9, "p_value": 0.0, "grafted": 0.9, "base": 0.1, "amplitude": 0.9, "phase": 0.1, "zeroed": 0.1}
_SHORTCUT |= {"low_pass_psi": 0.1, "radial_psi": 0.1, "equal_change_psi": 0.1, "no_dc_psi": np.nan, "tpr": 0.95}
_SHORTCUT |= {"energy_ratio": 2.0, "largest_energy_ratio": 3.0}
_UNMEASURED = dict.fromkeys(("low_pass_psi", "radial_psi", "equal_change_psi", "amplitude", "phase", "zeroed"), np.nan)
_OPEN = {"p_value": 1.0, **_UNMEASURED}
_EVIDENCE: dict[str, dict[str, float]] = {
    "shortcut": {},
    "band": {"radial_psi": 0.8},
    "coarse": {"low_pass_psi": 0.8},
    "by absence": {"zeroed": 0.9},
    "default class": {**_OPEN, "base": 0.95, "psi": 0.3},
    "spread": {**_OPEN, "psi": 0.1},
    "not recognised": {**_OPEN, "tpr": 0.2, "psi": 0.3},
    "undecided": {**_OPEN, "psi": 0.52},
}


def write(
    directory: Path,
    classes: tuple[str, ...],
    size: int,
    *,
    shares: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2),
    grid: tuple[float, ...] = (0.02, 0.03, 0.07, 0.15, 0.3, 0.4, 0.5),
    patch: int = 1,
    samples: int = 3,
    attributions: int = 0,
) -> dfm.DominantFrequencyMaps:
    """Write evaluation.json and the report of images of `size` pixels, and return the maps.

    Rates are there for the shares of the maps and of the grid. Scores are constant on squares of `patch` pixels, as in
    a search with patches. The page shows `samples` images a class, and deciding frequencies of `attributions` images.
    """
    rng = np.random.default_rng(0)
    radius = spectrum.radius(size, size)

    def scores(_: int) -> np.ndarray:
        drawn = np.kron(rng.normal(size=(-(-size // patch),) * 2), np.ones((patch, patch)))[:size, :size]
        drawn = (drawn + spectrum.conjugate(drawn)) / (0.05 + radius)
        return drawn.astype(np.float32)

    maps = dfm.from_scores(
        map(scores, range(len(classes))),
        shares,
        classes=classes,
        method="removal",
        searched_on="train",
        images=np.full(len(classes), 9),
        forward_equivalents=1,
        provenance={},
    )
    files.write_json(directory / "evaluation.json", evaluation(classes, shares, grid, rng).to_json())
    files.write_json(directory / "command.json", ["python", "launch.py", "--config=configs/x.py"])
    config = common.base()
    config.search.shares, config.data.image_size = shares, size
    config.report.samples, config.report.attributions = samples, attributions
    mean_std = (np.full(3, 0.5), np.full(3, 0.25))

    def logits(params: dict, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1)[:, : len(classes)]

    classifier = Model(logits, {}, (size, size, 3), classes, mean_std)
    page.write(config, directory, classifier, maps, Dataset(_Pictures(classes, size), size))
    return maps


def evaluation(classes: tuple[str, ...], shares: tuple[float, ...], grid: tuple[float, ...], rng) -> Evaluation:
    """Return an evaluation of random rates, with grafts at shares up to the headline's."""
    count = len(classes)

    def rates() -> Rates:
        rates = [rng.random(count), rng.random(count) / 10]
        limits = [np.stack([rate * 0.9, rate * 0.9 + 0.1], axis=1) for rate in rates]
        return Rates(rates[0], limits[0], rates[1], limits[1], np.full(count, IMAGES * (count - 1)))

    map_rates, grid_rates = (
        {
            f"{share:g}": MapRates(**vars(rates()), positions=np.full(count, 1), kept=np.full(count, share))
            for share in some
        }
        for some in (shares, grid)
    )
    plain, share = rates(), min(shares, key=lambda share: abs(share - HEADLINE))
    confusion = rng.integers(0, 3, (count, count)) + IMAGES * np.eye(count, dtype=int)
    return Evaluation(
        classes=classes,
        images=np.full(count, IMAGES),
        unfiltered=Unfiltered(0.5, plain.tpr, plain.fpr, confusion),
        methods={
            "removal": MethodEvaluation(
                searched_on="train",
                forward_equivalents=1,
                shares=map_rates,
                grid=grid_rates,
                planted={},
                grafts=grafts(classes, share, (*grid, *shares)),
            )
        },
        planted={},
        triggers=None,
    )


def grafts(classes: tuple[str, ...], share: float, curve_shares: tuple[float, ...]) -> Grafts:
    """Return rates that lead to a verdict of each kind in turn, of every second class at the smallest share."""
    count, curve_shares, every = len(classes), tuple(sorted(curve_shares)), list(_EVIDENCE.values())
    found = {name: np.full(count, value) for name, value in _SHORTCUT.items()}
    for label in range(count):
        for name, value in every[label % len(every)].items():
            found[name][label] = value
    names, tpr, base = [field.name for field in dataclasses.fields(GraftRates)], found["tpr"], found["base"]
    psi, at = found["psi"], np.where(np.arange(count) % 2, share, curve_shares[0])
    limits, number = np.stack([psi - 0.05, psi + 0.05], axis=1), np.full(count, IMAGES)
    fields = {name: found.get(name, np.full(count, 0.5)) for name in names}
    rates = GraftRates(**fields | {"share": at, "psi_ci": limits, "swapped_ci": limits})
    curve = psi * np.minimum(1, np.sqrt(np.array(curve_shares)[:, None] / at))
    smallest = np.where(psi >= CONTROL, at * (CONTROL / psi) ** 2, np.nan)
    smallest_ci = np.stack([smallest / 2, smallest * 2], axis=1)
    intervals = np.stack([curve - 0.05, curve + 0.05], axis=2)
    measured = Grafts(
        Baseline(number, number, number, base),
        rates,
        (share,),
        curve_shares,
        Curve(curve, intervals, smallest, smallest_ci),
        10 * number,
        (),
    )
    labels, fpr = np.arange(count), np.full(count, 0.1)
    sample = GraftSample(np.zeros((count, 1, 1, 3)).__getitem__, labels, labels, tpr, fpr, IMAGES, seed=0, why_none="")
    verdicts = tuple(judge_maps.class_verdict(measured, sample, None, label, classes) for label in range(count))
    return dataclasses.replace(measured, verdicts=verdicts)


class _Pictures:
    """A source of noise with the 1/f amplitudes of natural images."""

    planted = None

    def __init__(self, classes: tuple[str, ...], size: int):
        self.classes, self._size = classes, size
        self.labels = np.repeat(np.arange(len(classes)), IMAGES).astype(np.int32)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> np.ndarray:
        white = np.random.default_rng(index).normal(size=(self._size, self._size, 3)).astype(np.float32)
        radius = np.maximum(np.fft.ifftshift(spectrum.radius(self._size, self._size)), 1 / self._size)
        pink = np.fft.ifft2(np.fft.fft2(white, axes=(0, 1)) / radius[..., None], axes=(0, 1)).real
        return np.clip(128 + 45 * pink / pink.std(), 0, 255).astype(np.uint8)
