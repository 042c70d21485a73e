"""Recurrent layers and cells: RNN, LSTM and GRU."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

from kkori.core import errors
from kkori.nn import init, recurrent
from kkori.nn.module import Module
from kkori.nn.parameter import Parameter
from kkori.nn.utils.rnn import PackedSequence
from kkori.ops.create import empty, zeros
from kkori.tensor import Tensor

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
FUNCTIONS = {"LSTM": recurrent.lstm, "GRU": recurrent.gru, "RNN_TANH": recurrent.rnn_tanh,
             "RNN_RELU": recurrent.rnn_relu}
SHOWN = (("proj_size", 0), ("num_layers", 1), ("bias", True), ("batch_first", False),
         ("dropout", 0), ("bidirectional", False))  # printed where not this


class RNNBase(Module):
    """Layers of one kind of cell over a sequence, in one direction or two.

    Input is (time, batch, input_size), with `batch_first` (batch, time, input_size), without a
    batch (time, input_size), or a PackedSequence. Parameters are ``weight_ih_l0``,
    ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0`` and so on, all U(-1/√h, 1/√h).
    """

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1,
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
                 bidirectional: bool = False, proj_size: int = 0, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional = float(dropout), bidirectional
        self.proj_size = proj_size
        _check_settings(self, dropout)
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for suffix in ("", "_reverse")[:_directions(self)]:
                shapes = _shapes(self, layer)
                made = {f"{name}_l{layer}{suffix}": shape for name, shape in shapes.items()}
                for name, shape in made.items():
                    setattr(self, name, Parameter(empty(shape, device=device, dtype=dtype)))
                self._all_weights.append(list(made))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _reset_uniformly(self)

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Any]:
        return [getattr(self, name, None) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters, a list for each direction of each layer."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Nothing: there is no kernel here that wants the weights in one piece."""

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        wanted = self._flat_weights[0].dtype
        if input.dtype != wanted:
            raise ValueError(errors.message(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({wanted}). Convert "
                f"input: input.to({wanted}), or convert model: model.to({input.dtype})"))
        dims = 3 if batch_sizes is None else 2
        if input.dim() != dims:
            raise RuntimeError(errors.message(
                f"input must have {dims} dimensions, got {input.dim()}"))
        if self.input_size != input.size(-1):
            raise RuntimeError(errors.message(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {input.size(-1)}"))

    def get_expected_hidden_size(self, input: Tensor,
                                 batch_sizes: Tensor | None) -> tuple[int, ...]:
        return self._state_sizes(_batch_of(self, input, batch_sizes))[0]

    def _state_sizes(self, batch: Any) -> list[tuple[int, ...]]:
        return [(self.num_layers * _directions(self), batch, self.proj_size or self.hidden_size)]

    def check_hidden_size(self, hx: Tensor, expected_hidden_size: tuple[int, ...],
                          msg: str = "Expected hidden size {}, got {}") -> None:
        if tuple(hx.size()) != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.size())))

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        return hx if permutation is None else hx.index_select(1, permutation)

    def _check_states(self, hx: Any, batched: bool) -> None:
        dims = 3 if batched else 2
        if hx.dim() != dims:
            kind = "batched" if batched else "unbatched"
            raise RuntimeError(errors.message(
                f"For {kind} {dims}-D input, hx should also be {dims}-D but got "
                f"{hx.dim()}-D tensor"))

    def _each_state(self, states: Any, change: Any) -> Any:
        return change(states)

    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            tail = " tensor instead" if self.mode.startswith("RNN") else " instead"
            raise ValueError(errors.message(
                f"{self._kind()}: Expected input to be 2D or 3D, got "
                f"{input.dim()}D{tail}"))
        batched, batch_dim = input.dim() == 3, 0 if self.batch_first else 1
        if hx is not None:
            self._check_states(hx, batched)
        if not batched:
            input = input.unsqueeze(batch_dim)
            if hx is not None:
                hx = self._each_state(hx, lambda state: state.unsqueeze(1))
        if hx is None:
            hx = self._zero_states(input, input.size(batch_dim))
        self.check_forward_args(input, hx, None)
        output, hidden = self._run(input, None, hx)
        if not batched:
            output = output.squeeze(batch_dim)
            hidden = self._each_state(hidden, lambda state: state.squeeze(1))
        return output, hidden

    def _forward_packed(self, packed: PackedSequence, hx: Any) -> Any:
        data, batch_sizes, order, back = packed
        if hx is None:
            hx = self._zero_states(data, int(batch_sizes[0]))
        else:
            hx = self.permute_hidden(hx, order)
        self.check_forward_args(data, hx, batch_sizes)
        output, hidden = self._run(data, batch_sizes, hx)
        return PackedSequence(output, batch_sizes, order, back), self.permute_hidden(hidden, back)

    def _zero_states(self, input: Tensor, batch: int) -> Any:
        states = [zeros(size, dtype=input.dtype, device=input.device)
                  for size in self._state_sizes(batch)]
        return states[0] if len(states) == 1 else tuple(states)

    def _run(self, data: Tensor, batch_sizes: Tensor | None, hx: Any) -> tuple[Tensor, Any]:
        common = (self._flat_weights, self.bias, self.num_layers, self.dropout, self.training,
                  self.bidirectional)
        if batch_sizes is None:
            output, *last = FUNCTIONS[self.mode](data, hx, *common, self.batch_first)
        else:
            output, *last = FUNCTIONS[self.mode](data, batch_sizes, hx, *common)
        return output, last[0] if len(last) == 1 else tuple(last)

    def _kind(self) -> str:
        return self.mode.partition("_")[0]

    def extra_repr(self) -> str:
        parts = [f"{name}={getattr(self, name)}" for name, usual in SHOWN
                 if getattr(self, name) != usual]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *parts])


