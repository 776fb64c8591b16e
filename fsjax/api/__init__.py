"""The functions that `import fsjax` offers."""
