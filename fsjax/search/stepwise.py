"""Searches that go step by step: independent tasks, such as one for each class, that run side by side."""

import abc
import time
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree, Shaped

from fsjax.engine.programs import over_devices
from fsjax.runtime import interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.search.method import Problem
from fsjax.search.sweep import Throughput

State = TypeVar("State")
# States, inputs and batches hold NumPy arrays on the host and JAX arrays on the devices.
AnyArray: TypeAlias = Any
# A call of an accelerator takes as many steps as fit into this time, for which a stop has to wait.
_SECONDS_A_CALL = 0.25
# The number of a step, and the state before it.
Carry: TypeAlias = tuple[AnyArray, Any]


class ImageBatch(NamedTuple):
    """Images, pairs of images or their numbers, and their weights."""

    images: Shaped[AnyArray, " n *image"]
    weights: Shaped[AnyArray, " n *replicates"]


def cut_batches(
    images: Shaped[np.ndarray, " n *image"], weights: Shaped[np.ndarray, " n *replicates"], size: int, most: int = 0
) -> list[ImageBatch]:
    """Cut images and weights into batches of one size, for at least `most` images; padding has weight 0."""
    padding = [(0, -(-max(most, len(images)) // size) * size - len(images))]
    # Padded with the last image: a model may return NaN for zeros, and 0 x NaN is NaN.
    images = np.pad(images, padding + [(0, 0)] * (images.ndim - 1), mode="edge")
    weights = np.pad(weights, padding + [(0, 0)] * (weights.ndim - 1))
    cuts = [slice(start, start + size) for start in range(0, len(images), size)]
    return [ImageBatch(images[cut], weights[cut]) for cut in cuts]


class StepwiseSearch(abc.ABC, Generic[State]):
    """Independent tasks with equally many steps, and with states of the same shapes.

    A step measures each batch, adds the measurements up, and updates the state with the sum. Accelerators loop over
    steps in one call. CPUs take a call for each batch: in a compiled loop their convolutions are nine times slower.

    States, inputs, batches and results are pytrees of arrays. JAX traces `measure` and `update` for one task.

    Attributes:
      count, steps: number of tasks, and of each task's steps.
      images_per_step: cost of a step in forward passes.
      tasks_per_device: tasks that a device computes at once.
    """

    count: int
    steps: int
    images_per_step: int
    tasks_per_device: int = 1

    @abc.abstractmethod
    def initial_state(self, task: int) -> State:
        """Return the state before the first step."""

    @abc.abstractmethod
    def inputs(self, task: int) -> Any:
        """Return the inputs of all steps, for `measure` and `update`: arrays with a leading axis of steps."""

    def shared(self, tasks: list[int]) -> Any:
        """Return arrays that tasks side by side share, one copy a device; the last task may be repeated."""
        return ()

    @abc.abstractmethod
    def batches(self, task: int) -> list[Any]:
        """Return the batches of a step: the same in every step, and all of the same shapes."""

    @abc.abstractmethod
    def measure(self, params: PyTree, shared: Any, state: State, inputs: Any, batch: Any) -> Any:
        """Return the arrays to add up over the batches, from the inputs of one step."""

    @abc.abstractmethod
    def update(self, state: State, inputs: Any, measured: Any) -> State:
        """Return the state after the step."""

    def result(self, task: int, state: State) -> Any:
        """Return the part of the last state that is stored and returned."""
        return state


def run(problem: Problem, search: StepwiseSearch, partial_results: PartialResults) -> list[Any]:
    """Return the result of every task. Collective: every process must call this.

    Every process computes an equal part of the tasks, and all return the same results. A task's arithmetic does not
    depend on the tasks beside it, so results do not depend on the number of devices and processes. Raises InputError
    and interrupt.Terminated as `fsjax.search.run`.
    """
    runner = _Runner(problem, search, partial_results)
    own = range(search.count)[parallel.share(search.count)]
    steps, results = {}, {}
    for task in own:
        steps[task], state = runner.read(task)
        if steps[task] == search.steps:
            results[task] = state
    label, total = f"search {problem.options.method}", len(own) * search.steps
    with Progress(label, total, "steps", done=sum(steps.values())) as progress:
        throughput = Throughput(problem, progress, partial_results)
        # Tasks at the same step run together; after a restart tasks may stand at several steps.
        for step in sorted(set(steps.values()) - {search.steps}):
            tasks = [task for task in own if steps[task] == step]
            for start in range(0, len(tasks), runner.width):
                results |= runner.finish(tasks[start : start + runner.width], step, throughput)
    return runner.merge(results)


def make_steps(search: StepwiseSearch, mesh: Mesh, precision: str, *, loops: bool) -> Callable:
    """Return (params, shared, inputs, batches, count, carry) -> the carry after `count` steps of all tasks at once.

    Tasks are split over the mesh: all arguments but `params`, `shared` and `count` have a leading axis of tasks.
    `inputs` are of all steps. With `loops` it is one program for any count, so that bits do not depend on where a
    search was stopped; else `count` is 1, and each batch a call.
    """

    def measure(params: PyTree, shared: Any, carry: Carry, inputs: PyTree, batch: Any) -> Any:
        step, state = carry
        return search.measure(params, shared, state, jax.tree.map(lambda leaf: leaf[step], inputs), batch)

    def update(carry: Carry, inputs: PyTree, measured: Any) -> Carry:
        step, state = carry
        return step + 1, search.update(state, jax.tree.map(lambda leaf: leaf[step], inputs), measured)

    measures = jax.vmap(measure, in_axes=(None, None, 0, 0, 0))
    measure_all = over_devices(measures, mesh, (False, False, True, True, True), precision)
    update_all = over_devices(jax.vmap(update), mesh, (True, True, True), precision)

    def steps(params: PyTree, shared: Any, inputs: PyTree, batches: list[Any], count: AnyArray, carry: Carry) -> Carry:
        def step(_: AnyArray, carry: Carry) -> Carry:
            measured = measure_all(params, shared, carry, inputs, batches[0])
            for batch in batches[1:]:
                measured = jax.tree.map(jnp.add, measured, measure_all(params, shared, carry, inputs, batch))
            return update_all(carry, inputs, measured)

        return jax.lax.fori_loop(0, count, step, carry) if loops else step(0, carry)

    return jax.jit(steps) if loops else steps


class _Runner:
    """Compute as many tasks side by side as the devices take, and store their states."""

    def __init__(self, problem: Problem, search: StepwiseSearch, partial_results: PartialResults):
        self._search, self._partial_results, mesh = search, partial_results, parallel.mesh()
        self.width = search.tasks_per_device * mesh.size
        self._split, self._replicated = parallel.layouts(mesh)
        self._params = jax.device_put(problem.model.params, self._replicated)
        self._loops, self._steps_a_call = parallel.free_bytes() is not None, 1
        self._take = make_steps(search, mesh, problem.searched_model.matmul_precision, loops=self._loops)
        # All tasks have arrays of the same shapes.
        self._like_state = search.initial_state(0)
        self._like_result = search.result(0, self._like_state)

    def finish(self, tasks: list[int], step: int, throughput: Throughput) -> dict[int, Any]:
        """Run tasks from a step to the end and return their results; store states on the way, even after an error."""
        search, saved_step = self._search, step
        state = self._place([(np.array(step, np.int32), self.read(task)[1]) for task in tasks])
        try:
            shared = jax.device_put(search.shared(self._filled(tasks)), self._replicated)
            inputs = self._place([search.inputs(task) for task in tasks])
            batches = [self._place(list(batch)) for batch in zip(*map(search.batches, tasks), strict=True)]
            count, began = 0, 0.0  # of the call before
            while step < search.steps:
                size = min(self._steps_a_call, search.steps - step)
                previous, state = state, self._take(self._params, shared, inputs, batches, size, state)
                # At most one call ahead of the devices, since a stop waits for all queued calls.
                jax.block_until_ready(previous)
                if self._loops and count:
                    self._steps_a_call = max(1, int(count * _SECONDS_A_CALL / (time.perf_counter() - began)))
                count, began = size, time.perf_counter()
                step += count
                throughput.count(len(tasks) * count, len(tasks) * count * search.images_per_step)
                if self._partial_results.is_due():
                    self._write(tasks, step, self._fetch(state, len(tasks)))
                    saved_step = step
                interrupt.check()
        finally:
            states = self._fetch(state, len(tasks))
            if step == search.steps:
                states = [search.result(task, state) for task, state in zip(tasks, states, strict=True)]
            if step > saved_step or step == search.steps:
                self._write(tasks, step, states)
        return dict(zip(tasks, states, strict=True))

    def read(self, task: int) -> tuple[int, Any]:
        """Return the stored step of a task with its state, or its result at the last step; else its initial state."""
        arrays = self._partial_results.state(f"task{task:06d}")
        step = int(arrays.pop("step", 0))
        like = self._like_result if step == self._search.steps else self._like_state
        if not step:
            return 0, self._search.initial_state(task)
        return step, jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in _named_leaves(like)])

    def merge(self, results: dict[int, Any]) -> list[Any]:
        """Return the results of all processes, in the order of the tasks. Collective: every process must call this."""
        tasks = range(self._search.count)
        if parallel.process()[1] == 1:
            return [results[task] for task in tasks]
        unknown = jax.tree.map(lambda leaf: np.full(np.shape(leaf), np.nan), self._like_result)

        def known(like: AnyArray, *leaves: AnyArray) -> AnyArray:
            return parallel.merge(np.stack(leaves).astype(np.float64)).astype(like.dtype)

        values = jax.tree.map(known, self._like_result, *(results.get(task, unknown) for task in tasks))
        return [jax.tree.map(lambda leaf, row=row: leaf[row], values) for row in tasks]

    def _place(self, trees: list[PyTree]) -> PyTree:
        """Stack the arrays of the tasks on the devices; the last task fills free places."""
        return jax.tree.map(lambda *arrays: jax.device_put(np.stack(arrays), self._split), *self._filled(trees))

    def _filled(self, items: list[Any]) -> list[Any]:
        return items + items[-1:] * (self.width - len(items))

    def _fetch(self, stacked: Carry, count: int) -> list[PyTree]:
        state = jax.device_get(stacked[1])
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state)):
            raise InputError("search: the model returned a non-finite loss or gradient")
        return [jax.tree.map(lambda leaf, index=index: np.asarray(leaf[index]), state) for index in range(count)]

    def _write(self, tasks: list[int], step: int, states: list[PyTree]) -> None:
        for task, state in zip(tasks, states, strict=True):
            self._partial_results.set_state(f"task{task:06d}", {"step": np.array(step), **_named_leaves(state)})
        self._partial_results.save()


def _named_leaves(tree: PyTree) -> dict[str, AnyArray]:
    """Return the arrays of a tree by their names, such as `adam.mu`."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in pairs}
