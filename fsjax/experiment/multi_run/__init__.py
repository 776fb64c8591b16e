"""Stages over several runs, each of which has a workdir of its own: they call the pipeline, never the reverse."""