def _directions(module: RNNBase) -> int:
    return 2 if module.bidirectional else 1


def _batch_of(module: RNNBase, input: Tensor, batch_sizes: Tensor | None) -> int:
    if batch_sizes is not None:
        return int(batch_sizes[0])
    return input.size(0 if module.batch_first else 1)


def _shapes(module: RNNBase, layer: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of one direction of one layer, in PyTorch's order."""
    output = module.proj_size or module.hidden_size
    gates = GATES[module.mode] * module.hidden_size
    width = output * _directions(module) if layer else module.input_size
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, width),
                                          "weight_hh": (gates, output)}
    if module.bias:
        shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
    if module.proj_size:
        shapes["weight_hr"] = (module.proj_size, module.hidden_size)
    return shapes


def _check_settings(module: RNNBase, dropout: Any) -> None:
    if (not isinstance(dropout, numbers.Number) or isinstance(dropout, bool)
            or not 0 <= dropout <= 1):  # type: ignore[operator]
        raise ValueError(errors.message(
            "dropout should be a number in range [0, 1] representing the probability "
            "of an element being zeroed"))
    if dropout > 0 and module.num_layers == 1:  # type: ignore[operator]
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
            f"expects num_layers greater than 1, but got dropout={dropout} and "
            f"num_layers={module.num_layers}", stacklevel=4)
    for name, kind in (("bias", bool), ("batch_first", bool), ("input_size", int),
                       ("hidden_size", int)):
        value = getattr(module, name)
        if not isinstance(value, kind):
            raise TypeError(errors.message(
                f"{name} should be of type {kind.__name__}, got: "
                f"{type(value).__name__}"))
        if kind is int and value <= 0:
            raise ValueError(errors.message(f"{name} must be greater than zero"))
    if module.num_layers <= 0:
        raise ValueError(errors.message("num_layers must be greater than zero"))
    if module.proj_size < 0:
        raise ValueError(errors.message(
            "proj_size should be a positive integer or zero to disable projections"))
    if module.proj_size >= module.hidden_size:
        raise ValueError(errors.message("proj_size has to be smaller than hidden_size"))
    if module.mode not in GATES:
        raise ValueError(errors.message(f"Unrecognized RNN mode: {module.mode}"))


def _reset_uniformly(module: Module) -> None:
    bound = 1.0 / math.sqrt(module.hidden_size) if module.hidden_size > 0 else 0
    for weight in module.parameters():
        init.uniform_(weight, -bound, bound)


