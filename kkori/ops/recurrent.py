"""The gates of LSTM and GRU cells: one row each, from the summed products to the next state."""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core.meta import MetaArray
from kkori.ops.elementwise import sigmoid_array
from kkori.ops.move import cat
from kkori.ops.table import op

__all__ = ["gru_gates", "lstm_gates"]


def parts_of(gates: Any, count: int) -> list[Any]:
    """The columns of each gate, as views."""
    width = gates.shape[1] // count
    return [gates[:, width * i:width * (i + 1)] for i in range(count)]


def lstm_array(part: Any, hidden_part: Any, cell: Any) -> tuple[Any, Any]:
    """(output, next cell) of the gates' sums: input, forget, candidate, output in this order."""
    gates = part + hidden_part
    if isinstance(gates, MetaArray):
        return cell + 0, cell + 0
    write, keep, candidate, show = parts_of(gates, 4)
    following = sigmoid_array(keep) * cell
    following += sigmoid_array(write) * np.tanh(candidate)
    return sigmoid_array(show) * np.tanh(following), following


def lstm_gradient(gs: Any, part: Any, hidden_part: Any, cell: Any,
                  following: Any) -> tuple[Any, ...]:
    """Gradients of the two sums (they are equal) and of the cell."""
    g_output, g_following = gs
    write, keep, candidate, show = (part + hidden_part).chunk(4, 1)
    write, keep, candidate = write.sigmoid(), keep.sigmoid(), candidate.tanh()
    total, last = g_following, None
    if g_output is not None:
        show, squashed = show.sigmoid(), following.tanh()
        last = g_output * squashed * show * (1 - show)
        inner = g_output * show * (1 - squashed * squashed)
        total = inner if total is None else total + inner
    gates = [total * candidate * write * (1 - write), total * cell * keep * (1 - keep),
             total * write * (1 - candidate * candidate)]
    gates.append(gates[0] * 0 if last is None else last)
    found = cat(gates, 1)
    return found, found, total * keep


lstm_gates = op("lstm_gates", lstm_array, {("part", "hidden_part", "cell"): lstm_gradient},
                outputs=("output", "following"))


def gru_array(part: Any, hidden_part: Any, hidden: Any) -> Any:
    """The next state of the gates' sums: reset, update, new in this order."""
    if isinstance(part, MetaArray):
        return hidden + 0
    reset_in, update_in, new_in = parts_of(part, 3)
    reset_h, update_h, new_h = parts_of(hidden_part, 3)
    update = sigmoid_array(update_in + update_h)
    new = np.tanh(new_in + sigmoid_array(reset_in + reset_h) * new_h)
    return (hidden - new) * update + new


def gru_gradient(g: Any, part: Any, hidden_part: Any, hidden: Any) -> tuple[Any, ...]:
    """Gradients of the input's sums, of the state's sums, and of the state."""
    _, _, new_in = part.chunk(3, 1)
    _, _, new_h = hidden_part.chunk(3, 1)
    reset, update, _ = (part + hidden_part).sigmoid().chunk(3, 1)
    new = (new_in + reset * new_h).tanh()
    g_hidden = g * update
    g_new = (g - g_hidden) * (1 - new * new)
    g_update = g * (hidden - new) * update * (1 - update)
    g_reset = g_new * new_h * reset * (1 - reset)
    return (cat([g_reset, g_update, g_new], 1), cat([g_reset, g_update, g_new * reset], 1),
            g_hidden)


gru_gates = op("gru_gates", gru_array, {("part", "hidden_part", "hidden"): gru_gradient})
