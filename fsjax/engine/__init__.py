"""Masked forward passes on all devices: the hot loop of every search and measurement.

One word for one thing:

  perturbation  a change of every image: a mask times its spectrum, or a wave added to it
  image batch   images that lie on the devices as the tile takes them (their spectra), with labels and weights
  tile          one device call: some perturbations times one image batch, spread over this process's devices
  tile size     perturbed images of a tile on one device, at most; perturbations = tile size // image batch size
  layout        tile size and image batch size, stored with partial results so that a restart repeats the arithmetic
  replicate     one weighting of the images; a tile sums each statistic once per replicate
  block         a range of images times a range of masks that one process evaluates
"""
