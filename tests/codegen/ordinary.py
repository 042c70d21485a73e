"""Ordinary programs, and the calls of rows that they make: what the tests of loop rules run on.

`programs()` are losses of small nets and functions, each of one idea; `calls_of(loss)` runs one
forward and backward, as a round in a hot loop does, and gives every call of a row on the way.
Its numbers are the same whenever it runs, and whatever ran before.
"""

from __future__ import annotations

import warnings

import numpy as np

import kkori as torch
from kkori import nn
from kkori.autograd.mode import switch
from kkori.nn import functional as F
from kkori.run.tape import Tape


class Calls(Tape):
    """A tape that runs every call of a row, and notes it."""

    def __init__(self):
        super().__init__()
        self.recording = True
        self.found = []  # (row, arguments as arrays and plain values, results as arrays)

    def unmatched(self, call, row, args):
        switch.tape = None
        try:
            results = call(*args)
        finally:
            switch.tape = self
        if results is not NotImplemented:
            several = results if isinstance(results, tuple) else (results,)
            self.found.append((row.name, tuple(map(plain, args)),
                               tuple(one._array for one in several)))
        return results

    def backward(self, run, *args):
        """The walk back, call by call."""
        self.inside = self
        try:
            run(*args)
        finally:
            self.inside = None

    def in_place(self, written=None):
        """Writes in place are nobody's concern here."""

    def gradient(self, leaf, value, fresh):
        """Nor are gradients that arrive."""

    flush = in_place


