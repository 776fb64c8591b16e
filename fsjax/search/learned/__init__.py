"""`learned`: masks found by gradients, one for each class and share of the plane. Enter at `learned.search`.

`initial_scores` ranks the orbits of a class, `mask_optimisation` learns masks from there, whose relaxation is
`soft_top_k`, and `mask_selection` compares them with simple masks of the same size; the best is the map.
"""
