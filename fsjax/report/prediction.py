"""A prediction in words."""

import numpy as np
from jaxtyping import Float


def predicted(logits: Float[np.ndarray, " outputs"], names: tuple[str, ...]) -> tuple[int, str]:
    """Return the predicted class, and its name and probability in words."""
    shares = np.exp(logits - logits.max())
    best = int(shares.argmax())
    return best, f"{name_of(best, names)} {shares[best] / shares.sum():.2f}"


def name_of(output: int, names: tuple[str, ...]) -> str:
    """Return the name of an output; a model may have outputs for classes that the data lack."""
    return names[output] if output < len(names) else f"output {output}"
