"""The mathematics of recurrent layers, in our own operations: one step, one direction, all layers.

A cell takes (what the input contributes to the gates, the state) to the next state; a state is a
tuple whose first tensor is the output. A layer first multiplies the whole sequence by the input
weights, as one product, and then steps through time. Sequences are lists of (batch, features)
slices, whose batch may shrink from step to step (packed sequences), so one loop serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kkori.core import errors
from kkori.nn import functional as F
from kkori.ops.move import cat, stack
from kkori.ops.recurrent import gru_gates, lstm_gates
from kkori.tensor import Tensor

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh",
           "rnn_tanh_cell"]

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, "Weights"], State]


class Weights:
    """The parameters of one direction of one layer, in PyTorch's order."""

    __slots__ = ("input", "hidden", "input_bias", "hidden_bias", "projection")

    def __init__(self, parameters: Sequence[Any], biased: bool, projected: bool = False) -> None:
        self.input, self.hidden = parameters[0], parameters[1]
        self.input_bias: Any = parameters[2] if biased else None
        self.hidden_bias: Any = parameters[3] if biased else None
        self.projection = parameters[-1] if projected else None


# One step: (input's part of the gates, state, weights) -> next state


def _tanh_step(part: Tensor, state: State, weights: Weights) -> State:
    return (part + F.linear(state[0], weights.hidden, weights.hidden_bias)).tanh(),


def _relu_step(part: Tensor, state: State, weights: Weights) -> State:
    return (part + F.linear(state[0], weights.hidden, weights.hidden_bias)).relu(),


def _lstm_step(part: Tensor, state: State, weights: Weights) -> State:
    hidden, cell = state
    hidden_part = F.linear(hidden, weights.hidden, weights.hidden_bias)
    output, cell = lstm_gates(part, hidden_part, cell)
    if weights.projection is not None:
        output = F.linear(output, weights.projection)
    return output, cell


def _gru_step(part: Tensor, state: State, weights: Weights) -> State:
    hidden = state[0]
    return gru_gates(part, F.linear(hidden, weights.hidden, weights.hidden_bias), hidden),


# Cells, as `torch.lstm_cell` and its like


def _cell(step: Step, input: Tensor, state: State, parameters: Sequence[Any]) -> State:
    weights = Weights(parameters, biased=True)
    _check_cell(input, state, weights)
    return step(F.linear(input, weights.input, weights.input_bias), state, weights)


def _check_cell(input: Tensor, state: State, weights: Weights) -> None:
    wanted, size = weights.input.shape[1], weights.hidden.shape[1]
    if input.shape[1] != wanted:
        raise RuntimeError(errors.message(
            f"input has inconsistent input_size: got {input.shape[1]} expected {wanted}",
            what=f"input has shape {errors.of_shape(input.shape)}"))
    for number, hidden in enumerate(state):
        shape = f"hidden{number} has shape {errors.of_shape(hidden.shape)}"
        if hidden.shape[0] != input.shape[0]:
            raise RuntimeError(errors.message(
                f"Input batch size {input.shape[0]} doesn't match hidden{number} batch size "
                f"{hidden.shape[0]}", what=shape))
        if hidden.shape[1] != size:
            raise RuntimeError(errors.message(
                f"hidden{number} has inconsistent hidden_size: got {hidden.shape[1]}, expected "
                f"{size}", what=shape))


