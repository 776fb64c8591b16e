"""fsjax finds, measures and compares the frequency shortcuts of image classifiers, in JAX."""

__version__ = "0.1.0"
