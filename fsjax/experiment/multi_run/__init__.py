"""Stages over several runs, each in a workdir of its own: they call the pipeline, never the reverse."""
