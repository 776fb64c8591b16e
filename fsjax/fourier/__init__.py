"""The Fourier plane: orbits, masks, dominant frequency maps and their files."""
