"""Processes, devices, files and signals: everything a long run needs, and no science."""