def plain(value):
    """A tensor's array; sequences of tensors likewise; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value._array
    if value.__class__ in (list, tuple) and any(isinstance(one, torch.Tensor) for one in value):
        return [plain(one) for one in value]
    return value


def begin(seed=0):
    """All numbers from here on are those of a seed."""
    global random
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)


def calls_of(loss):
    """Every call of a row in ``loss()`` and in its backward()."""
    begin()
    tape, before = Calls(), switch.tape
    switch.tape = tape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = loss()
        found = found if isinstance(found, (tuple, list)) else (found,)
        total = None
        for part in found:
            if isinstance(part, torch.Tensor) and part.requires_grad:
                ramp = torch.linspace(0.5, 1.5, part.numel()).reshape(part.shape)
                part = part if not part.dim() else (part * part * ramp.to(part.dtype)).sum()
                total = part if total is None else total + part
        if total is not None:
            total.backward()
    finally:
        switch.tape = before
    return tape.found


def x(*shape, low=-2.0, high=2.0, grad=True):
    """Numbers between two bounds, followed by gradients."""
    array = random.uniform(low, high, shape).astype(np.float32)
    return torch.from_numpy(array).requires_grad_(grad)


def unit(*shape):
    return x(*shape, low=0.05, high=0.95)


def target(*shape):
    return unit(*shape).detach()


def sides(*shape):
    """1 or -1."""
    return torch.from_numpy(np.sign(random.uniform(-1, 1, shape)).astype(np.float32))


def classes(count, *shape):
    return torch.from_numpy(random.integers(0, count, shape))


def some_of_class(number, count, size):
    """Classes, every third of them the same."""
    found = classes(count, size)
    found[::3] = number
    return found


ACTIVATIONS = {
    "relu": nn.ReLU(), "relu6": nn.ReLU6(), "elu": nn.ELU(0.7), "elu as usual": nn.ELU(),
    "selu": nn.SELU(),
    "celu": nn.CELU(), "celu with alpha": nn.CELU(0.6), "gelu": nn.GELU(),
    "gelu by tanh": nn.GELU(approximate="tanh"), "silu": nn.SiLU(), "mish": nn.Mish(),
    "leaky_relu": nn.LeakyReLU(0.2), "steep leaky_relu": nn.LeakyReLU(1.5),
    "prelu": nn.PReLU(), "hardtanh": nn.Hardtanh(-1.5, 0.5),
    "hardswish": nn.Hardswish(), "hardsigmoid": nn.Hardsigmoid(), "logsigmoid": nn.LogSigmoid(),
    "softplus": nn.Softplus(), "softplus with beta": nn.Softplus(2.0, 10.0),
    "softsign": nn.Softsign(), "tanh": nn.Tanh(), "tanhshrink": nn.Tanhshrink(),
    "sigmoid": nn.Sigmoid(), "hardshrink": nn.Hardshrink(), "softshrink": nn.Softshrink(),
    "threshold": nn.Threshold(0.1, 7.0), "softmax": nn.Softmax(1), "log_softmax": nn.LogSoftmax(1),
    "softmin": nn.Softmin(1), "glu": nn.GLU(0), "dropout in eval mode": nn.Dropout(0.5).eval(),
    "channel prelu": nn.PReLU(37), "rrelu in eval mode": nn.RReLU().eval(),
    "identity": nn.Identity(), "flatten": nn.Flatten()}

LOSSES = {
    "l1": (nn.L1Loss, "two"), "mse": (nn.MSELoss, "two"), "smooth_l1": (nn.SmoothL1Loss, "two"),
    "huber": (nn.HuberLoss, "two"), "bce": (nn.BCELoss, "unit"),
    "bce_with_logits": (nn.BCEWithLogitsLoss, "two"), "soft_margin": (nn.SoftMarginLoss, "sides"),
    "hinge": (nn.HingeEmbeddingLoss, "sides"), "kl_div": (nn.KLDivLoss, "two"),
    "poisson": (nn.PoissonNLLLoss, "two"), "cross_entropy": (nn.CrossEntropyLoss, "classes"),
    "nll": (nn.NLLLoss, "classes"), "multi_margin": (nn.MultiMarginLoss, "classes"),
    "multilabel_soft_margin": (nn.MultiLabelSoftMarginLoss, "two"),
    "cosine": (nn.CosineEmbeddingLoss, "pairs"), "margin_ranking": (nn.MarginRankingLoss, "pair"),
    "triplet": (nn.TripletMarginLoss, "triplet"), "gaussian": (nn.GaussianNLLLoss, "gaussian")}


def arguments(kind):
    """What a loss is given."""
    if kind in ("two", "sides", "classes"):
        truth = {"two": target, "sides": sides, "classes": None}[kind]
        return [x(6, 19), truth(6, 19) if truth else classes(19, 6)]
    if kind == "unit":
        return [unit(6, 19), target(6, 19)]
    if kind == "gaussian":
        return [x(6, 19), target(6, 19), unit(6, 19)]
    if kind == "pair":
        return [x(19), x(19), sides(19)]
    return [x(6, 19), x(6, 19), sides(6) if kind == "pairs" else x(6, 19)]


def losses():
    for name, (kind, given) in LOSSES.items():
        for reduction in ("mean", "sum", "none"):
            yield f"{name} {reduction}", lambda kind=kind, given=given, reduction=reduction: kind(
                reduction=reduction)(*arguments(given))
    yield "cross_entropy smoothed", lambda: F.cross_entropy(
        x(6, 19), classes(19, 6), label_smoothing=0.1)
    yield "cross_entropy weighted", lambda: F.cross_entropy(
        x(6, 19), some_of_class(3, 19, 6), weight=target(19), ignore_index=3)
    yield "cross_entropy of padded classes", lambda: F.cross_entropy(
        x(6, 19), some_of_class(-100, 19, 6))
    yield "cross_entropy of padding", lambda: F.cross_entropy(
        x(6, 19), torch.full((6,), 3), ignore_index=3)
    yield "cross_entropy of places", lambda: F.cross_entropy(x(6, 5, 7), classes(5, 6, 7))
    yield "cross_entropy of shares", lambda: F.cross_entropy(x(6, 19), target(6, 19).softmax(1))
    yield "nll of one", lambda: F.nll_loss(x(19), classes(19))
    yield "nll weighted", lambda: F.nll_loss(x(6, 19), classes(19, 6), weight=target(19))
    yield "nll2d", lambda: F.nll_loss(x(2, 5, 3, 4), classes(5, 2, 3, 4))
    yield "bce weighted", lambda: F.binary_cross_entropy(unit(6, 19), target(6, 19), target(19))
    yield "bce positive", lambda: F.binary_cross_entropy_with_logits(
        x(6, 19), target(6, 19), pos_weight=target(19))
    yield "bce logits weighted", lambda: F.binary_cross_entropy_with_logits(
        x(6, 19), target(6, 19), target(6, 19), reduction="none")
    yield "attention", lambda: F.scaled_dot_product_attention(
        x(2, 5, 7), x(2, 6, 7), target(2, 6, 3))
    yield "causal attention", lambda: F.scaled_dot_product_attention(
        x(2, 5, 7), x(2, 5, 7), target(2, 5, 3), is_causal=True)
    yield "huber with delta", lambda: F.huber_loss(x(6, 19), target(6, 19), delta=0.3)
    yield "smooth_l1 with beta", lambda: F.smooth_l1_loss(x(6, 19), target(6, 19), beta=0.3)


def layers():
    """Nets of one kind of layer."""
    yield "linear", lambda: nn.Linear(7, 19)(x(6, 7))
    yield "linear of a batch", lambda: nn.Linear(7, 19)(x(2, 6, 7))
    yield "linear without bias", lambda: nn.Linear(7, 19, bias=False)(x(6, 7))
    yield "bilinear", lambda: nn.Bilinear(3, 4, 5)(x(6, 3), x(6, 4))
    yield "layer_norm", lambda: nn.LayerNorm(19)(x(6, 19))
    yield "layer_norm of planes", lambda: nn.LayerNorm((5, 7))(x(6, 5, 7))
    yield "layer_norm plain", lambda: nn.LayerNorm(19, elementwise_affine=False)(x(6, 19))
    yield "rms_norm", lambda: nn.RMSNorm(19)(x(6, 19))
    yield "batch_norm", lambda: nn.BatchNorm1d(19)(x(6, 19))
    yield "batch_norm of places", lambda: nn.BatchNorm1d(5)(x(6, 5, 7))
    yield "batch_norm2d", lambda: nn.BatchNorm2d(3)(x(2, 3, 5, 7))
    yield "batch_norm plain", lambda: nn.BatchNorm1d(19, affine=False)(x(6, 19))
    yield "batch_norm in eval mode", lambda: nn.BatchNorm2d(3).eval()(x(2, 3, 5, 7))
    yield "batch_norm1d in eval mode", lambda: nn.BatchNorm1d(19).eval()(x(6, 19))
    yield "batch_norm in eval mode, plain", lambda: nn.BatchNorm1d(19, affine=False).eval()(
        x(6, 19))
    yield "group_norm", lambda: nn.GroupNorm(2, 6)(x(3, 6, 7))
    yield "instance_norm", lambda: nn.InstanceNorm2d(3, affine=True)(x(2, 3, 5, 7))
    yield "local_response_norm", lambda: nn.LocalResponseNorm(2)(x(2, 3, 5))
    yield "embedding", lambda: nn.Embedding(9, 19)(classes(9, 6))
    yield "embedding with padding", lambda: nn.Embedding(9, 19, padding_idx=0)(classes(9, 6))
    yield "conv1d", lambda: nn.Conv1d(3, 4, 3, padding=1)(x(2, 3, 11))
    yield "conv2d", lambda: nn.Conv2d(3, 4, 3, padding=1)(x(2, 3, 7, 5))
    yield "conv_transpose2d", lambda: nn.ConvTranspose2d(3, 4, 3, 2)(x(2, 3, 4, 5))
    yield "max_pool1d", lambda: nn.MaxPool1d(2)(x(2, 3, 8))
    yield "max_pool2d", lambda: nn.MaxPool2d(2)(x(2, 3, 8, 6))
    yield "avg_pool1d", lambda: nn.AvgPool1d(2)(x(2, 3, 8))
    yield "avg_pool2d", lambda: nn.AvgPool2d(2)(x(2, 3, 8, 6))
    yield "pools in space", lambda: (nn.MaxPool3d(2)(x(1, 2, 4, 6, 4)),
                                     nn.AvgPool3d(2)(x(1, 2, 4, 6, 4)))
    yield "max_pool2d that overlaps", lambda: nn.MaxPool2d(3, 2, 1)(x(2, 3, 8, 7))
    yield "pools without gradients", lambda: (nn.MaxPool2d(2)(x(2, 3, 8, 7, grad=False)),
                                              nn.MaxPool1d(2)(x(2, 3, 9, grad=False)))
    yield "adaptive_avg_pool2d", lambda: nn.AdaptiveAvgPool2d(1)(x(2, 3, 8, 6))
    yield "adaptive_avg_pool1d", lambda: nn.AdaptiveAvgPool1d(4)(x(2, 3, 8))
    yield "adaptive_max_pool2d", lambda: nn.AdaptiveMaxPool2d(2)(x(2, 3, 8, 6))
    yield "upsample", lambda: nn.Upsample(scale_factor=2)(x(2, 3, 4, 5))
    yield "upsample bilinear", lambda: nn.Upsample(scale_factor=2, mode="bilinear")(x(2, 3, 4, 5))
    yield "pixel_shuffle", lambda: nn.PixelShuffle(2)(x(2, 4, 3, 5))
    yield "zero_pad", lambda: nn.ZeroPad2d(1)(x(2, 3, 4, 5))
    yield "reflection_pad", lambda: nn.ReflectionPad2d(1)(x(2, 3, 4, 5))
    yield "replication_pad", lambda: nn.ReplicationPad1d(1)(x(2, 3, 4))
    yield "rnn", lambda: nn.RNN(5, 7)(x(4, 3, 5))[0]
    yield "lstm", lambda: nn.LSTM(5, 7)(x(4, 3, 5))[0]
    yield "gru", lambda: nn.GRU(5, 7)(x(4, 3, 5))[0]
    yield "lstm_cell", lambda: nn.LSTMCell(5, 7)(x(3, 5))[0]
    yield "attention", lambda: F.scaled_dot_product_attention(
        x(2, 3, 5, 4), x(2, 3, 6, 4), x(2, 3, 6, 4))
    yield "causal attention", lambda: F.scaled_dot_product_attention(
        x(2, 3, 6, 4), x(2, 3, 6, 4), x(2, 3, 6, 4), is_causal=True)
    yield "multihead_attention", lambda: nn.MultiheadAttention(8, 2, batch_first=True)(
        x(2, 5, 8), x(2, 5, 8), x(2, 5, 8))[0]
    yield "encoder layer", lambda: nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, batch_first=True)(x(2, 5, 8))
    yield "cosine_similarity", lambda: F.cosine_similarity(x(6, 19), x(6, 19))
    yield "pairwise_distance", lambda: F.pairwise_distance(x(6, 19), x(6, 19))
    yield "normalize", lambda: F.normalize(x(6, 19))
    yield "one_hot", lambda: (F.one_hot(classes(9, 6), 9).float() * x(6, 9)).sum()


FUNCTIONS = {
    "cat": lambda: torch.cat([x(3, 5), x(4, 5)]), "stack": lambda: torch.stack([x(3, 5), x(3, 5)]),
    "split": lambda: x(7, 5).split(3), "split by sizes": lambda: x(7, 5).split([4, 3]),
    "chunk": lambda: x(7, 5).chunk(2, 1),
    "unbind": lambda: x(3, 5).unbind(1), "slice": lambda: x(9, 5)[2:7, ::2],
    "index with a number": lambda: x(9, 5)[3], "index with None": lambda: x(9, 5)[:, None],
    "last column": lambda: x(9, 5)[:, -1], "index with integers": lambda: x(9, 5)[classes(9, 4)],
    "index with a mask": lambda: x(9)[torch.arange(9) > 4],
    "gather": lambda: x(6, 19).gather(1, classes(19, 6, 1)),
    "index_select": lambda: x(9, 5).index_select(0, classes(9, 4)),
    "transpose": lambda: x(3, 5).transpose(0, 1) * 2, "t": lambda: x(3, 5).t() @ x(3, 4),
    "mT": lambda: x(2, 3, 5).mT @ x(2, 3, 4),
    "permute": lambda: x(3, 5, 4).permute(2, 0, 1) * x(4, 3, 5),
    "movedim": lambda: x(3, 5, 4).movedim(0, -1).contiguous(),
    "reshape": lambda: x(6, 10).reshape(4, 15) + 1, "view": lambda: x(6, 10).view(-1),
    "reshape of a transpose": lambda: x(6, 10).t().reshape(-1),
    "expand": lambda: x(1, 5).expand(3, 5) * x(3, 5), "repeat": lambda: x(3, 5).repeat(2, 3),
    "squeeze": lambda: x(3, 1, 5).squeeze(1), "squeeze all": lambda: x(3, 1, 5).squeeze(),
    "squeeze one of several": lambda: torch.squeeze(x(3, 1, 5, 1), 1),
    "squeeze several": lambda: x(1, 3, 1, 5).squeeze((0, 2)),
    "unsqueeze": lambda: x(3, 5).unsqueeze(1), "flatten": lambda: x(3, 5, 2).flatten(1),
    "unflatten": lambda: x(3, 10).unflatten(1, (2, 5)), "flip": lambda: x(3, 5).flip(1),
    "roll": lambda: x(3, 5).roll(2, 1), "tril": lambda: x(5, 5).tril(),
    "diagonal": lambda: x(5, 5).diagonal(), "diag": lambda: torch.diag(x(5)),
    "trace": lambda: x(5, 5).trace(),
    "clamp": lambda: x(6, 19).clamp(-0.5, 0.5), "clamp_min": lambda: x(6, 19).clamp(min=0),
    "clamp by tensors": lambda: x(6, 19).clamp(x(19), x(6, 1)),
    "where": lambda: torch.where(x(6, 19) > 0, x(6, 19), x(19)),
    "where with a number": lambda: torch.where(x(6, 19) > 0, x(6, 19), 0.0),
    "masked_fill": lambda: x(6, 19).masked_fill(x(19) > 0, -1e9),
    "maximum": lambda: torch.maximum(x(6, 19), x(19)),
    "minimum": lambda: torch.minimum(x(6, 19), x(19)), "max": lambda: x(6, 19).max(),
    "min": lambda: x(6, 19).min(), "max along": lambda: x(6, 19).max(1).values,
    "min along": lambda: x(6, 19).min(0).values, "amax": lambda: x(6, 19).amax(1),
    "amin": lambda: x(6, 19).amin((0, 1)), "argmax": lambda: x(6, 19).argmax(1),
    "accuracy": lambda: (x(6, 19).argmax(1) == classes(19, 6)).float().mean(),
    "topk": lambda: x(6, 19).topk(3)[0], "sort": lambda: x(6, 19).sort(1)[0],
    "sum": lambda: x(6, 19).sum(), "sum along": lambda: x(3, 5, 7).sum((0, 2)),
    "sum kept": lambda: x(3, 5, 7).sum(1, keepdim=True), "mean": lambda: x(6, 19).mean(),
    "mean along": lambda: x(3, 5, 7).mean(-1), "var": lambda: x(6, 19).var(),
    "var along": lambda: x(6, 19).var(1, keepdim=True), "std": lambda: x(6, 19).std(),
    "std along": lambda: x(6, 19).std(0), "var_mean": lambda: torch.var_mean(x(6, 19), 1),
    "norm": lambda: x(6, 19).norm(), "norm along": lambda: x(6, 19).norm(dim=1),
    "norm of order 1": lambda: x(6, 19).norm(1), "norm of order inf": lambda: torch.linalg.norm(
        x(19), float("inf")),
    "vector_norm": lambda: torch.linalg.vector_norm(x(6, 19), dim=1),
    "prod": lambda: x(3, 5).prod(1), "logsumexp": lambda: x(6, 19).logsumexp(1),
    "cumsum": lambda: x(6, 19).cumsum(1), "all": lambda: (x(6, 19) > -3).all(),
    "any": lambda: (x(6, 19) > 1).any(1), "matmul": lambda: x(6, 7) @ x(7, 19),
    "matmul of a batch": lambda: x(2, 6, 7) @ x(7, 19), "matvec": lambda: x(6, 7) @ x(7),
    "matmul of batches": lambda: x(2, 6, 7) @ x(2, 7, 5), "dot": lambda: x(19) @ x(19),
    "bmm": lambda: torch.bmm(x(2, 6, 7), x(2, 7, 5)),
    "baddbmm": lambda: torch.baddbmm(x(2, 6, 5), x(2, 6, 7), x(2, 7, 5)),
    "addmm": lambda: torch.addmm(x(19), x(6, 7), x(7, 19)),
    "addmm with factors": lambda: torch.addmm(x(19), x(6, 7), x(7, 19), beta=0.5, alpha=2),
    "einsum of matrices": lambda: torch.einsum("ij,jk->ik", x(6, 7), x(7, 5)),
    "einsum of batches": lambda: torch.einsum("bij,bjk->bik", x(2, 6, 7), x(2, 7, 5)),
    "einsum of vectors": lambda: torch.einsum("i,j->ij", x(6), x(7)),
    "outer": lambda: torch.outer(x(6), x(7)), "inner": lambda: torch.inner(x(6, 7), x(5, 7)),
    "lerp": lambda: torch.lerp(x(6, 19), x(6, 19), 0.3),
    "lerp by a tensor": lambda: torch.lerp(x(6, 19), x(6, 19), unit(6, 19)),
    "addcmul": lambda: torch.addcmul(x(6, 19), x(6, 19), x(19), value=0.5),
    "addcdiv": lambda: torch.addcdiv(x(6, 19), x(6, 19), unit(19), value=0.5),
    "powers": lambda: x(19) ** 2 + x(19) ** 3 + unit(19) ** 0.5 + unit(19) ** 1.7 + x(19) ** 4,
    "power of tensors": lambda: unit(6, 19) ** x(19), "number to a power": lambda: 2.0 ** x(19),
    "logarithms": lambda: unit(19).log() + unit(19).log2() + unit(19).log10() + unit(19).log1p(),
    "exponentials": lambda: x(19).exp() + x(19).exp2() + x(19).expm1(),
    "roots": lambda: unit(19).sqrt() + unit(19).rsqrt() + unit(19).reciprocal(),
    "trigonometry": lambda: x(19).sin() + x(19).cos() + x(19, low=-1, high=1).tan(),
    "arcs": lambda: unit(19).asin() + unit(19).acos() + x(19).atan(),
    "atan2": lambda: torch.atan2(x(19), x(19)),
    "hyperbolic": lambda: x(19).sinh() + x(19).cosh() + x(19).tanh(),
    "areas": lambda: x(19).asinh() + x(19, low=1.1, high=3).acosh() + unit(19).atanh(),
    "erf": lambda: x(19).erf() + x(19).erfc(), "erfinv": lambda: unit(19).erfinv(),
    "lgamma": lambda: unit(19).lgamma(), "digamma": lambda: unit(19).digamma(),
    "signs": lambda: x(19).abs() + x(19).sign() + x(19).neg() + x(19).relu() + x(19).sgn(),
    "rounding": lambda: x(19).round() + x(19).floor() + x(19).ceil() + x(19).trunc()
    + x(19).frac(),
    "remainder": lambda: x(19) % 0.7 + torch.fmod(x(19), 0.7) + x(19) // 0.3,
    "rounded to decimals": lambda: torch.round(x(19), decimals=2),
    "comparisons": lambda: torch.where((x(19) > 0.5) & (x(19) <= 1) | (x(19) == 0) | ~(
        x(19) != 0), x(19), x(19) * 2) + (x(19) >= 0).float() + (x(19) < 0).float(),
    "xor": lambda: ((x(19) > 0) ^ (x(19) > 1)).float() * x(19),
    "logic": lambda: (torch.logical_and(x(19) > 0, x(19) > 1).float() + torch.logical_or(
        x(19) > 0, x(19) > 1).float() + torch.logical_not(x(19) > 0).float()) * x(19),
    "logic of numbers": lambda: torch.logical_xor(x(19), x(19)).float() * x(19),
    "checks": lambda: torch.where(torch.isnan(x(19)) | torch.isinf(x(19)) | ~torch.isfinite(
        x(19)), 0.0, x(19)), "nan_to_num": lambda: torch.nan_to_num(x(19)),
    "numbers on the left": lambda: 1 - x(19) + 2 / unit(19) + 3 * x(19) + (5 - x(19)),
    "numbers and tensors": lambda: torch.rsub(x(19), 1.5) + torch.rsub(x(19), x(19)),
    "logaddexp": lambda: torch.logaddexp(x(19), x(19)), "hypot": lambda: torch.hypot(x(19), x(19)),
    "xlogy": lambda: torch.xlogy(unit(19), unit(19)), "sinc": lambda: torch.sinc(unit(19)),
    "logit": lambda: torch.logit(unit(19)), "copysign": lambda: torch.copysign(x(19), x(19)),
    "fmax": lambda: torch.fmax(x(19), x(19)) + torch.fmin(x(19), x(19)),
    "degrees": lambda: torch.deg2rad(x(19)) + torch.rad2deg(x(19)),
    "square": lambda: torch.square(x(19)), "positive": lambda: +x(19),
    "bounds one at a time": lambda: torch.clamp_max(torch.clamp_min(x(6, 19), -0.3), x(19)),
    "matrix and vector added": lambda: torch.addmv(x(6), x(6, 7), x(7), beta=0.5, alpha=2),
    "outer added": lambda: torch.addr(x(6, 7), x(6), x(7), alpha=0.5),
    "itself again": lambda: x(6, 7)[...] * 2, "whole quotients": lambda: torch.div(
        x(19), unit(19), rounding_mode="trunc") + x(19),
    "heaviside": lambda: torch.heaviside(x(19), unit(19)),
    "infinities": lambda: (torch.isposinf(x(19)) | torch.isneginf(x(19))).float() * x(19),
    "clone": lambda: x(19).clone(), "contiguous": lambda: x(5, 7).t().contiguous(),
    "copied into": lambda: torch.zeros(
        6, 19).copy_(x(19)), "to double": lambda: x(19).double() * 2,
    "to float": lambda: x(19).double().float(),
    "zeros_like": lambda: torch.zeros_like(x(19)) + x(19), "full": lambda: torch.full(
        (19,), 2.0) * x(19), "arange": lambda: torch.arange(19) * x(19),
    "scatter_add": lambda: torch.zeros(5, 19).scatter_add(0, classes(5, 3, 19), x(3, 19)),
    "index_add": lambda: torch.zeros(5, 19).index_add(0, classes(5, 3), x(3, 19)),
    "cdist": lambda: torch.cdist(x(6, 7), x(5, 7)), "cross": lambda: torch.linalg.cross(
        x(6, 3), x(6, 3)),
    "meshgrid": lambda: torch.meshgrid(x(4), x(5), indexing="ij")[0] * x(4, 5),
    "diff": lambda: torch.diff(x(6, 19)), "sum_to_size": lambda: x(6, 19).sum_to_size(1, 19)}


def second_slopes():
    """Gradients of gradients, as in PINNs and gradient penalties."""
    for name, function in {"tanh": torch.tanh, "sin": torch.sin, "sigmoid": torch.sigmoid,
                           "softplus": F.softplus, "gelu": F.gelu, "silu": F.silu,
                           "exp": torch.exp, "relu": torch.relu}.items():
        def loss(function=function):
            point = x(6, 1)
            out = function(point @ x(1, 19)).sum()
            (slope,) = torch.autograd.grad(out, point, create_graph=True)
            return (slope * slope).mean()
        yield f"slope of {name}", loss


def programs():
    """Name and loss of every ordinary program."""
    for name, module in ACTIVATIONS.items():
        yield name, lambda module=module: module(x(6, 37))
    yield from losses()
    yield from layers()
    yield from FUNCTIONS.items()
    yield from second_slopes()
