"""Measurements with a classifier and with maps, and their results."""
