"""The op table of the tests: one row an operation; the drivers do the rest.

Elementwise rows say on which numbers the operation lives; the other rows give the arguments of
some calls, where `n` makes numbers: ``n(2, 3)`` floating, ``n.whole(5, 3)`` whole, ``n.mask(4)``.
"""

from __future__ import annotations

import numpy as np
from table import binary, row, unary

inf = float("inf")

# One tensor.

unary("exp")
unary("exp2")
unary("expm1")
unary("log", 0.2, 3)
unary("log2", 0.2, 3)
unary("log10", 0.2, 3)
unary("log1p", -0.7, 3)
unary("sqrt", 0.2, 3)
unary("rsqrt", 0.2, 3)
unary("reciprocal", 0.3, 2)
unary("sin")
unary("cos")
unary("tan", -1, 1)
unary("asin", -0.9, 0.9)
unary("acos", -0.9, 0.9)
unary("atan")
unary("sinh")
unary("cosh")
unary("tanh")
unary("asinh")
unary("acosh", 1.2, 3)
unary("atanh", -0.9, 0.9)
unary("sigmoid")
unary("relu")
unary("neg")
unary("positive")
unary("abs")
unary("square")
unary("sign", kinds="fib")
unary("sgn", kinds="fib")
unary("floor")
unary("ceil")
unary("trunc")
unary("round")
unary("frac", kinds="f")
unary("deg2rad")
unary("rad2deg")
unary("angle")
unary("nan_to_num")
unary("logical_not", kinds="fib")
unary("bitwise_not", kinds="ib")
unary("isnan", kinds="fib")
unary("isinf", kinds="fib")
unary("isfinite", kinds="fib")
unary("isposinf", kinds="fib")
unary("isneginf", kinds="fib")
unary("isreal", kinds="fib")
unary("signbit", kinds="fib")

# Special functions.

unary("erf")
unary("erfc")
unary("erfinv", -0.9, 0.9)
unary("lgamma", 0.3, 4, kinds="f")
unary("digamma", 0.5, 4, kinds="f")
unary("sinc", 0.3, 2)
unary("i0", special=False)  # PyTorch has NaN at infinity
unary("logit", 0.1, 0.9, kinds="f")
unary("special.i1", kinds="f", special=False)
unary("special.ndtr", kinds="f")
unary("special.ndtri", 0.1, 0.9, kinds="f")
unary("special.log_ndtr", kinds="f")
unary("special.erfcx", kinds="f")
unary("special.entr", 0.2, 2, kinds="f")
unary("special.bessel_j0", kinds="f", smooth=False)

# Activations.

unary("nn.functional.relu6", -4, 9, kinds="f")
unary("nn.functional.elu", kinds="f")
unary("nn.functional.selu", kinds="f")
unary("nn.functional.celu", kinds="f")
unary("nn.functional.gelu", kinds="f")
unary("nn.functional.silu", kinds="f")
unary("nn.functional.mish", kinds="f")
unary("nn.functional.softplus", kinds="f")
unary("nn.functional.softsign", kinds="f")
unary("nn.functional.logsigmoid", kinds="f")
unary("nn.functional.leaky_relu", kinds="f")
unary("nn.functional.hardtanh", kinds="f")
unary("nn.functional.hardsigmoid", -4, 4, kinds="f")
unary("nn.functional.hardswish", -4, 4, kinds="f")
unary("nn.functional.hardshrink", kinds="f")
unary("nn.functional.softshrink", kinds="f")
unary("nn.functional.tanhshrink", kinds="f")

# Two tensors.