def _no_projection(options: dict[str, Any]) -> None:
    if "proj_size" in options:
        raise ValueError(errors.message(
            "proj_size argument is only supported for LSTM, not RNN or GRU"))


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (Elman 1990).

    `RNN(input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True,
    batch_first=False, dropout=0.0, bidirectional=False)`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        _no_projection(options)
        nonlinearity = args[3] if len(args) > 3 else options.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(errors.message(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or "
                "'relu'."))
        super().__init__(f"RNN_{nonlinearity.upper()}", *args[:3], *args[4:], **options)
        self.nonlinearity = nonlinearity


class GRU(RNNBase):
    """Gated recurrent units (Cho et al. 2014).

    `GRU(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
    bidirectional=False)`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        _no_projection(options)
        super().__init__("GRU", *args, **options)


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); its state is (h, c).

    `LSTM(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, proj_size=0)`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__("LSTM", *args, **options)

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, ...]:
        return self._state_sizes(_batch_of(self, input, batch_sizes))[1]

    def _state_sizes(self, batch: Any) -> list[tuple[int, ...]]:
        layers = self.num_layers * _directions(self)
        return [*super()._state_sizes(batch), (layers, batch, self.hidden_size)]

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden[0], self.get_expected_hidden_size(input, batch_sizes),
                               "Expected hidden[0] size {}, got {}")
        self.check_hidden_size(hidden[1], self.get_expected_cell_size(input, batch_sizes),
                               "Expected hidden[1] size {}, got {}")

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        if permutation is None:
            return hx
        return hx[0].index_select(1, permutation), hx[1].index_select(1, permutation)

    def _check_states(self, hx: Any, batched: bool) -> None:
        dims = 3 if batched else 2
        if hx[0].dim() != dims or hx[1].dim() != dims:
            kind = "batched" if batched else "unbatched"
            raise RuntimeError(errors.message(
                f"For {kind} {dims}-D input, hx and cx should also be {dims}-D but got "
                f"({hx[0].dim()}-D, {hx[1].dim()}-D) tensors"))

    def _each_state(self, states: Any, change: Any) -> Any:
        return change(states[0]), change(states[1])


class RNNCellBase(Module):
    """One step of a recurrent layer, as a layer."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        gates = num_chunks * hidden_size
        for name, shape in (("weight_ih", (gates, input_size)), ("weight_hh", (gates, hidden_size)),
                            ("bias_ih", (gates,)), ("bias_hh", (gates,))):
            wanted = bias or name.startswith("weight")
            made = Parameter(empty(shape, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _reset_uniformly(self)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        nonlinearity = self.__dict__.get("nonlinearity", "tanh")
        return text if nonlinearity == "tanh" else f"{text}, nonlinearity={nonlinearity}"

    def _step(self, cell: Any, input: Tensor, states: list[tuple[str, Tensor]]) -> Any:
        """`cell` on a batch; what has no batch gets one for the length of the call."""
        name = type(self).__name__
        for what, value in [("input", input), *states]:
            if value.dim() not in (1, 2):
                raise ValueError(errors.message(
                    f"{name}: Expected {what} to be 1D or 2D, got {value.dim()}D instead"))
        batched = input.dim() == 2
        if not batched:
            input = input.unsqueeze(0)
        given = [state if batched else state.unsqueeze(0) for _, state in states]
        if not given:
            given = [zeros(input.size(0), self.hidden_size, dtype=input.dtype,
                           device=input.device)] * 2
        result = cell(input, given, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return result if batched else tuple(each.squeeze(0) for each in result)


class RNNCell(RNNCellBase):
    """The next h: (batch, input_size) and (batch, hidden_size) to (batch, hidden_size)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 nonlinearity: str = "tanh", device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(errors.message(f"Unknown nonlinearity: {self.nonlinearity}"))
        relu = self.nonlinearity == "relu"
        cell = recurrent.rnn_relu_cell if relu else recurrent.rnn_tanh_cell
        return self._step(lambda x, states, *w: (cell(x, states[0], *w),), input,
                          [] if hx is None else [("hidden", hx)])[0]


class GRUCell(RNNCellBase):
    """The next h of a GRU."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(lambda x, states, *w: (recurrent.gru_cell(x, states[0], *w),), input,
                          [] if hx is None else [("hidden", hx)])[0]


class LSTMCell(RNNCellBase):
    """The next (h, c) of an LSTM."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> Any:
        states = [] if hx is None else [(f"hx[{i}]", state) for i, state in enumerate(hx)]
        return self._step(recurrent.lstm_cell, input, states)
