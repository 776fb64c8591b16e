"""What is called from Python, as fsjax.analyse and the other names of fsjax/__init__.py."""
