"""fsjax finds, measures and compares the frequency shortcuts of image classifiers, in JAX."""

__version__ = "0.1.0"
__all__ = ["removal"]


def __getattr__(name: str):
    # On first use: importing JAX takes seconds, which the command line's own errors need not wait for.
    if name == "removal":
        from fsjax.library import removal

        return removal
    raise AttributeError(f"module 'fsjax' has no attribute {name!r}")