binary("add", kinds="fib")
binary("sub")
binary("rsub")
binary("mul", kinds="fib")
binary("div", second=(0.5, 2), kinds="fib")
binary("true_divide", second=(0.5, 2))
binary("floor_divide", second=(0.5, 2))
binary("remainder", second=(0.6, 0.9))
binary("fmod", second=(0.6, 0.9))
binary("pow", (0.3, 2))
binary("float_power", (0.3, 2))
binary("maximum", numbers=False, kinds="fib")
binary("minimum", numbers=False, kinds="fib")
binary("fmax", numbers=False)
binary("fmin", numbers=False)
binary("atan2", (0.3, 2), numbers=False)
binary("hypot", (0.3, 2), numbers=False, kinds="f")
binary("logaddexp", numbers=False, kinds="f")
binary("logaddexp2", numbers=False, kinds="f")
binary("copysign", kinds="fi")
binary("xlogy", second=(0.3, 2))
binary("ldexp", numbers=False, kinds="f")
binary("nextafter", numbers=False, kinds="f", smooth=False)
binary("heaviside", numbers=False, smooth=False)
binary("gcd", kinds="i")
binary("lcm", kinds="i")
binary("eq", kinds="fib")
binary("ne", kinds="fib")
binary("lt", kinds="fib")
binary("le", kinds="fib")
binary("gt", kinds="fib")
binary("ge", kinds="fib")
binary("logical_and", numbers=False, kinds="fib")
binary("logical_or", numbers=False, kinds="fib")
binary("logical_xor", numbers=False, kinds="fib")
binary("bitwise_and", kinds="ib")
binary("bitwise_or", kinds="ib")
binary("bitwise_xor", kinds="ib")
binary("bitwise_left_shift", kinds="i")
binary("bitwise_right_shift", kinds="i")

# Several tensors.

row("where", lambda n: (n.mask(3, 2), n(3, 2), n(2)), lambda n: (n.mask(3), n(3), 2.0))
row("clamp", lambda n: (n(4), -0.5, 0.7), lambda n: (n(2, 3), n(3), n(2, 1)),
    lambda n: (n(4), {"max": 0.3}), lambda n: (np.zeros(0), 0.0, 1.0))
row("clamp_min", lambda n: (n(4), 0.1), lambda n: (n(4), n(4)))
row("clamp_max", lambda n: (n(4), 0.1), lambda n: (n(4), n(4)))
row("lerp", lambda n: (n(3), n(3), 0.3), lambda n: (n(2, 3), n(2, 3), n(3)))
row("addcmul", lambda n: (n(3), n(2, 3), n(3), {"value": 0.5}))
row("addcdiv", lambda n: (n(3), n(2, 3), n(3, low=0.5), {"value": 0.5}))
row("complex", lambda n: (n(3), n(3)))
row("polar", lambda n: (n(3, low=0.5), n(3)))
row("view_as_real", lambda n: (n.complex(3),))
row("view_as_complex", lambda n: (n(3, 2),), any_layout=False, on_meta=False)

row("softmax", lambda n: (n(2, 3), 1), lambda n: (n(2, 3), 0), lambda n: (n(), 0),
    lambda n: (np.array([1.0, inf, -inf]), 0))
row("log_softmax", lambda n: (n(2, 3), 1), lambda n: (np.array([1.0, -inf]), 0))
row("polygamma", lambda n: (2, n(3, low=0.5)))
row("igamma", lambda n: (n(3, low=0.5), n(3, low=0.5)), smooth=False)
row("nn.functional.linear", lambda n: (n(2, 3), n(4, 3), n(4)), lambda n: (n(2, 2, 3), n(4, 3)),
    lambda n: (n(2, 3), n(4, 2)))
row("nn.functional.mse_loss", lambda n: (n(2, 3), n(2, 3)), lambda n: (n(3), n(3), {
    "reduction": "none"}))
row("nn.functional.cross_entropy", lambda n: (n(4, 3), n.whole(3, 4)),
    lambda n: (n(4, 3), n.whole(3, 4), {"label_smoothing": 0.1, "reduction": "sum"}))
row("nn.functional.binary_cross_entropy", lambda n: (n(4, low=0.1, high=0.9), n(4, low=0.1,
    high=0.9)))
row("nn.functional.conv2d", lambda n: (n(2, 2, 5, 5), n(3, 2, 3, 3), n(3), 2, 1))
row("nn.functional.max_pool2d", lambda n: (n(1, 2, 4, 4), 2))
row("nn.functional.layer_norm", lambda n: (n(2, 4), (4,), n(4), n(4)))

# Linear algebra.

