"""Training a classifier: the loop, its pmapped step, optimisers and DFM-X."""
