"""Connectionist temporal classification: the loss of all alignments of a sequence at once.

Graves et al. 2006. The target with blanks between, before and after its labels is a chain of
states; forward and backward probabilities run along it in logarithms, for a whole batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kkori.core import errors
from kkori.ops import elementwise as el
from kkori.ops.direct import direct
from kkori.ops.loss import check_reduction
from kkori.ops.table import TORCH
from kkori.tensor import Tensor


def add_logs(first: Any, second: Any) -> Any:
    """log(exp(first) + exp(second)), -inf for both being -inf."""
    return np.logaddexp(first, second)


def shifted(values: Any, by: int) -> Any:
    """Values moved `by` states along the chain (or back), -inf coming in."""
    found = np.full_like(values, -np.inf)
    if by > 0:
        found[:, by:] = values[:, :-by]
    else:
        found[:, :by] = values[:, -by:]
    return found


class Chain:
    """The states of each target of a batch: labels at odd places, blanks at even ones."""

    def __init__(self, targets: Any, lengths: Any, blank: int) -> None:
        count, longest = targets.shape
        self.labels = np.full((count, 2 * longest + 1), blank)
        self.labels[:, 1::2] = targets
        self.lengths = 2 * lengths + 1
        places = np.arange(self.labels.shape[1])
        self.inside = places < self.lengths[:, None]
        before = np.full_like(self.labels, blank)
        before[:, 2:] = self.labels[:, :-2]
        # A label may be reached without a blank in between unless it repeats the one before.
        self.skips = (places % 2 == 1) & (places > 1) & (self.labels != before)

    def scores(self, logs: Any) -> Any:
        """Log-probabilities (T, N, C) of the states: (T, N, states)."""
        index = np.broadcast_to(self.labels, (len(logs), *self.labels.shape))
        return np.take_along_axis(logs, index, 2)


def forward_scores(scores: Any, chain: Chain) -> Any:
    """Log-probability of each prefix: (T, N, states)."""
    found = np.full_like(scores, -np.inf)
    if not len(scores):
        return found
    starts = chain.inside & (np.arange(scores.shape[2]) < 2)
    found[0] = np.where(starts, scores[0], -np.inf)
    for t in range(1, len(scores)):
        last = found[t - 1]
        here = add_logs(last, shifted(last, 1))
        here = add_logs(here, np.where(chain.skips, shifted(last, 2), -np.inf))
        found[t] = np.where(chain.inside, here + scores[t], -np.inf)
    return found


def backward_scores(scores: Any, chain: Chain, input_lengths: Any) -> Any:
    """Log-probability of each suffix, the state itself included."""
    found = np.full_like(scores, -np.inf)
    places = np.arange(scores.shape[2])
    ends = chain.inside & (places >= chain.lengths[:, None] - 2)
    skips = np.zeros_like(chain.skips)
    skips[:, :-2] = chain.skips[:, 2:]
    after = np.full(scores.shape[1:], -np.inf, scores.dtype)
    for t in range(len(scores) - 1, -1, -1):
        here = add_logs(after, shifted(after, -1))
        here = add_logs(here, np.where(skips, shifted(after, -2), -np.inf))
        here = np.where(chain.inside, here + scores[t], -np.inf)
        final = np.where(ends, scores[t], -np.inf)
        last = (input_lengths == t + 1)[:, None]
        here = np.where(last, final, np.where((input_lengths > t + 1)[:, None], here, -np.inf))
        found[t] = after = here
    return found


def likelihoods(alpha: Any, chain: Chain, input_lengths: Any) -> Any:
    """Minus the log-probability of each target."""
    rows = np.arange(alpha.shape[1])
    last = np.maximum(input_lengths - 1, 0)
    final = alpha[last, rows]
    end = chain.lengths - 1
    total = add_logs(final[rows, end], np.where(end > 0, final[rows, end - 1], -np.inf))
    nothing = np.where(chain.lengths == 1, 0.0, -np.inf)  # no input fits only an empty target
    return -np.where(input_lengths == 0, nothing, total).astype(alpha.dtype)


def ctc_array(logs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: Any) -> Any:
    chain = Chain(targets, target_lengths, blank)
    return likelihoods(forward_scores(chain.scores(logs), chain), chain, input_lengths)


def ctc_back_array(grad: Any, logs: Any, targets: Any, input_lengths: Any, target_lengths: Any,
                   blank: Any, zero_infinity: Any) -> Any:
    """What is expected less what is seen: probabilities minus shares of the alignments."""
    chain = Chain(targets, target_lengths, blank)
    scores = chain.scores(logs)
    alpha = forward_scores(scores, chain)
    loss = likelihoods(alpha, chain, input_lengths)
    share = alpha + backward_scores(scores, chain, input_lengths) - scores
    seen = np.zeros(logs.shape, logs.dtype)
    weights = np.exp(np.where(np.isneginf(share), -np.inf, share + loss[:, None]))
    rows = np.arange(logs.shape[1])[:, None]
    for t in range(len(logs)):
        np.add.at(seen[t], (rows, chain.labels), weights[t])
    found = (np.exp(logs) - seen) * grad[:, None]
    found[np.arange(len(logs))[:, None] >= input_lengths] = 0
    if zero_infinity:
        found[:, np.isinf(loss)] = 0
    return found


_ctc_back = direct("ctc_loss_backward", ctc_back_array)
_ctc = direct("ctc_loss", ctc_array, {
    "logs": lambda g, logs, targets, input_lengths, target_lengths, blank: _ctc_back(
        g, logs, targets, input_lengths, target_lengths, blank, True)})


def as_lengths(lengths: Any) -> Any:
    """Lengths given as a tensor, list or number, as an int64 array."""
    array = lengths._array if isinstance(lengths, Tensor) else np.asarray(lengths)
    return array.astype(np.int64).reshape(-1)


def rectangle(targets: Any, lengths: Any, batch: int) -> Any:
    """Targets as (N, longest), also from one row of all of them one after the other."""
    longest = int(lengths.max()) if lengths.size else 0
    if targets.ndim == 2 and targets.shape[0] == batch:
        return targets[:, :longest].astype(np.int64)
    found = np.zeros((batch, longest), np.int64)
    starts = np.cumsum(lengths) - lengths
    flat = targets.reshape(-1)
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        found[row, :length] = flat[start:start + length]
    return found


def check_ctc(logs: Any, targets: Any, input_lengths: Any, target_lengths: Any,
              blank: int) -> None:
    """PyTorch's errors for lengths and labels that do not fit."""
    time, batch, classes = logs.shape
    if targets.dtype.kind not in "iu":
        raise RuntimeError("targets must be integers")
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    if input_lengths.size != batch:
        raise RuntimeError("input_lengths must be of size batch_size")
    if target_lengths.size != batch:
        raise RuntimeError("target_lengths must be of size batch_size")
    if input_lengths.size and input_lengths.max() > time:
        row = int(np.argmax(input_lengths > time))
        raise RuntimeError(errors.message(
            f"Expected input_lengths to have value at most {time}, but got value "
            f"{input_lengths[row]} (while checking arguments for ctc_loss_cpu)"))
    if targets.ndim == 2 and target_lengths.size and target_lengths.max() > targets.shape[1]:
        raise RuntimeError(
            f"Expected tensor to have size at least {target_lengths.max()} at dimension 1, but got "
            f"size {targets.shape[1]} for argument #2 'targets' (while checking arguments for "
            "ctc_loss_cpu)")


