"""One row per class for the tables and cards of pages: its verdict, its rates and its controls."""

from collections.abc import Sequence

import numpy as np

from fsjax.evaluation import verdict
from fsjax.evaluation.results import MapRates

_CONTROLS = (
    *("low_pass_tpr", "highest_energy_tpr", "trivial_tpr", "random_tpr", "radial_tpr"),
    *("best_trivial", "margin", "margin_ci", "q_value"),
)


def class_rows(names: tuple[str, ...], rates: MapRates, share: float, threshold: float) -> list[dict]:
    """Return a row per class, from the rates under their maps at a share in (0, 1].

    Rows have `name`, `shortcut`, `verdict` (two words), `claim`, `sentence`, `tpr`, `tpr_ci` and `fpr`; with controls
    also _CONTROLS and `control_tpr`, the TPR under the map on the images that the controls are judged on.
    """
    columns: dict[str, Sequence | np.ndarray] = {"tpr": rates.tpr, "tpr_ci": rates.tpr_ci, "fpr": rates.fpr}
    if rates.controls:
        columns |= {"control_tpr": rates.controls.tpr, **{name: getattr(rates.controls, name) for name in _CONTROLS}}
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
