"""Recurrent layers as loops of `lax.scan`, so that long sequences compile as fast as short ones."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from fsjax.models.pytorch.operators import OPERATORS

State = tuple[Array, ...]


def _recurrent(cell: Callable[..., State]) -> Callable:
    """Return the operator of a cell (W x + b of inputs, W h + b, state) -> state, which begins with the output h."""

    def layers(
        x: Array,
        start: Array | list[Array],
        params: list[Array],
        has_biases: bool,
        num_layers: int,
        _dropout: float,
        _train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Array, ...]:
        starts = start if isinstance(start, list) else [start]
        directions = 1 + bidirectional
        each = len(params) // (num_layers * directions)
        sequence, ends = jnp.swapaxes(x, 0, 1) if batch_first else x, []
        for layer in range(num_layers):
            outputs = []
            for direction in range(directions):
                number = layer * directions + direction
                of_inputs, of_state, *others = params[number * each : (number + 1) * each]
                inputs, bias = sequence @ of_inputs.T, jnp.zeros(())
                if has_biases:
                    inputs, bias, *others = inputs + others[0], *others[1:]
                step = functools.partial(_step, cell, of_state, bias, others)
                end, output = lax.scan(step, tuple(array[number] for array in starts), inputs, reverse=direction == 1)
                ends.append(end)
                outputs.append(output)
            sequence = jnp.concatenate(outputs, -1)
        output = jnp.swapaxes(sequence, 0, 1) if batch_first else sequence
        return (output, *map(jnp.stack, zip(*ends, strict=True)))

    return layers


def _step(
    cell: Callable[..., State], weights: Array, bias: Array, others: list[Array], state: State, inputs: Array
) -> tuple[State, Array]:
    state = cell(inputs, state[0] @ weights.T + bias, state, *others)
    return state, state[0]


def _lstm(inputs: Array, hidden: Array, state: State, project: Array | None = None) -> State:
    input_gate, forget_gate, new, output_gate = jnp.split(inputs + hidden, 4, -1)
    memory = jax.nn.sigmoid(forget_gate) * state[1] + jax.nn.sigmoid(input_gate) * jnp.tanh(new)
    output = jax.nn.sigmoid(output_gate) * jnp.tanh(memory)
    return output if project is None else output @ project.T, memory


def _gru(inputs: Array, hidden: Array, state: State) -> State:
    (reset, update, new), (hidden_reset, hidden_update, hidden_new) = (jnp.split(x, 3, -1) for x in (inputs, hidden))
    update = jax.nn.sigmoid(update + hidden_update)
    return ((1 - update) * jnp.tanh(new + jax.nn.sigmoid(reset + hidden_reset) * hidden_new) + update * state[0],)


OPERATORS.update(
    lstm=_recurrent(_lstm),
    gru=_recurrent(_gru),
    rnn_tanh=_recurrent(lambda inputs, hidden, state: (jnp.tanh(inputs + hidden),)),
    rnn_relu=_recurrent(lambda inputs, hidden, state: (jax.nn.relu(inputs + hidden),)),
)
