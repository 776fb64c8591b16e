"""Every search finds the two orbits that a classifier reads, which identify the class only together."""

import jax.numpy as jnp
import numpy as np
import pytest

from fsjax import search
from fsjax.fourier import spectrum
from tests.helpers.search_problem import make_problem

ORBITS = spectrum.orbits(8, 8)
FIELDS = {
    "removal": {"resamples": 0},
    "graft": {"paths": 12, "steps": 4, "resamples": 0},
    "greedy": {"tolerance": 0.0},
    "hierarchical": {"candidates": "60,120", "keep": 10},
    "learned": {"steps": 60, "batch": 10, "judged": 20, "restarts": 1},
}


@pytest.mark.parametrize("method", FIELDS)
def test_orbits_that_work_only_together_are_found_together_and_alone(method):
    members = ORBITS[[4 + 1, 4 - 3], [4 + 2, 4 + 1]].tolist()
    planes = jnp.asarray(np.stack([member == ORBITS for member in members]))

    def apply(params, images):
        energy = jnp.square(spectrum.filter_images(images, planes)).mean((2, 3, 4))
        both = jnp.prod(energy / (energy + 0.005), axis=0)
        return jnp.stack([9 * both, 0.25 * 9 * jnp.ones_like(both)], axis=1)

    images = list(np.random.default_rng(4).normal(size=(2, 20, 8, 8, 3)).astype(np.float32))
    maps = search.run(make_problem(None, method, apply=apply, images=images, shares=(4 / 64,), **FIELDS[method]))
    assert set(ORBITS[maps.masks[0, 0]].tolist()) == set(members)
    assert method != "learned" or maps.provenance["chosen"][0] == ["learned"]