row("linalg.inv", lambda n: (n(3, 3) + 3 * np.eye(3),), lambda n: (n(2, 3),))
row("linalg.det", lambda n: (n(2, 3, 3),), lambda n: (n(3),))
row("linalg.solve", lambda n: (n(3, 3) + 3 * np.eye(3), n(3, 2)))
row("linalg.slogdet", lambda n: (n(3, 3) + 3 * np.eye(3),))
row("linalg.svdvals", lambda n: (n(3, 2),))
row("linalg.matrix_norm", lambda n: (n(2, 3),), lambda n: (n(2, 3), "nuc"), lambda n: (n(2, 3), 1))
row("linalg.matrix_power", lambda n: (n(2, 2), 3), lambda n: (n(2, 2) + 3 * np.eye(2), -2))

# Shapes.

row("reshape", lambda n: (n(2, 3), (3, -1)), lambda n: (n(), (1, 1)), lambda n: (n(0, 3), (0,)),
    lambda n: (n(2, 3), (4, -1)), lambda n: (n(2, 0), (-1, 0)))
row("view", lambda n: (n(2, 3), 6), lambda n: (n(2, 3), 5), method=True, any_layout=False)
row("flatten", lambda n: (n(2, 3, 4), 1), lambda n: (n(),), lambda n: (n(2, 3), 1, 0))
row("unflatten", lambda n: (n(2, 6), 1, (2, -1)), lambda n: (n(2, 6), 1, (4, 2)))
row("ravel", lambda n: (n(2, 3),), lambda n: (n(),))
row("permute", lambda n: (n(2, 3, 4), (2, 0, 1)), lambda n: (n(2, 3), (0, 0)),
    lambda n: (n(2, 3), (0,)))
row("transpose", lambda n: (n(2, 3, 4), 0, -1), lambda n: (n(2, 3), 0, 2), lambda n: (n(), 0, -1))
row("t", lambda n: (n(2, 3),), lambda n: (n(3),), lambda n: (n(2, 3, 4),))
row("adjoint", lambda n: (n(2, 3),), lambda n: (n.complex(2, 3),))
row("movedim", lambda n: (n(2, 3, 4), 0, -1), lambda n: (n(2, 3, 4), (0, 1), (2, 0)),
    lambda n: (n(2, 3), (0, 0), (0, 1)))
row("unsqueeze", lambda n: (n(2, 3), 1), lambda n: (n(), -1), lambda n: (n(2), 5))
row("squeeze", lambda n: (n(1, 3, 1),), lambda n: (n(1, 3, 1), 2), lambda n: (n(2, 3), 0),
    lambda n: (n(1, 3, 1), (0, 2)))
row("expand", lambda n: (n(3, 1), 2, 3, 4), lambda n: (n(3), -1, 3), lambda n: (n(3), 2, 4),
    lambda n: (n(), 2), method=True)
row("broadcast_to", lambda n: (n(3, 1), (2, 3, 4)))
row("broadcast_tensors", lambda n: (n(3, 1), n(2)), lambda n: (n(3), n(2)))
row("narrow", lambda n: (n(3, 4), 1, 1, 2), lambda n: (n(3), 0, 2, 2), lambda n: (n(), 0, 0, 0))
row("select", lambda n: (n(3, 4), 1, -1), lambda n: (n(3), 0, 5))
row("as_strided", lambda n: (n(3, 4), (2, 2), (4, 2), 1), any_layout=False, on_meta=False)
row("diagonal", lambda n: (n(3, 4), 1), lambda n: (n(2, 3, 3), 0, 1, 2), lambda n: (n(3), 0))
row("diag", lambda n: (n(3), -1), lambda n: (n(3, 4),), lambda n: (n(1, 1, 1),))
row("diag_embed", lambda n: (n(2, 3), 1), lambda n: (n(2, 3), 0, 0, 2))
row("diagflat", lambda n: (n(2, 2), 1))
row("trace", lambda n: (n(3, 4),), lambda n: (n.whole(5, 2, 2),), lambda n: (n(3),))
row("tril", lambda n: (n(3, 4), -1), lambda n: (n(2, 2, 3),), lambda n: (n(3),))
row("triu", lambda n: (n(3, 4), 1), lambda n: (n(2, 2, 3),))
row("tril_indices", lambda n: (3, 4, 1), lambda n: (-1, 2), on_meta=False)
row("triu_indices", lambda n: (3, 4, -1), lambda n: (0, 2), on_meta=False)
row("flip", lambda n: (n(2, 3), (0, 1)), lambda n: (n(2, 3), (0, 0)))
row("fliplr", lambda n: (n(2, 3),), lambda n: (n(3),))
row("flipud", lambda n: (n(2, 3),), lambda n: (n(),))
row("roll", lambda n: (n(2, 3), 1, 1), lambda n: (n(2, 3), (1, 2), (0, 1)), lambda n: (n(5), -2),
    lambda n: (n(3), (1, 2), (0,)))
