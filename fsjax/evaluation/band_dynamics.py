"""How a training learns frequency bands: F1 and confusion on copies of the test set that keep some bands only.

A copy is named by the radial bands that it keeps, 1 (lowest) to 4: '1234' is the original, '12' a low-pass, '34' a
high-pass, '14' a band-stop and '2' a band-pass copy. DC belongs to band 1. Images are filtered after normalisation: a
copy without band 1 gives every image the mean colour of the training images. The synthetic sets have no energy at DC.
"""

import dataclasses
import re

import numpy as np
from jaxtyping import Bool, Float, Int

from fsjax.evaluation.typed_json import to_json
from fsjax.fourier import spectrum
from fsjax.runtime.errors import InputError

_BANDS = 4
ORIGINAL = "1234"
# The original, each pair of bands, and each single band.
DEFAULT = (ORIGINAL, "12", "34", "13", "14", "23", "24", "1", "2", "3", "4")
# F1 from which a class counts as partly recognised, and as learned.
THRESHOLDS = (0.5, 0.8)


@dataclasses.dataclass(frozen=True)
class Dynamics:
    """Confusion counts, by true (rows) and predicted class, from trainings that differ only in their seed.

    Evaluations are after these training `steps`, ascending. Every class has an image.
    """

    classes: tuple[str, ...]
    copies: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: Int[np.ndarray, " evaluations"]
    confusion: Int[np.ndarray, "seeds evaluations copies classes classes"]

    @property
    def original(self) -> int:
        """Index of the original among the copies."""
        return self.copies.index(ORIGINAL)

    @property
    def f1(self) -> Float[np.ndarray, "seeds evaluations copies classes"]:
        return f1(self.confusion)

    @property
    def relative_confusion(self) -> Float[np.ndarray, "seeds evaluations copies classes classes"]:
        """D(i,j) = 100 (pred_copy(i,j) - pred_original(i,j)) / N_i, in per cent of class i's images; rows sum to 0.

        Source: Wang et al., ICCV 2023.
        """
        reference = self.confusion[:, :, [self.original]]
        return 100 * (self.confusion - reference) / reference.sum(-1, keepdims=True)

    def first_reached(self, threshold: float) -> Float[np.ndarray, "seeds copies classes"]:
        """Return the step at which a class's F1 first reaches the threshold; NaN if it never does."""
        reached = self.f1 >= threshold
        return np.where(reached.any(1), self.steps[reached.argmax(1)], np.nan)

    @property
    def learned(self) -> int | None:
        """The evaluation after which the original's mean F1, over seeds and classes, stays at 0.8 or more."""
        below = np.flatnonzero(self.f1[:, :, self.original].mean((0, 2)) < THRESHOLDS[-1])
        first = int(below.max()) + 1 if len(below) else 0
        return first if first < len(self.steps) else None

    @property
    def shown(self) -> list[int]:
        """The evaluations whose relative confusion is reported: when the original is learned, and the last."""
        last = len(self.steps) - 1
        return [last] if self.learned in (None, last) else [self.learned, last]

    def summary(self) -> dict:
        """Return JSON values: first steps by seed; mean and spread over seeds of final F1 and relative confusion."""
        relative = self.relative_confusion

        def first_steps(threshold: float) -> dict:
            by_copy = zip(self.copies, np.moveaxis(self.first_reached(threshold), 0, -1), strict=True)
            return {copy: dict(zip(self.classes, to_json(steps), strict=True)) for copy, steps in by_copy}

        return {
            "classes": list(self.classes),
            "keep": list(self.copies),
            "seeds": list(self.seeds),
            "steps": self.steps.tolist(),
            "images": self.confusion[0, 0, 0].sum(-1).tolist(),
            "first_step": {f"{at:g}": first_steps(at) for at in THRESHOLDS},
            "f1": self._by_copy(self.f1[:, -1]),
            "relative_confusion": {str(self.steps[at]): self._by_copy(relative[:, at]) for at in self.shown},
        }

    def _by_copy(self, values: Float[np.ndarray, "seeds copies ..."]) -> dict:
        """Return the mean and the standard deviation (n - 1) over seeds, None for a single seed."""
        spread = values.std(0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)
        return {
            copy: {"mean": to_json(mean), "spread": to_json(deviation)}
            for copy, mean, deviation in zip(self.copies, values.mean(0), spread, strict=True)
        }


def f1(confusion: Int[np.ndarray, "*batch classes classes"]) -> Float[np.ndarray, "*batch classes"]:
    """Return each class's F1, in [0, 1], from counts by true (rows) and predicted class; every class has an image."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return 2 * right / (confusion.sum(-1) + confusion.sum(-2))


def parse(keep: str) -> tuple[str, ...]:
    """Return the copies of a comma-separated list, in its order; DEFAULT for ''. Raises InputError for another list."""
    if not keep:
        return DEFAULT
    names = tuple(name.strip() for name in keep.split(","))
    are_bands = all(name and re.fullmatch("1?2?3?4?", name) for name in names)
    if not are_bands or len(set(names)) < max(2, len(names)) or ORIGINAL not in names:
        raise InputError(
            f"dynamics.keep: got {keep!r}; expected two or more different copies, {ORIGINAL} (the original) among "
            "them, each of the bands 1 to 4 that it keeps, ascending, such as 1234,12,34"
        )
    return names


def masks(names: tuple[str, ...], height: int, width: int) -> Bool[np.ndarray, "copies height width"]:
    """Return the mask of each copy on the centred plane."""
    band = spectrum.bands(height, width, _BANDS) + 1
    return np.stack([np.isin(band, [int(digit) for digit in name]) for name in names])


def title(name: str) -> str:
    """Return a copy's name for readers, as in 'B1 + B2 (low-pass)'."""
    if name == ORIGINAL:
        return "original"
    ends = name[0] == "1", name[-1] == "4"
    contiguous = {(True, False): "low-pass", (False, True): "high-pass", (False, False): "band-pass"}
    kind = contiguous[ends] if name in ORIGINAL else "band-stop"
    return f"{' + '.join(f'B{digit}' for digit in name)} ({kind})"
