"""fsjax finds, measures and compares the frequency shortcuts of image classifiers, in JAX."""

__version__ = "0.1.0"
__all__ = ["dominant_frequencies", "load_weights"]


def __getattr__(name: str):
    # On first use: importing JAX takes seconds, which the command line's own errors need not wait for.
    if name in __all__:
        from fsjax import library

        return getattr(library, name)
    raise AttributeError(f"module 'fsjax' has no attribute {name!r}")