row("rot90", lambda n: (n(2, 3),), lambda n: (n(2, 3), 3), lambda n: (n(2, 3, 2), 2, (1, 2)),
    lambda n: (n(2, 3), 1, (0, 0)))
row("repeat", lambda n: (n(2, 1), 2, 3), lambda n: (n(3), 2, 2), lambda n: (n(2, 2), 2),
    lambda n: (n(), 2), method=True)
row("tile", lambda n: (n(2, 3), (2,)), lambda n: (n(3), (2, 2)))
row("repeat_interleave", lambda n: (n(2, 3), 2), lambda n: (n(2, 3), 2, 1),
    lambda n: (n(3), n.whole(3, 3), 0), lambda n: (n(3), -1),
    lambda n: (n.whole(3, 4),), on_meta=False)
row("unfold", lambda n: (n(7), 0, 3, 2), lambda n: (n(2, 5), 1, 2, 1), lambda n: (n(3), 0, 4, 1),
    lambda n: (n(), 0, 1, 1), method=True)
row("cat", lambda n: ([n(2, 3), n(1, 3)],), lambda n: ([n(2, 3), n.whole(4, 2, 1)], -1),
    lambda n: ([n(2, 3), n(2, 2)],), lambda n: ([n(2), np.zeros(0)],), lambda n: ([n()],))
row("stack", lambda n: ([n(2, 3), n(2, 3)],), lambda n: ([n(2), n(2)], -1),
    lambda n: ([n(2), n(3)],))
row("hstack", lambda n: ([n(2), n(3)],), lambda n: ([n(2, 1), n(2, 2)],), lambda n: ([n(), n(2)],))
row("vstack", lambda n: ([n(3), n(2, 3)],), lambda n: ([],))
row("dstack", lambda n: ([n(3), n(1, 3)],))
row("column_stack", lambda n: ([n(3), n(3, 2)],))
row("atleast_1d", lambda n: (n(),), lambda n: (n(), n(2)))
row("atleast_2d", lambda n: (n(),), lambda n: (n(3),))
row("atleast_3d", lambda n: (n(3),), lambda n: (n(2, 3),))
row("block_diag", lambda n: (n(2, 1), n(3), n()), lambda n: (n(1, 1, 1),))
row("meshgrid", lambda n: (n(2), n(3), {"indexing": "ij"}),
    lambda n: (n(2), n(3), n(2), {"indexing": "xy"}), lambda n: (n(2), {"indexing": "x"}))
row("cartesian_prod", lambda n: (n(2), n(3)), lambda n: (n(2, 2),))
row("combinations", lambda n: (n(4),), lambda n: (n(3), 2, True), lambda n: (n(3), 5))
row("unbind", lambda n: (n(2, 3), 1), lambda n: (n(),))
row("split", lambda n: (n(5, 2), 2), lambda n: (n(2, 5), [2, 3], 1), lambda n: (n(4), [1, 2]))
row("chunk", lambda n: (n(5, 2), 3), lambda n: (n(2), 0))
row("tensor_split", lambda n: (n(5), 3), lambda n: (n(2, 5), (1, 3), 1), lambda n: (n(3), 0))
row("hsplit", lambda n: (n(2, 4), 2), lambda n: (n(3), 2))
row("vsplit", lambda n: (n(4, 2), (1, 3)), lambda n: (n(3), 1))
row("dsplit", lambda n: (n(1, 2, 4), 2))

# Sums and their like.

ALONG = (lambda n: (n(2, 3),), lambda n: (n(2, 3), 1), lambda n: (n(2, 3, 2), (0, -1), True))
row("sum", *ALONG, lambda n: (n.mask(4),), lambda n: (np.zeros((2, 0)), 1), lambda n: (n(),),
    lambda n: (n(2, 3), 5), lambda n: (n(2, 3), (1, 1)))
