"""Shares of the plane in words."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# What stands for a missing number.
MISSING = "–"


def share_text(share: float | None) -> str:
    """Return a share in [0, 1] in percent, with two digits: '0.59 %'; a dash for None and NaN."""
    return MISSING if share is None or np.isnan(share) else f"{_digits(share)} %"


def limits_text(limits: Sequence[float] | Float[np.ndarray, "2"], largest: float) -> str:
    """Return the interval of a smallest share, '[0.42, 0.91] %'; '' where both limits are missing.

    A missing upper limit lies beyond `largest`, the largest share that was tried.
    """
    low, high = limits
    if np.isnan(low):
        return ""
    return f"[{_digits(low)}, {f'> {_digits(largest)}' if np.isnan(high) else _digits(high)}] %"


def _digits(share: float) -> str:
    return f"{float(f'{100 * share:.2g}'):g}"
