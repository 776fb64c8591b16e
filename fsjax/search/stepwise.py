"""Searches that go step by step: chains that know nothing of each other, run side by side and kept as they go."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from fsjax.engine.tile import at_precision
from fsjax.runtime import files, interrupt, parallel
from fsjax.runtime.errors import InputError
from fsjax.runtime.partial_results import PartialResults
from fsjax.runtime.progress import Progress
from fsjax.runtime.storage import Path
from fsjax.search.problem import Problem

# A state is what a chain's steps pass on: arrays by name.
State = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Chains:
    """Chains of one search, all of one length and with arrays of the same shapes.

    A step measures something on one piece of images after another, adds it up, and moves the state by it. The pieces
    are separate calls: a loop in one compiled program would be many times slower on a CPU, whose convolutions are not
    threaded inside of loops.

    Attributes:
      count: how many there are.
      steps: of each.
      start: chain -> its state before the first step.
      about: (chain, step) -> what measure and move are told of this step.
      pieces: (chain, step) -> the step's pieces, arrays of the same shapes each.
      fixed: whether the pieces are the same in every step; they then stay on the device.
      measure: (params, about, state, piece) -> measured, of one chain, by JAX; summed over the pieces.
      move: (about, state, measured) -> state, of one chain, by JAX.
      result: (chain, last state) -> what is kept of it; smaller, where there are many chains.
      images: forward passes, or what costs as much, of one step of one chain; for the rate that is shown.
      lanes: chains that a device computes at once.
    """

    count: int
    steps: int
    start: Callable[[int], State]
    about: Callable[[int, int], PyTree]
    pieces: Callable[[int, int], list[PyTree]]
    fixed: bool
    measure: Callable[[PyTree, PyTree, PyTree, PyTree], PyTree]
    move: Callable[[PyTree, PyTree, PyTree], PyTree]
    images: int
    lanes: int = 1
    result: Callable[[int, State], State] = lambda chain, state: state


def run(
    problem: Problem,
    make: Callable[[dict[str, int]], Chains],
    *,
    layout: dict[str, int],
    directory: Path | None,
    label: str,
) -> list[State]:
    """The result of every chain.

    Every process takes an equal part of the chains and all return the same results. A chain is computed by itself,
    whatever runs beside it, so its result does not depend on how many devices and processes there are.

    Args:
      problem: the classifier, and how its matrix products are computed.
      make: layout -> what to compute.
      layout: numbers that the arithmetic rests on, such as the size of a tile, for a search that starts here; one that
        goes on keeps its own.
      directory: where states are kept; None = nowhere.
      label: names the progress bar.

    Raises:
      InputError: kept states of another search or model, or a state that is not finite.
      interrupt.Terminated: SIGTERM came; what is computed is kept.
    """
    partials = PartialResults(directory, layout, problem.model.params, problem.identity)
    chains = make(partials.layout)
    mine = range(chains.count)[parallel.share(chains.count)]
    results, steps = {}, {}
    for chain in mine:
        steps[chain], state = _kept(partials.directory, chain, chains)
        if steps[chain] == chains.steps:
            results[chain] = state
    done = sum(steps.values())
    runner = _Runner(problem, chains)
    with Progress(label, len(mine) * chains.steps, "steps", done=done) as progress:
        keeper = _Keeper(problem, chains, partials.directory, progress)
        # Chains that stand at the same step go together; after a restart there may be several such steps.
        unfinished = sorted((step, chain) for chain, step in steps.items() if step < chains.steps)
        for step, members in itertools.groupby(unfinished, key=lambda pair: pair[0]):
            for group in _batched([chain for _, chain in members], runner.width):
                results.update(_run_group(runner, group, step, keeper))
    return _gathered(chains, results)


def _run_group(runner: "_Runner", group: list[int], step: int, keeper: "_Keeper") -> dict[int, State]:
    """The results of these chains, from a step on; whatever ends it, what is computed is kept."""
    now = runner.place([_kept(keeper.directory, chain, runner.chains)[1] for chain in group])
    pieces = None
    saved = step
    try:
        while step < runner.chains.steps:
            if pieces is None or not runner.chains.fixed:
                of_chains = [runner.chains.pieces(chain, step) for chain in group]
                pieces = [runner.place(list(parts)) for parts in zip(*of_chains, strict=True)]
            about = runner.place([runner.chains.about(chain, step) for chain in group])
            before, now = now, runner.step(about, now, pieces)
            # One step ahead of the devices and no more: their queue would hold the inputs of all of them.
            jax.block_until_ready(before)
            step += 1
            keeper.count(len(group))
            if keeper.is_due():
                keeper.keep(group, step, runner.fetch(now, len(group)))
                saved = step
            interrupt.check()
    finally:
        fetched = runner.fetch(now, len(group))
        if step == runner.chains.steps:
            fetched = [runner.chains.result(*pair) for pair in zip(group, fetched, strict=True)]
        if step > saved or step == runner.chains.steps:
            keeper.keep(group, step, fetched)
    return dict(zip(group, fetched, strict=True))


class _Runner:
    """The jitted step of as many chains as run side by side."""

    def __init__(self, problem: Problem, chains: Chains):
        self.chains, self._mesh = chains, parallel.mesh()
        self.width = chains.lanes * self._mesh.size
        self._split = NamedSharding(self._mesh, P(parallel.AXIS))
        self._params = jax.device_put(problem.model.params, NamedSharding(self._mesh, P()))
        precision = problem.searched_model.matmul_precision
        self._measure = self._side_by_side(chains.measure, precision, shared=1, split=3)
        self._move = self._side_by_side(chains.move, precision, shared=0, split=3)
        self._add = jax.jit(lambda one, other: jax.tree.map(jnp.add, one, other))

    def _side_by_side(self, function: Callable, precision: str, *, shared: int, split: int) -> Callable:
        """A function of one chain, made one of all that run at once: each device has its own, so nothing passes."""
        axis = P(parallel.AXIS)
        sharded = jax.shard_map(
            jax.vmap(function, in_axes=(None,) * shared + (0,) * split),
            mesh=self._mesh,
            in_specs=(P(),) * shared + (axis,) * split,
            out_specs=axis,
            check_vma=False,
        )
        return jax.jit(at_precision(precision, sharded))

    def step(self, about: PyTree, state: PyTree, pieces: list[PyTree]) -> PyTree:
        measured = None
        for piece in pieces:
            found = self._measure(self._params, about, state, piece)
            measured = found if measured is None else self._add(measured, found)
        return self._move(about, state, measured)

    def place(self, parts: list[PyTree]) -> PyTree:
        """One chain's arrays behind another's, on the devices; the last chain fills the places that are free."""
        parts = parts + parts[-1:] * (self.width - len(parts))
        return jax.tree.map(lambda *arrays: jax.device_put(np.stack(arrays), self._split), *parts)

    def fetch(self, states: PyTree, count: int) -> list[State]:
        fetched = jax.device_get(states)
        for name, array in fetched.items():
            if not np.isfinite(array).all():
                raise InputError(f"search: {name} is not finite; expected a model whose loss is")
        return [{name: np.asarray(array[index]) for name, array in fetched.items()} for index in range(count)]


@dataclasses.dataclass
class _Keeper:
    """Writes states and rates every config.run.save_seconds."""

    problem: Problem
    chains: Chains
    directory: Path | None
    progress: Progress
    steps: int = 0
    saved: float = dataclasses.field(default_factory=lambda: time.monotonic())

    def count(self, chains: int) -> None:
        self.steps += chains
        self.progress.update(chains, f"{self.steps * self.chains.images / self.progress.seconds:,.0f} images/s")

    def is_due(self) -> bool:
        return time.monotonic() - self.saved >= self.problem.run.save_seconds

    def keep(self, group: list[int], step: int, states: list[State]) -> None:
        if self.directory is not None:
            for chain, state in zip(group, states, strict=True):
                files.write_npz(_file(self.directory, chain), steps=np.array(step), **state)
        self.saved = time.monotonic()
        if self.problem.metrics and self.steps:
            rates = {"images_per_second": self.steps * self.chains.images / self.progress.seconds}
            rates |= {"steps_per_second": self.progress.rate, "eta_seconds": self.progress.eta}
            self.problem.metrics.write("search", self.progress.count, rates)


def _kept(directory: Path | None, chain: int, chains: Chains) -> tuple[int, State]:
    """The steps that a chain has taken and its state: what is kept, or where it starts if that is damaged."""
    start = chains.start(chain)
    if directory is not None:
        try:
            found = files.read_npz(_file(directory, chain))
        except (FileNotFoundError, InputError):
            found = {}
        steps = int(found.pop("steps", 0))
        like = chains.result(chain, start) if steps == chains.steps else start
        if found.keys() == like.keys() and all(found[name].shape == np.shape(like[name]) for name in like):
            return steps, found
    return 0, start


def _file(directory: Path, chain: int) -> Path:
    return directory / f"chain{chain:06d}.npz"


def _batched(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _gathered(chains: Chains, results: dict[int, State]) -> list[State]:
    """The results of all processes, in order: a chain's arrays travel as one row of numbers."""
    if parallel.process()[1] == 1:
        return [results[chain] for chain in range(chains.count)]
    like = {name: np.asarray(array) for name, array in chains.result(0, chains.start(0)).items()}
    width = sum(array.size for array in like.values())
    cuts = np.cumsum([array.size for array in like.values()])[:-1]
    gathered = []
    for chain in range(chains.count):
        row = np.full((1, width), np.nan)
        if chain in results:
            row[0] = np.concatenate([np.ravel(results[chain][name]).astype(np.float64) for name in like])
        parts = zip(like.items(), np.split(parallel.merge(row)[0], cuts), strict=True)
        gathered.append({name: part.reshape(array.shape).astype(array.dtype) for (name, array), part in parts})
    return gathered