row("mean", *ALONG, lambda n: (n.whole(4, 3),), lambda n: (np.zeros((0, 2)), 0), lambda n: (n(),))
row("nansum", *ALONG, lambda n: (np.array([1, np.nan]),))
row("nanmean", *ALONG, lambda n: (np.array([1, np.nan]),))
row("prod", lambda n: (n(2, 3),), lambda n: (n(2, 3), 1), lambda n: (np.array([2.0, 0, 3]),),
    lambda n: (np.array([[0.0, 0, 3], [1, 0, 2]]), 1, True), lambda n: (n.whole(4, 3),))
row("amax", *ALONG, lambda n: (np.zeros((0, 2)), 0), lambda n: (np.array([1.0, np.nan]),))
row("amin", *ALONG, lambda n: (np.zeros(0),))
row("aminmax", lambda n: (n(2, 3),), lambda n: (n(2, 3), {"dim": 1, "keepdim": True}),
    lambda n: (np.zeros(0),))
row("max", lambda n: (n(2, 3),), lambda n: (n(2, 3), 1), lambda n: (n(3), n(3)),
    lambda n: (np.array([[1, np.nan, 2]]), 1), lambda n: (np.zeros((0,)),),
    lambda n: (np.zeros((2, 0)), 1))
row("min", lambda n: (n(2, 3),), lambda n: (n(2, 3), 0, True), lambda n: (n(), 0))
row("argmax", lambda n: (n(2, 3),), lambda n: (n(2, 3), 1), lambda n: (np.array([1, np.nan]),),
    lambda n: (np.zeros(0),))
row("argmin", lambda n: (n(2, 3),), lambda n: (n(2, 3), 0, True), lambda n: (n(),))
row("all", lambda n: (n.mask(2, 3),), lambda n: (n(2, 3), 1), lambda n: (np.zeros(0),))
row("any", lambda n: (n.mask(2, 3), 0), lambda n: (n(2, 3), 1, True), lambda n: (np.zeros(0),))
row("count_nonzero", lambda n: (n.mask(2, 3),), lambda n: (n.mask(2, 3), 1))
row("var", *ALONG, lambda n: (n(4), {"correction": 0}), lambda n: (n(1),), lambda n: (n(3), False))
row("std", *ALONG, lambda n: (n.complex(3),), lambda n: (n.whole(5, 3),))
row("var_mean", *ALONG)
row("std_mean", *ALONG)
row("logsumexp", lambda n: (n(2, 3), 1), lambda n: (n(2, 3), (0, 1), True),
    lambda n: (np.array([-inf, -inf]), 0), lambda n: (np.zeros((0, 2)), 0))
row("sum_to_size", lambda n: (n(2, 3), 2, 1), lambda n: (n(2, 3), 3), method=True)
row("norm", lambda n: (n(2, 3),), lambda n: (n(2, 3), 1, 1), lambda n: (n(2, 3), 3, (0, 1), True),
    lambda n: (n(3), inf), lambda n: (n(3), 0), lambda n: (n.complex(3),), lambda n: (n(2, 3), 0.5))
row("dist", lambda n: (n(2, 3), n(3)), lambda n: (n(3), n(3), 1))
row("cdist", lambda n: (n(2, 3), n(4, 3)), lambda n: (n(2, 3), n(4, 3), 1.0),
    lambda n: (n(2, 2, 3), n(4, 3), 3.0), lambda n: (n(2, 3), n(4, 2)))
row("renorm", lambda n: (n(3, 4), 2, 0, 0.9), lambda n: (n(3), 2, 0, 1.0))

# Running totals and differences.

row("cumsum", lambda n: (n(2, 3), 1), lambda n: (n.mask(4), 0), lambda n: (n(), 0),
    lambda n: (np.zeros((2, 0)), 1), lambda n: (n(2), 3))
row("cumprod", lambda n: (n(2, 3), 1), lambda n: (np.array([2.0, 0, 3, 4]), 0),
    lambda n: (np.array([2.0, 0, 3, 0, 5]), 0), lambda n: (n.whole(4, 3), 0))
