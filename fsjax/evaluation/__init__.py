"""What is measured with a classifier and its maps: rates, controls, heat maps, class-wise spectra."""
