"""The comparison of two sets of maps: pairing of masks, rank correlation, page."""