row("cummax", lambda n: (n(2, 4), 1), lambda n: (np.array([1, np.nan, 2]), 0))
row("cummin", lambda n: (n(2, 4), 1), lambda n: (n.whole(5, 6), 0))
row("logcumsumexp", lambda n: (n(2, 3), 1), lambda n: (np.array([-inf, 1.0, inf]), 0))
row("diff", lambda n: (n(2, 4),), lambda n: (n(5), 2), lambda n: (n(2, 3), 1, 0, n(1, 3), n(2, 3)),
    lambda n: (n.mask(4),), lambda n: (n(),))
row("trapezoid", lambda n: (n(2, 3),), lambda n: (n(2, 3), n(3)), lambda n: (n(4), {"dx": 0.5}))
row("cumulative_trapezoid", lambda n: (n(2, 3),), lambda n: (n(2, 3), n(2, 3)))
row("gradient", lambda n: (n(5),), lambda n: (n(3, 4), {"spacing": 0.5, "edge_order": 2}),
    lambda n: (n(4), {"spacing": (np.array([0.0, 1, 3, 4]),)}), lambda n: (n(1),))

# Order.

row("sort", lambda n: (n(2, 4),), lambda n: (n(4), 0, True), lambda n: (n(),),
    lambda n: (np.array([2, np.nan, 1]),), lambda n: (np.zeros((0,)),))
row("argsort", lambda n: (n(2, 4),), lambda n: (n(4), 0, True))
row("msort", lambda n: (n(3, 2),))
row("topk", lambda n: (n(2, 5), 3), lambda n: (n(5), 2, 0, False), lambda n: (n(2), 3))
row("kthvalue", lambda n: (n(2, 5), 3), lambda n: (n(4), 2, 0, True), lambda n: (n(3), 4))
row("median", lambda n: (n(5),), lambda n: (n(2, 4), 1), lambda n: (np.array([1, np.nan, 0]),))
row("nanmedian", lambda n: (n(5),), lambda n: (np.array([[1, np.nan, 0], [3, 4, 1]]), 1))
row("mode", lambda n: (np.array([[1.0, 2, 2], [3, 3, 1]]),), lambda n: (n(), 0), smooth=False)
row("quantile", lambda n: (n(7), 0.3), lambda n: (n(2, 5), np.array([0.3, 0.6]), 1),
    lambda n: (n(5), 0.4, {"interpolation": "midpoint"}), lambda n: (n(3), 2.0),
    lambda n: (n(2, 3), 0.5, 0, True))
row("nanquantile", lambda n: (np.array([1.0, np.nan, 3, 5]), 0.5),
    lambda n: (n(2, 5), 0.3, 1), on_meta=False)
row("unique", lambda n: (n.whole(4, 8),), lambda n: (n.whole(2, 5, 2), {"dim": 0}),
    lambda n: (n.whole(4, 6), True, True, True), on_meta=False)
row("unique_consecutive", lambda n: (n.whole(2, 8), True, True),
    lambda n: (n.whole(2, 5, 1), {"dim": 0}), on_meta=False)
row("searchsorted", lambda n: (np.sort(n(5)), n(2, 3)), lambda n: (np.sort(n(2, 5)), n(2, 3)),
    lambda n: (np.arange(4), 2, {"right": True}), lambda n: (n(2, 5), n(3)))
row("bucketize", lambda n: (n(2, 3), np.sort(n(5))), lambda n: (2.5, np.arange(4), {"right": True}))
row("isin", lambda n: (n.whole(5, 6), n.whole(5, 2)), lambda n: (n.whole(5, 6), 3))

# Counting.

row("bincount", lambda n: (n.whole(5, 9),), lambda n: (n.whole(3, 4), n(4), 6), lambda n: (n(3),),
    lambda n: (np.array([-1]),), smooth=False, on_meta=False)
row("histc", lambda n: (n(9), 4), lambda n: (n(9), 4, -1, 1),
    lambda n: (n(3), 0), smooth=False, on_meta=False)
row("histogram", lambda n: (n(9), 4), lambda n: (n(9), np.array([-1.0, 0, 2])),
    lambda n: (n(9), 3, {"range": (-1.0, 1.0), "density": True}), smooth=False, on_meta=False)
