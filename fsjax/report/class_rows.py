"""One row per class for the tables and cards of pages: its verdict, its rates and its controls."""

from collections.abc import Sequence

import numpy as np

from fsjax.evaluation import verdict
from fsjax.evaluation.results import MapRates


def class_rows(names: tuple[str, ...], rates: MapRates, share: float, threshold: float) -> list[dict]:
    """Return a row per class.

    Args:
      names: of the classes.
      rates: under their maps at one share.
      share: that share, in (0, 1].
      threshold: for the TPR of a shortcut.

    Returns:
      Rows with `name`, `shortcut`, `verdict` (two words), `claim`, `sentence`, `tpr`, `tpr_ci` and `fpr`; with
      controls also `best_trivial`, `margin`, `margin_ci`, `q_value` and the TPR under each kind of mask.
    """
    columns: dict[str, Sequence | np.ndarray] = {"tpr": rates.tpr, "tpr_ci": rates.tpr_ci, "fpr": rates.fpr}
    if controls := rates.controls:
        columns |= {
            "control_tpr": controls.tpr,
            "low_pass_tpr": controls.low_pass_tpr,
            "highest_energy_tpr": controls.highest_energy_tpr,
            "trivial_tpr": controls.trivial_tpr,
            "random_tpr": controls.random_tpr,
            "radial_tpr": controls.radial_tpr,
            "best_trivial": controls.best_trivial,
            "margin": controls.margin,
            "margin_ci": controls.margin_ci,
            "q_value": controls.q_value,
        }
    return [
        {
            "name": of_class.name,
            "shortcut": of_class.shortcut,
            "verdict": of_class.kind,
            "claim": of_class.claim,
            "sentence": of_class.sentence,
            **{name: values[label] for name, values in columns.items()},
        }
        for label, of_class in enumerate(verdict.describe(names, rates, share, threshold))
    ]
