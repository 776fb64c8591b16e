"""The learned search's steps compiled for TPUs and H100s: no device waits for another."""

import numpy as np
import pytest

from tests.helpers import ahead_of_time
from tests.helpers.ahead_of_time import ACCELERATORS, TPUS

SIZE, IMAGES, TASKS = 4, 64, 2  # on one device
# Estimated cycles of an image on a TPU, a quarter above what they are.
CYCLES = 1300


def programs(devices):
    """Yield the loop over steps."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import Mesh
    from ml_collections import ConfigDict

    from fsjax import search
    from fsjax.engine.model import Model
    from fsjax.fourier import spectrum
    from fsjax.runtime import parallel
    from fsjax.search import stepwise
    from fsjax.search.mask_optimisation import MaskOptimisation
    from tests.helpers import search_problem

    def apply(params, images):
        hidden, out = params
        return jnp.tanh(images.reshape(len(images), -1) @ hidden) @ out

    options = search.options()
    options.update(method="learned", shares=(0.2,))
    options.learned.batch = IMAGES
    weights = [np.zeros(shape, np.float32) for shape in ((SIZE * SIZE * 3, 8), (8, 3))]
    model, images = Model(apply, weights, (SIZE, SIZE, 3)), [np.zeros((IMAGES, SIZE, SIZE, 3), np.float32)] * 3
    run = ConfigDict({"memory_mib": 0, "save_seconds": 0.0})
    problem = search_problem.made(model, images, options=options, run=run)
    scores = np.zeros(len(spectrum.orbit_sizes(SIZE, SIZE)))
    layout = {"batch_images": IMAGES, "tasks_per_device": TASKS}
    optimisation = MaskOptimisation(problem, [3], lambda label, share: scores, layout)
    mesh = Mesh(np.array(devices), (parallel.AXIS,))
    take = stepwise.make_steps(optimisation, mesh, "highest", loops=True)

    def of_all_tasks(tree):
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((TASKS * mesh.size, *leaf.shape), leaf.dtype), tree)

    state = of_all_tasks((np.array(0, np.int32), optimisation.initial_state(0)))
    inputs, (batch,) = map(of_all_tasks, (optimisation.inputs(0), optimisation.batches(0)))
    beside = [task % optimisation.count for task in range(TASKS * mesh.size)]
    lowered = take.lower(problem.model.params, optimisation.shared(beside), inputs, [batch], 10, state)
    yield "steps", lowered, TASKS * IMAGES


@pytest.fixture(scope="module")
def rows():
    return ahead_of_time.compile_elsewhere(__file__)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_nothing_passes_between_the_devices_of_a_step(rows, accelerator):
    (row,) = ahead_of_time.of_accelerator(rows, accelerator).values()
    assert row["collectives"] == {}


@pytest.mark.parametrize("accelerator", TPUS)
def test_an_image_of_a_step_takes_no_more_cycles_than_it_did(rows, accelerator):
    (row,) = ahead_of_time.of_accelerator(rows, accelerator).values()
    assert CYCLES / 2 < row["cycles"] < CYCLES


if __name__ == "__main__":
    ahead_of_time.main(programs)