def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any,
             blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> Tensor:
    """-log of the probability that the alignments of `targets` have under `log_probs`.

    log_probs: (T, N, C) or (T, C) logarithms; targets: (N, S), or all in one row. "mean" divides
    each loss by its target's length first. RuntimeError for lengths that do not fit.
    """
    reduction = check_reduction(reduction)
    logs = log_probs if log_probs._array.ndim == 3 else log_probs.unsqueeze(1)
    inputs, lengths = as_lengths(input_lengths), as_lengths(target_lengths)
    labels = targets._array
    check_ctc(logs._array, labels, inputs, lengths, blank)
    found = _ctc(logs, rectangle(labels, lengths, logs._array.shape[1]), inputs, lengths, blank)
    if zero_infinity:
        found = el.where(found == float("inf"), 0.0, found)
    if reduction == "mean":
        found = found / found.new_tensor(np.maximum(lengths, 1))
        return found.mean()
    if reduction == "sum":
        return found.sum()
    return found if logs is log_probs else found.squeeze(0)


def ctc_loss_torch(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any,
                   blank: int = 0, reduction: Any = 1, zero_infinity: bool = False) -> Tensor:
    """``torch.ctc_loss``: `reduction` is 0 (none), 1 (mean) or 2 (sum)."""
    return ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction,
                    zero_infinity)


TORCH["ctc_loss"] = ctc_loss_torch