row("histogramdd", lambda n: (n(9, 2), [2, 3]), smooth=False, on_meta=False)

# By index.

row("gather", lambda n: (n(3, 4), 1, n.whole(4, 2, 3)), lambda n: (n(3), 0, n.whole(3, 5)),
    lambda n: (n(3), 0, np.array([3])), lambda n: (n(), 0, np.array([0])))
row("scatter", lambda n: (n(3, 4), 0, np.array([[0, 2, 1], [1, 0, 2]]), n(2, 3)),
    lambda n: (n(3), 0, np.array([1]), 5.0), lambda n: (n(3), 0, np.array([7]), n(1)))
row("scatter_add", lambda n: (n(3, 4), 1, n.whole(4, 3, 5), n(3, 5)))
for how in ("sum", "mean", "prod", "amax", "amin"):
    row(f"scatter_reduce:{how}",
        lambda n, how=how: (n(3), 0, n.whole(3, 6), n(6), how),
        lambda n, how=how: (n(2, 3), 1, n.whole(3, 2, 4), n(2, 4), how, {"include_self": False}))
row("take_along_dim", lambda n: (n(3, 4), n.whole(3, 1, 4), 0), lambda n: (n(3), n.whole(3, 2)))
row("index_select", lambda n: (n(3, 4), 1, n.whole(4, 5)), lambda n: (n(3), 0, np.array([3])))
row("index_add", lambda n: (n(3, 4), 1, n.whole(4, 2), n(3, 2), {"alpha": 2}),
    lambda n: (n(3), 0, np.array([0]), n(2)))
row("index_copy", lambda n: (n(3, 4), 1, np.array([2, 0]), n(3, 2)),
    lambda n: (n(3), 0, np.array([4]), n(1)))
row("index_fill", lambda n: (n(3, 4), 1, np.array([2, 2]), 0.5),
    lambda n: (n(3, 4), 0, np.array([0]), n()))
for how in ("mean", "prod", "amax", "amin"):
    row(f"index_reduce:{how}", lambda n, how=how: (n(3, 4), 0, n.whole(3, 5), n(5, 4), how))
row("index_put", lambda n: (n(3, 4), (n.whole(3, 2), n.whole(4, 2)), n(2), True),
    lambda n: (n(3, 4), (np.array([0, 2]),), n(4)), lambda n: (n(3), (np.array([5]),), n(1)))
row("take", lambda n: (n(3, 4), n.whole(12, 2, 2)), lambda n: (n(3), np.array([5])))
row("put", lambda n: (n(3, 4), n.whole(12, 3), n(3), True),
    lambda n: (n(3, 4), np.array([1, 5]), n(2)))
row("masked_fill", lambda n: (n(2, 3), n.mask(3), 1.5), lambda n: (n(3), n.mask(2, 1), n()),
    lambda n: (n(3), n.whole(2, 3), 1.0), lambda n: (n(3), n.mask(2), 1.0))
row("masked_select", lambda n: (n(2, 3), n.mask(2, 3)),
    lambda n: (n(2, 1), n.mask(3)), on_meta=False)
row("masked_scatter", lambda n: (n(2, 3), n.mask(2, 3), n(7)), lambda n: (n(9), n.mask(9), n(1)))
row("nonzero", lambda n: (n.mask(3, 4),), lambda n: (n.mask(3, 4), {"as_tuple": True}),
    lambda n: (np.array(3.0),), on_meta=False)
row("argwhere", lambda n: (n.mask(5),), on_meta=False)
row("select_scatter", lambda n: (n(3, 4), n(3), 1, 2), lambda n: (n(3, 4), n(2), 1, 2))
row("slice_scatter", lambda n: (n(5, 2), n(2, 2), 0, 1, 5, 2))
row("diagonal_scatter", lambda n: (n(3, 4), n(3)))
row("__getitem__", lambda n: (n(3, 4), 1), lambda n: (n(3, 4), (slice(0, 2), slice(None, None, 2))),
    lambda n: (n(3, 4), n.whole(3, 5)), lambda n: (n(3, 4), n.mask(3, 4)),
    lambda n: (n(3, 4), (..., None, n.whole(4, 2))),
    lambda n: (n(3, 4), 7), method=True, on_meta=False)

