"""Masked forward passes on all devices: the hot loop of every search and measurement."""
