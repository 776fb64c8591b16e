"""A vision transformer that compiles in a moment, for what any network would show."""

from functools import partial

from fsjax.models.vit import VisionTransformer

SMALLEST = partial(VisionTransformer, 8, width=16, depth=1, heads=2, mlp_ratio=2)
