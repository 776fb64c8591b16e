"""fsjax finds, measures and compares the frequency shortcuts of image classifiers, in JAX."""

__version__ = "0.1.0"
__all__ = ["dominant_frequencies"]


def __getattr__(name: str):
    # On first use: importing JAX takes seconds, which the command line's own errors need not wait for.
    if name == "dominant_frequencies":
        from fsjax.library import dominant_frequencies

        return dominant_frequencies
    raise AttributeError(f"module 'fsjax' has no attribute {name!r}")
