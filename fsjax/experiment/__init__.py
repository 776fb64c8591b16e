"""Runs: the command line, stages, studies and comparisons."""