def rnn_tanh_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor,
                  b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> Tensor:
    """tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    return _cell(_tanh_step, input, (hx,), (w_ih, w_hh, b_ih, b_hh))[0]


def rnn_relu_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor,
                  b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> Tensor:
    """relu(W_ih x + b_ih + W_hh h + b_hh)."""
    return _cell(_relu_step, input, (hx,), (w_ih, w_hh, b_ih, b_hh))[0]


def lstm_cell(input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor,
              b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> State:
    """The next (h, c) (Hochreiter and Schmidhuber 1997)."""
    if len(hx) != 2:
        raise RuntimeError("lstm_cell expects two hidden states")
    return _cell(_lstm_step, input, tuple(hx), (w_ih, w_hh, b_ih, b_hh))


def gru_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor,
             b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> Tensor:
    """The next h (Cho et al. 2014)."""
    return _cell(_gru_step, input, (hx,), (w_ih, w_hh, b_ih, b_hh))[0]


# Sequences


def _forwards(step: Step, parts: Sequence[Tensor], state: State,
              weights: Weights) -> tuple[list[Tensor], State]:
    """Through time; sequences that end are cut off the end of the batch, shortest first."""
    outputs, finished = [], []
    for part in parts:
        batch = part.shape[0]
        if batch < state[0].shape[0]:
            finished.append(tuple(each[batch:] for each in state))
            state = tuple(each[:batch] for each in state)
        state = step(part, state, weights)
        outputs.append(state[0])
    if finished:
        columns = zip(*[state, *reversed(finished)], strict=True)
        state = tuple(cat(column) for column in columns)
    return outputs, state


def _backwards(step: Step, parts: Sequence[Tensor], initial: State,
               weights: Weights) -> tuple[list[Tensor], State]:
    """Back through time; sequences join the batch where they end, with their own first state."""
    outputs = []
    state = tuple(each[:0] for each in initial)
    for part in reversed(parts):
        before, batch = state[0].shape[0], part.shape[0]
        if before == 0:
            state = tuple(each[:batch] for each in initial)
        elif before < batch:
            state = tuple(cat([each, first[before:batch]])
                          for each, first in zip(state, initial, strict=True))
        state = step(part, state, weights)
        outputs.append(state[0])
    return outputs[::-1], state


def _split(data: Tensor, sizes: Sequence[int] | None) -> Sequence[Tensor]:
    return data.unbind(0) if sizes is None else data.split(list(sizes), 0)


def _join(slices: Sequence[Tensor], sizes: Sequence[int] | None) -> Tensor:
    return stack(slices) if sizes is None else cat(slices)


def _layers(step: Step, data: Tensor, sizes: Sequence[int] | None, initial: State,
            parameters: Sequence[Any], has_biases: bool, num_layers: int, dropout: float,
            train: bool, bidirectional: bool) -> tuple[Tensor, ...]:
    """(output, last states) of all layers; `data` is (time, batch, features), or packed."""
    directions = (_forwards, _backwards) if bidirectional else (_forwards,)
    each = len(parameters) // (num_layers * len(directions))
    projected = each == (5 if has_biases else 3)
    last: list[State] = []
    for layer in range(num_layers):
        results = []
        for run in directions:
            number = len(last)
            weights = Weights(parameters[number * each:(number + 1) * each], has_biases, projected)
            parts = _split(F.linear(data, weights.input, weights.input_bias), sizes)
            state = tuple(tensor[number] for tensor in initial)
            outputs, state = run(step, parts, state, weights)
            results.append(_join(outputs, sizes))
            last.append(state)
        data = results[0] if len(results) == 1 else cat(results, -1)
        if dropout and train and layer < num_layers - 1:
            data = F.dropout(data, dropout, True)
    return data, *[stack(column) for column in zip(*last, strict=True)]


def _recurrent(step: Step, args: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Either of PyTorch's two argument lists: a padded batch, or a packed sequence."""
    if isinstance(args[2], (bool, int)) or not isinstance(args[3], bool):
        return _packed(step, *args)
    return _padded(step, *args)


def _padded(step: Step, input: Tensor, hx: Any, params: Sequence[Any], has_biases: bool,
            num_layers: int, dropout: float, train: bool, bidirectional: bool,
            batch_first: bool) -> tuple[Tensor, ...]:
    data = input.transpose(0, 1) if batch_first else input
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    output, *last = _layers(step, data, None, states, params, has_biases, num_layers, dropout,
                            train, bidirectional)
    return output.transpose(0, 1) if batch_first else output, *last


def _packed(step: Step, data: Tensor, batch_sizes: Tensor, hx: Any, params: Sequence[Any],
            has_biases: bool, num_layers: int, dropout: float, train: bool,
            bidirectional: bool) -> tuple[Tensor, ...]:
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    return _layers(step, data, batch_sizes.tolist(), states, params, has_biases, num_layers,
                   dropout, train, bidirectional)


def rnn_tanh(*args: Any) -> tuple[Tensor, ...]:
    """``torch.rnn_tanh``: (output, h_n) of an Elman network with tanh."""
    return _recurrent(_tanh_step, args)


def rnn_relu(*args: Any) -> tuple[Tensor, ...]:
    """``torch.rnn_relu``: (output, h_n) of an Elman network with relu."""
    return _recurrent(_relu_step, args)


def lstm(*args: Any) -> tuple[Tensor, ...]:
    """``torch.lstm``: (output, h_n, c_n)."""
    return _recurrent(_lstm_step, args)


def gru(*args: Any) -> tuple[Tensor, ...]:
    """``torch.gru``: (output, h_n)."""
    return _recurrent(_gru_step, args)
