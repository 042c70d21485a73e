"""torch.nn.functional against PyTorch: values, two derivatives, graph names, errors, warnings."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import kkori
import kkori.nn.functional as ours

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch")
theirs = torch.nn.functional

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape)


def unit(*shape):
    return RNG.uniform(0.05, 0.95, size=shape)


def classes(count, *shape):
    return RNG.integers(0, count, shape)


def sign(*shape):
    return RNG.choice([-1.0, 1.0], size=shape)


# function, arrays (floating ones are followed), settings
CASES = [
    *((name, [normal(4, 5)], {}) for name in (
        "relu", "relu6", "elu", "selu", "celu", "leaky_relu", "hardtanh", "hardsigmoid",
        "hardswish", "hardshrink", "softshrink", "softsign", "tanhshrink", "softplus",
        "logsigmoid", "silu", "mish", "gelu", "sigmoid", "tanh", "normalize")),
    ("gelu", [normal(4, 5)], {"approximate": "tanh"}),
    ("softplus", [normal(4, 5)], {"beta": 3, "threshold": 2}),
    ("threshold", [normal(4, 5)], {"threshold": 0.1, "value": 2.0}),
    ("glu", [normal(4, 6)], {"dim": 1}),
    ("prelu", [normal(4, 3, 2), normal(3)], {}),
    *((name, [normal(3, 4, 5)], {"dim": dim}) for name in ("softmax", "log_softmax", "softmin")
      for dim in (0, -1)),
    *((name, [normal(4, 5), normal(4, 5)], {"reduction": reduction})
      for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
      for reduction in ("none", "mean", "sum")),
    *((name, [unit(4, 5), unit(4, 5)], {"reduction": reduction})
      for name in ("binary_cross_entropy", "binary_cross_entropy_with_logits")
      for reduction in ("none", "mean", "sum")),
    ("binary_cross_entropy_with_logits", [normal(4, 3), unit(4, 3)],
     {"pos_weight": unit(3), "weight": unit(4, 3)}),
    ("soft_margin_loss", [normal(4, 5)], {"target": sign(4, 5)}),
    ("hinge_embedding_loss", [normal(4, 5), sign(4, 5)], {}),
    ("poisson_nll_loss", [normal(4, 5), unit(4, 5) * 4], {"full": True}),
    ("gaussian_nll_loss", [normal(4, 5), normal(4, 5), unit(4, 5)], {"full": True}),
    ("kl_div", [normal(4, 5), unit(4, 5)], {"reduction": "batchmean"}),
    ("margin_ranking_loss", [normal(4), normal(4), sign(4)], {"margin": 0.3}),
    ("cosine_embedding_loss", [normal(4, 5), normal(4, 5), sign(4)], {"margin": 0.1}),
    ("triplet_margin_loss", [normal(4, 5), normal(4, 5), normal(4, 5)], {"swap": True}),
    *(("cross_entropy", [normal(4, 5), classes(5, 4)],
       {"reduction": reduction, "label_smoothing": smoothing, "weight": unit(5)})
      for reduction in ("none", "mean", "sum") for smoothing in (0.0, 0.2)),
    ("cross_entropy", [normal(4, 5, 3), classes(5, 4, 3)], {"ignore_index": 2}),
    ("cross_entropy", [normal(4, 5), unit(4, 5)], {"label_smoothing": 0.1}),
    ("nll_loss", [normal(4, 5, 3, 2), classes(5, 4, 3, 2)], {}),
    ("multi_margin_loss", [normal(4, 5), classes(5, 4)], {"p": 2}),
    ("multilabel_margin_loss", [normal(2, 4), np.array([[3, 0, -1, 1], [0, -1, 2, 1]])], {}),
    ("multilabel_soft_margin_loss", [normal(4, 5), unit(4, 5)], {}),
    ("linear", [normal(4, 5), normal(3, 5), normal(3)], {}),
    ("bilinear", [normal(4, 5), normal(4, 3), normal(2, 5, 3), normal(2)], {}),
    ("conv1d", [normal(2, 4, 9), normal(6, 2, 3), normal(6)], {"groups": 2, "padding": 1}),
    ("conv2d", [normal(2, 3, 7, 8), normal(4, 3, 3, 2), normal(4)],
     {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
    ("conv2d", [normal(2, 9, 5, 4), normal(4, 9, 3, 3), normal(4)], {"padding": "same"}),
    ("conv2d", [normal(2, 4, 5, 6), normal(4, 1, 3, 2), normal(4)],
     {"groups": 4, "stride": 2, "padding": 1}),
    ("conv_transpose1d", [normal(2, 4, 5), normal(4, 1, 3)], {"groups": 4, "stride": 2}),
    ("conv3d", [normal(1, 2, 4, 4, 4), normal(2, 2, 2, 2, 2)], {"stride": 2}),
    ("conv_transpose2d", [normal(2, 4, 3, 4), normal(4, 2, 3, 3), normal(4)],
     {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}),
    ("max_pool2d", [normal(2, 2, 7, 6)], {"kernel_size": 3, "stride": 2, "padding": 1,
                                           "ceil_mode": True}),
    ("max_pool1d", [normal(2, 2, 9)], {"kernel_size": 2, "dilation": 2}),
    ("avg_pool2d", [normal(2, 2, 7, 6)], {"kernel_size": 3, "stride": 2, "padding": 1,
                                           "ceil_mode": True, "count_include_pad": False}),
    ("adaptive_avg_pool2d", [normal(2, 2, 7, 5)], {"output_size": (3, 2)}),
    ("adaptive_max_pool2d", [normal(2, 2, 7, 5)], {"output_size": (3, 2)}),
    ("lp_pool2d", [unit(2, 2, 6, 6)], {"norm_type": 3, "kernel_size": 2}),
    ("layer_norm", [normal(3, 4, 5)], {"normalized_shape": (4, 5)}),
    ("rms_norm", [normal(3, 4, 5)], {"normalized_shape": (5,)}),
    ("group_norm", [normal(3, 4, 5)], {"num_groups": 2}),
    ("instance_norm", [normal(3, 4, 5)], {}),
    ("local_response_norm", [normal(3, 4, 5, 2)], {"size": 3}),
    ("cosine_similarity", [normal(3, 4), normal(3, 4)], {}),
    ("pairwise_distance", [normal(3, 4), normal(3, 4)], {"p": 3.0}),
    ("pdist", [normal(4, 3)], {}),
    *(("pad", [normal(2, 3, 4, 5)], {"pad": (2, 1, 0, 3), "mode": mode})
      for mode in ("constant", "reflect", "replicate", "circular")),
    *(("interpolate", [normal(1, 2, 4, 5)], {"size": (6, 3), "mode": mode})
      for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")),
    ("interpolate", [normal(1, 2, 6, 7)], {"scale_factor": 0.6, "mode": "bilinear",
                                           "antialias": True}),
    *(("grid_sample", [normal(1, 2, 4, 5), RNG.uniform(-1.2, 1.2, (1, 3, 3, 2))],
       {"mode": mode, "padding_mode": padding, "align_corners": False})
      for mode, padding in (("bilinear", "zeros"), ("bilinear", "reflection"),
                            ("bicubic", "border"))),
    ("affine_grid", [normal(2, 2, 3)], {"size": (2, 1, 3, 4), "align_corners": True}),
    ("pixel_shuffle", [normal(2, 8, 2, 3)], {"upscale_factor": 2}),
    ("unfold", [normal(2, 2, 5, 4)], {"kernel_size": (2, 3), "padding": 1}),
    ("fold", [normal(2, 8, 6)], {"output_size": (3, 4), "kernel_size": 2}),
    ("scaled_dot_product_attention", [normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 6)], {}),
]


def call(library, functions, name, arrays, settings):
    """The result, and the arguments that are followed."""
    leaves = [library.tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]
    options = {key: library.tensor(value) if isinstance(value, np.ndarray) else value
               for key, value in settings.items()}
    out = getattr(functions, name)(*leaves, **options)
    return out, [leaf for leaf in leaves if leaf.requires_grad]


ONCE = ("hardsigmoid", "multi_margin_loss", "multilabel_margin_loss", "pdist")  # in PyTorch


def derivatives(library, functions, name, arrays, settings):
    """The result, and first and second derivatives along all floating arguments."""
    out, followed = call(library, functions, name, arrays, settings)
    weights = library.tensor(np.linspace(0.5, 1.5, out.numel())).reshape(out.shape)
    first = library.autograd.grad((out * weights).sum(), followed, create_graph=True,
                                  allow_unused=True)
    bent = [(g * g).sum() for g in first if g is not None and g.requires_grad]
    if name in ONCE or not bent:
        return out, first, ()
    return out, first, library.autograd.grad(sum(bent), followed, allow_unused=True)


def same(found, wanted):
    if wanted is None or found is None:
        other = found if wanted is None else wanted
        assert other is None or not np.any(other.detach().numpy(force=True))
        return
    reference = wanted.detach().numpy(force=True)
    np.testing.assert_allclose(np.asarray(found.detach()), reference, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("name", "arrays", "settings"), CASES,
                         ids=[f"{name}-{number}" for number, (name, _, _) in enumerate(CASES)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_values_and_derivatives(name, arrays, settings):
    found = derivatives(kkori, ours, name, arrays, settings)
    wanted = derivatives(torch, theirs, name, arrays, settings)
    same(found[0], wanted[0])
    for mine, reference in zip(found[1:], wanted[1:], strict=True):
        if not mine or not reference:
            for value in (*mine, *reference):
                same(value, None)
            continue
        for one, other in zip(mine, reference, strict=True):
            same(one, other)


OTHER_NAMES = {  # composed of other operations here; PyTorch's name is that of its own kernel
    "l1_loss", "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "hinge_embedding_loss",
    "margin_ranking_loss", "cosine_embedding_loss", "triplet_margin_loss", "linear", "bilinear",
    "multilabel_soft_margin_loss", "instance_norm", "rms_norm", "lp_pool2d", "pairwise_distance",
    "pdist", "pad", "grid_sample", "affine_grid", "scaled_dot_product_attention", "normalize",
    "max_pool1d", "local_response_norm", "cosine_similarity", "softsign", "tanhshrink",
}


@pytest.mark.parametrize("number", range(len(CASES)))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_graph_names(number):
    name, arrays, settings = CASES[number]
    if name in OTHER_NAMES:
        return
    names = []
    for library, functions in ((kkori, ours), (torch, theirs)):
        out, _ = call(library, functions, name, arrays, settings)
        names.append(out.grad_fn.name()[:-1])  # without the number of the overload
    assert names[0] == names[1]


def multi_head(library, functions, **settings):
    """Attention with all its options, from the same numbers."""
    rng = np.random.default_rng(3)
    sizes = {"query": (4, 2, 6), "key": (5, 2, 6), "value": (5, 2, 6)}
    given = {key: library.tensor(rng.normal(size=size)) for key, size in sizes.items()}
    shapes = {"in_proj_weight": (18, 6), "in_proj_bias": (18,), "out_proj_weight": (6, 6),
              "out_proj_bias": (6,), "bias_k": (1, 1, 6), "bias_v": (1, 1, 6)}
    given.update({key: library.tensor(rng.normal(size=size)) for key, size in shapes.items()})
    given.update({key: library.tensor(value) if isinstance(value, np.ndarray) else value
                  for key, value in settings.items()})
    return functions.multi_head_attention_forward(
        embed_dim_to_check=6, num_heads=3, dropout_p=0.0, training=True,
        **{"add_zero_attn": False, **given})


@pytest.mark.parametrize("settings", [
    {}, {"need_weights": False}, {"average_attn_weights": False}, {"add_zero_attn": True},
    {"bias_k": None, "bias_v": None, "key_padding_mask": np.array([[False] * 4 + [True]] * 2)},
    {"attn_mask": np.tri(4, 5, 1) < 1, "bias_k": None, "bias_v": None},
    {"attn_mask": np.tri(4, 5), "need_weights": False},
])
def test_multi_head_attention(settings):
    found, wanted = (multi_head(library, functions, **settings)
                     for library, functions in ((kkori, ours), (torch, theirs)))
    for one, other in zip(found, wanted, strict=True):
        same(one, other)


@pytest.mark.parametrize("targets", ["rectangle", "row"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_ctc_loss(targets, reduction):
    rng = np.random.default_rng(1)
    labels, lengths = rng.integers(1, 5, (3, 4)), np.array([4, 2, 3])
    if targets == "row":
        labels = np.concatenate([row[:n] for row, n in zip(labels, lengths, strict=True)])
    logits = rng.normal(size=(10, 3, 5))
    results = []
    for library, functions in ((kkori, ours), (torch, theirs)):
        x = library.tensor(logits, requires_grad=True)
        loss = functions.ctc_loss(functions.log_softmax(x, 2), library.tensor(labels),
                                  library.tensor(np.array([10, 9, 7])), library.tensor(lengths),
                                  reduction=reduction)
        results.append((loss, *library.autograd.grad(loss.sum(), [x])))
    for one, other in zip(*results, strict=True):
        same(one, other)


def test_triplets_with_a_distance_of_ones_own():
    arrays = normal(5, 3), normal(5, 3), normal(5, 3)
    results = []
    for library, functions in ((kkori, ours), (torch, theirs)):
        leaves = [library.tensor(array, requires_grad=True) for array in arrays]
        loss = functions.triplet_margin_with_distance_loss(
            *leaves, distance_function=lambda a, b: (a - b).abs().sum(1), margin=0.5, swap=True)
        results.append((loss, *library.autograd.grad(loss, leaves)))
    for one, other in zip(*results, strict=True):
        same(one, other)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_and_its_statistics(training):
    arrays = normal(4, 3, 5), normal(3), normal(3), normal(3), unit(3)
    results = []
    for library, functions in ((kkori, ours), (torch, theirs)):
        x, weight, bias = (library.tensor(a, requires_grad=True) for a in arrays[:3])
        mean, var = (library.tensor(a) for a in arrays[3:])
        out = functions.batch_norm(x, mean, var, weight, bias, training, 0.3)
        results.append((out, mean, var, *library.autograd.grad((out ** 2).sum(),
                                                                [x, weight, bias])))
    for one, other in zip(*results, strict=True):
        same(one, other)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bags(mode):
    table, indices = normal(6, 3), classes(6, 9)
    results = []
    for library, functions in ((kkori, ours), (torch, theirs)):
        weight = library.tensor(table, requires_grad=True)
        out = functions.embedding_bag(library.tensor(indices), weight,
                                      library.tensor(np.array([0, 4, 4])), mode=mode,
                                      padding_idx=1)
        results.append((out, *library.autograd.grad((out ** 2).sum(), [weight])))
    for one, other in zip(*results, strict=True):
        same(one, other)


# What PyTorch refuses, and how: each line is run in both libraries.

REFUSED = """
F.mse_loss(i, i)
F.mse_loss(x, x, reduction="nope")
F.mse_loss(x, torch.ones(3, 3))
F.binary_cross_entropy(p, i)
F.binary_cross_entropy(p, p.double())
F.binary_cross_entropy(p, p[:1])
F.binary_cross_entropy(x * 9, p)
F.binary_cross_entropy(p, p + 1)
F.binary_cross_entropy_with_logits(x, p[:1])
F.binary_cross_entropy_with_logits(x, i)
F.huber_loss(x, x, delta=-1)
F.smooth_l1_loss(x, x, beta=-1)
F.nll_loss(x, torch.tensor([0, 1, 5]))
F.nll_loss(x, torch.tensor([0, 1]))
F.nll_loss(x, torch.tensor([0.0, 1, 2]))
F.nll_loss(x, torch.tensor([0, 1, 2]), weight=torch.ones(3))
F.nll_loss(torch.tensor(3.0), torch.tensor(1))
F.nll_loss(torch.ones(3), torch.tensor([1, 2]))
F.nll_loss(torch.ones(2, 3), torch.zeros(2, 1).long())
F.nll_loss(torch.ones(2, 3, 4), torch.zeros(2, 5).long())
F.nll_loss(torch.ones(2, 3, 4, 4), torch.zeros(2, 5).long())
F.nll_loss(torch.ones(2, 3, 4, 4), torch.zeros(2, 5, 4).long())
F.cross_entropy(x, torch.tensor([0, 1, 2]).int())
F.cross_entropy(x, torch.tensor([0, 1, 2]), label_smoothing=2.0)
F.cross_entropy(x, p, ignore_index=1)
F.cross_entropy(x, torch.ones(3, 3))
F.multi_margin_loss(x, torch.tensor([0, 1, 9]))
F.multi_margin_loss(x, torch.tensor([0, 1, 2]), p=3)
F.triplet_margin_loss(x, x, x, margin=0)
F.gaussian_nll_loss(x, x, -p)
F.softmax(i, 1)
F.log_softmax(i, 1)
F.softmax(x, 3)
F.gelu(i)
F.gelu(x, approximate="x")
F.silu(i)
F.softshrink(x, -1.0)
F.celu(x, 0.0)
F.glu(torch.ones(2, 3))
F.prelu(x, torch.ones(3))
F.prelu(x, torch.ones(2, 2))
F.hardtanh(x, 2, 1)
F.conv2d(y, w[:, :2])
F.conv2d(y[0, 0], w)
F.conv2d(y, w, torch.ones(3))
F.conv2d(y, w, groups=0)
F.conv2d(y, w, groups=4)
F.conv2d(y, w, stride=0)
F.conv2d(y, w, padding=-1)
F.conv2d(y, w, dilation=0)
F.conv2d(y, w, stride=(1, 1, 1))
F.conv2d(y, w, padding="same", stride=2)
F.conv2d(y, w, padding="abc")
F.conv2d(y, torch.ones(6, 3, 9, 9))
F.conv2d(y.double(), w)
F.conv1d(y, w[:, :, 0])
F.conv_transpose2d(y, w)
F.conv_transpose2d(y, w.transpose(0, 1), output_padding=2)
F.max_pool2d(y, 9)
F.max_pool2d(y, 2, padding=2)
F.max_pool2d(y, 2, 0)
F.max_pool2d(y, (2, 2, 2))
F.max_pool2d(y[0, 0], 2)
F.max_pool1d(y, 2)
F.max_pool1d(y[0], 9)
F.avg_pool2d(y, 9)
F.avg_pool2d(y, 2, divisor_override=0)
F.adaptive_avg_pool2d(y[0, 0], 2)
F.fractional_max_pool2d(y, 2)
F.fractional_max_pool2d(y, 2, output_size=9)
F.max_unpool2d(y[:, :, :2, :2], torch.zeros(2, 3, 2, 2).long() + 99, 2)
F.batch_norm(y, torch.zeros(2), torch.ones(2))
F.batch_norm(y, None, None)
F.batch_norm(y, None, None, torch.ones(2), training=True)
F.batch_norm(y[:1, :, :1, :1], None, None, training=True)
F.batch_norm(y, None, None, training=True, eps=0.0)
F.layer_norm(y, (4,))
F.layer_norm(y, (5,), torch.ones(4))
F.layer_norm(y, ())
F.group_norm(y, 2)
F.group_norm(y, 3, torch.ones(2))
F.instance_norm(y[:, :, :1, :1])
F.local_response_norm(x, 2)
F.embedding(torch.tensor([5]), x)
F.embedding(torch.tensor([1.0]), x)
F.embedding(torch.tensor([1]), x, padding_idx=9)
F.embedding(torch.tensor([1]), x[0])
F.embedding_bag(torch.tensor([1]), x)
F.embedding_bag(torch.tensor([[1]]), x, torch.tensor([0]))
F.embedding_bag(torch.tensor([[1]]), x, mode="nope")
F.interpolate(y)
F.interpolate(y, size=2, scale_factor=2)
F.interpolate(y, size=(1, 2, 3))
F.interpolate(y, size=4, mode="nearest", align_corners=True)
F.interpolate(y, size=0)
F.interpolate(y, size=4, mode="linear")
F.pad(y, (1, 1, 1))
F.pad(y, (1,) * 10)
F.pad(y, (1, 1), "reflect")
F.pad(y, (9, 1, 2, 0), "reflect")
F.pad(y, (9, 1, 2, 0), "circular")
F.pad(y, (1, 1), "bla")
F.pad(y, (1, 1), "reflect", 2.0)
F.grid_sample(y, torch.ones(1, 3, 3, 2), align_corners=False)
F.grid_sample(y, torch.ones(2, 3, 3, 2), mode="nope")
F.pixel_shuffle(y, 2)
F.pixel_unshuffle(y, 3)
F.channel_shuffle(y, 2)
F.unfold(y, 9)
F.fold(torch.ones(2, 12, 7), (3, 4), (2, 2))
F.fold(torch.ones(2, 11, 6), (3, 4), (2, 2))
F.one_hot(torch.tensor([-1]))
F.one_hot(torch.tensor([3]), 2)
F.one_hot(torch.tensor([3.0]))
F.pdist(y)
F.bilinear(x, x, torch.ones(2, 4, 5))
F.cosine_similarity(i, i)
F.dropout(x, 2.0)
F.scaled_dot_product_attention(x, x, x, torch.ones(3, 3), is_causal=True)
""".strip().splitlines()


def refusal(library, functions, line):
    rng = np.random.default_rng(0)
    names = {"torch": library, "F": functions,
             "x": library.tensor(rng.normal(size=(3, 4)).astype("f4")),
             "y": library.tensor(rng.normal(size=(2, 3, 4, 5)).astype("f4")),
             "w": library.tensor(rng.normal(size=(6, 3, 2, 2)).astype("f4")),
             "p": library.tensor(rng.uniform(0.1, 0.9, (3, 4)).astype("f4")),
             "i": library.tensor(np.ones((3, 4), np.int64))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception) as caught:
            eval(line, names)
    return caught.type, str(caught.value).splitlines()[0]


@pytest.mark.parametrize("line", REFUSED)
def test_refusals(line):
    assert refusal(kkori, ours, line) == refusal(torch, theirs, line)
