"""Experiments: the command line, stages over one run and over several, comparisons."""