# Products.

row("mm", lambda n: (n(2, 3), n(3, 4)), lambda n: (n(2, 3), n(2, 3)), lambda n: (n(2, 0), n(0, 3)))
row("mv", lambda n: (n(2, 3), n(3)), lambda n: (n(2, 3), n(2)))
row("dot", lambda n: (n(3), n(3)), lambda n: (n(3), n(2)), lambda n: (n.complex(3), n.complex(3)))
row("vdot", lambda n: (n(3), n(3)), lambda n: (n.complex(3), n.complex(3)))
row("bmm", lambda n: (n(2, 2, 3), n(2, 3, 2)), lambda n: (n(2, 2, 3), n(3, 3, 2)))
row("matmul", lambda n: (n(2, 3), n(3, 2)), lambda n: (n(3), n(3)), lambda n: (n(3), n(3, 2)),
    lambda n: (n(2, 1, 2, 3), n(2, 3, 2)), lambda n: (n(2, 2, 3), n(3)), lambda n: (n(), n(3)))
row("addmm", lambda n: (n(2), n(2, 3), n(3, 2), {"beta": 0.5, "alpha": 2}),
    lambda n: (n(3), n(2, 3), n(3, 2)))
row("addmv", lambda n: (n(2), n(2, 3), n(3), {"beta": 0.5, "alpha": 2}))
row("addr", lambda n: (n(2, 3), n(2), n(3), {"beta": 0.5}))
row("baddbmm", lambda n: (n(2, 1, 2), n(2, 2, 3), n(2, 3, 2), {"alpha": 2}))
row("addbmm", lambda n: (n(2, 2), n(3, 2, 3), n(3, 3, 2)))
row("outer", lambda n: (n(2), n(3)), lambda n: (n(2, 2), n(3)))
row("inner", lambda n: (n(2, 3), n(4, 3)), lambda n: (n(), n(3)))
row("tensordot", lambda n: (n(2, 3, 4), n(3, 4, 2)), lambda n: (n(2, 3), n(3, 2), ([1], [0])),
    lambda n: (n(2, 3), n(2, 3), 1))
row("einsum", lambda n: ("ij,jk->ik", n(2, 3), n(3, 2)), lambda n: ("bij,bj->bi", n(2, 2, 3),
    n(2, 3)), lambda n: ("...ij->...ji", n(2, 2, 3)), lambda n: ("ii->i", n(3, 3)),
    lambda n: ("i,j,k->ijk", n(2), n(2), n(2)), lambda n: ("ij,jk", n(2, 3), n(2, 3)),
    lambda n: ("ij->ijj", n(2, 3)), lambda n: ("i1", n(2, 3)))
row("kron", lambda n: (n(2, 3), n(2)), lambda n: (n(), n(2)))
row("cross", lambda n: (n(2, 3), n(2, 3), -1), lambda n: (n(3), n(3), 0), lambda n: (n(2), n(2)))
row("chain_matmul", lambda n: (n(2, 3), n(3, 4), n(4, 2)))
row("vander", lambda n: (n(3), 4), lambda n: (n.whole(4, 3), {"increasing": True}))
row("cov", lambda n: (n(2, 4),),
    lambda n: (n(2, 4), {"correction": 0, "fweights": np.arange(1, 5)}))
row("corrcoef", lambda n: (n(2, 4),))

# Comparisons of wholes, and numbers taken apart.

row("isclose", lambda n: (np.array([1.0, np.nan]), np.array([1.0, np.nan]), {"equal_nan": True}),
    lambda n: (n(2), n(2), {"rtol": -1.0}))
row("allclose", lambda n: (np.ones(2), np.ones(2)), lambda n: (n(2), n(2)), on_meta=False)
row("equal", lambda n: (np.ones(2), np.ones(2)), lambda n: (n(2), n(3)))
row("frexp", lambda n: (n(3),), lambda n: (n.whole(3, 2),))
row("clone", lambda n: (n(2, 3),))
row("fill", lambda n: (n(2, 3), 1.5), lambda n: (n(2), n()))
