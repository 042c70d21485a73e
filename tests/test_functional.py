"""torch.nn.functional by numbers worked out by hand, and by properties that need no reference."""

from __future__ import annotations

import math

import numpy as np
import pytest

import kkori as torch
from kkori.nn import functional as F
from kkori.ops.special_math import erf_array, erfc_array


def close(found, wanted, tolerance=1e-6):
    np.testing.assert_allclose(np.asarray(found.detach()), np.asarray(wanted, dtype=float),
                               rtol=tolerance, atol=tolerance)


def leaf(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


# The error function.

@pytest.mark.parametrize(("kind", "ulps"), [(np.float64, 6), (np.float32, 16)])
def test_erf_is_as_exact_as_its_type(kind, ulps):
    x = np.concatenate([np.linspace(-7, 7, 4001), [0, 1e-30, -1e-8, np.inf, -np.inf]]).astype(kind)
    wanted = np.array([math.erf(v) for v in x])
    error = np.abs(erf_array(x) - wanted) / np.maximum(np.abs(wanted), np.finfo(kind).tiny)
    assert error.max() < ulps * np.finfo(kind).eps
    assert np.isnan(erf_array(np.array([np.nan], kind))).all()


def test_erfc_keeps_its_tail():
    x = np.array([-3.0, 0.0, 0.4, 0.6, 2.0, 10.0, 26.0])
    wanted = np.array([math.erfc(v) for v in x])
    np.testing.assert_allclose(erfc_array(x), wanted, rtol=2e-15)


# Activations.

ACTIVATIONS = [  # function, settings, input, output
    (F.relu, {}, [-1.0, 0.0, 2.0], [0, 0, 2]),
    (F.relu6, {}, [-1.0, 3.0, 9.0], [0, 3, 6]),
    (F.leaky_relu, {"negative_slope": 0.1}, [-2.0, 3.0], [-0.2, 3]),
    (F.elu, {"alpha": 2.0}, [-1.0, 1.0], [2 * math.expm1(-1), 1]),
    (F.celu, {"alpha": 2.0}, [-1.0, 1.0], [2 * math.expm1(-0.5), 1]),
    (F.hardtanh, {"min_val": -2.0, "max_val": 0.5}, [-3.0, 0.1, 1.0], [-2, 0.1, 0.5]),
    (F.hardsigmoid, {}, [-4.0, 0.0, 4.0], [0, 0.5, 1]),
    (F.hardswish, {}, [-4.0, 1.0, 4.0], [0, 4 / 6, 4]),
    (F.hardshrink, {"lambd": 1.0}, [-2.0, 0.5, 1.0], [-2, 0, 0]),
    (F.softshrink, {"lambd": 1.0}, [-3.0, 0.5, 2.0], [-2, 0, 1]),
    (F.softsign, {}, [-1.0, 3.0], [-0.5, 0.75]),
    (F.threshold, {"threshold": 1.0, "value": 7.0}, [0.0, 1.0, 2.0], [7, 7, 2]),
    (F.softplus, {}, [0.0, 100.0], [math.log(2), 100]),
    (F.logsigmoid, {}, [0.0, -100.0], [-math.log(2), -100]),
    (F.silu, {}, [0.0, 1.0], [0, 1 / (1 + math.exp(-1))]),
    (F.gelu, {}, [0.0, 1.0], [0, 0.5 * (1 + math.erf(math.sqrt(0.5)))]),
    (F.mish, {}, [0.0, 1.0], [0, math.tanh(math.log1p(math.e))]),
    (F.tanhshrink, {}, [0.0, 1.0], [0, 1 - math.tanh(1)]),
    (F.softmax, {"dim": 0}, [0.0, math.log(3)], [0.25, 0.75]),
    (F.log_softmax, {"dim": 0}, [0.0, math.log(3)], [math.log(0.25), math.log(0.75)]),
    (F.softmin, {"dim": 0}, [0.0, math.log(3)], [0.75, 0.25]),
    (F.glu, {"dim": 0}, [4.0, 0.0], [2.0]),
    (F.normalize, {"dim": 0}, [3.0, 4.0], [0.6, 0.8]),
]


@pytest.mark.parametrize(("function", "settings", "given", "wanted"), ACTIVATIONS,
                         ids=lambda part: getattr(part, "__name__", ""))
def test_activation_values(function, settings, given, wanted):
    close(function(torch.tensor(given), **settings), wanted)


def slopes_agree(function, x, step=1e-6):
    """Gradients against differences, at float64."""
    x = x.detach().clone().requires_grad_()
    y = function(x)
    weights = torch.linspace(0.5, 1.5, y.numel(), dtype=torch.float64).reshape(y.shape)
    (found,) = torch.autograd.grad((y * weights).sum(), x)
    wanted = torch.zeros_like(x)
    with torch.no_grad():
        for place in np.ndindex(*x.shape):
            ends = []
            for sign in (1, -1):
                moved = x.detach().clone()
                moved[place] += sign * step
                ends.append((function(moved) * weights).sum().item())
            wanted[place] = (ends[0] - ends[1]) / (2 * step)
    close(found, wanted, 1e-6)


SMOOTH = [F.gelu, lambda x: F.gelu(x, approximate="tanh"), F.silu, F.mish, F.softplus,
          F.logsigmoid, F.selu, lambda x: F.celu(x, 0.7), F.hardswish, F.tanhshrink, F.glu,
          lambda x: F.softmax(x, 1), lambda x: F.log_softmax(x, 0), F.normalize]


@pytest.mark.parametrize("number", range(len(SMOOTH)))
def test_first_and_second_slopes(number):
    function = SMOOTH[number]
    x = torch.tensor(np.random.default_rng(number).normal(size=(3, 4)))
    slopes_agree(function, x)

    def slope(x):
        x = x if x.requires_grad else x.requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad((function(x) ** 2).sum(), x, create_graph=True)
        return found
    slopes_agree(slope, x)


def test_in_place_activations_change_their_input_and_keep_gradients():
    for name in ("relu", "elu", "silu", "leaky_relu", "hardtanh", "mish", "celu", "selu"):
        x = leaf([[-1.5, 0.3], [0.7, -0.2]])
        y = x * 1.0
        z = getattr(F, name)(y, inplace=True)
        assert z is y
        z.sum().backward()
        other = leaf(x.tolist())
        getattr(F, name)(other).sum().backward()
        close(x.grad, other.grad)


def test_in_place_on_a_leaf_is_refused():
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        F.silu(leaf([1.0]), inplace=True)


def test_softmax_without_dimension_warns():
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax has been"):
        close(F.softmax(torch.zeros(1, 2)), [[0.5, 0.5]])


def test_softmax_of_numbers_far_apart():
    x = torch.tensor([[0.0, -1000.0], [1000.0, 1000.0]])
    close(F.softmax(x, 1), [[1, 0], [0.5, 0.5]])
    assert torch.isfinite(F.log_softmax(x, 1)).all()


# Losses.

X, T = [0.5, 2.0, -1.0], [0.0, 0.0, 1.0]
LOSSES = [  # function, settings, losses of each element
    (F.mse_loss, {}, [0.25, 4.0, 4.0]),
    (F.l1_loss, {}, [0.5, 2.0, 2.0]),
    (F.smooth_l1_loss, {}, [0.125, 1.5, 1.5]),
    (F.smooth_l1_loss, {"beta": 4.0}, [0.03125, 0.5, 0.5]),
    (F.huber_loss, {"delta": 0.5}, [0.125, 0.875, 0.875]),
    (F.soft_margin_loss, {}, [math.log(2), math.log(2), math.log1p(math.e)]),
    (F.binary_cross_entropy_with_logits, {},
     [math.log1p(math.exp(0.5)), math.log1p(math.exp(2)), math.log1p(math.e)]),
    (F.hinge_embedding_loss, {}, [0.5 + 0.5, 2.0, -1.0]),
]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("function", "settings", "wanted"), LOSSES,
                         ids=lambda part: getattr(part, "__name__", ""))
def test_loss_values(function, settings, wanted, reduction):
    found = function(torch.tensor(X), torch.tensor(T), reduction=reduction, **settings)
    close(found, {"none": wanted, "mean": np.mean(wanted), "sum": np.sum(wanted)}[reduction])


def test_binary_cross_entropy():
    x, t = leaf([0.25, 0.5, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    loss = F.binary_cross_entropy(x, t, reduction="sum")
    close(loss, math.log(4) + math.log(2))
    loss.backward()
    close(x.grad, [-4, 2, 0, 0])
    far = F.binary_cross_entropy(torch.tensor([0.0]), torch.tensor([1.0]))
    close(far, 100)  # the logarithm of 0 counts as -100


def test_mse_weighted_and_broadcast():
    x, t = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0])
    close(F.mse_loss(x, t, weight=torch.tensor([1.0, 3.0])), 13 / 4)
    with pytest.warns(UserWarning) as seen:
        F.mse_loss(torch.zeros(3, 1), torch.zeros(3))
    assert str(seen[0].message).splitlines()[0] == (
        "Using a target size (torch.Size([3])) that is different to the input size (torch.Size([3,"
        " 1])). This will likely lead to incorrect results due to broadcasting. Please ensure they "
        "have the same size.")
    assert seen[0].filename == __file__


def test_old_reduction_arguments_warn():
    with pytest.warns(UserWarning, match="please use reduction='sum' instead"):
        close(F.mse_loss(torch.tensor([1.0, 2.0]), torch.zeros(2), size_average=False), 5)


def test_nll_and_cross_entropy():
    logs = leaf([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]])
    target = torch.tensor([2, 0])
    close(F.nll_loss(logs, target, reduction="none"), [3, 4])
    loss = F.nll_loss(logs, target, weight=torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64))
    close(loss, (9 + 4) / 4)
    loss.backward()
    close(logs.grad, [[0, 0, -0.75], [-0.25, 0, 0]])
    close(F.nll_loss(logs, torch.tensor([1, -100])), 2)
    flat = torch.zeros(2, 4)
    close(F.cross_entropy(flat, torch.tensor([1, 3])), math.log(4))
    close(F.cross_entropy(flat, torch.tensor([1, 3]), label_smoothing=0.3), math.log(4))
    close(F.cross_entropy(flat, torch.full((2, 4), 0.25)), math.log(4))
    close(F.cross_entropy(torch.zeros(2, 4, 5), torch.ones(2, 5, dtype=torch.int64)), math.log(4))


@pytest.mark.parametrize("kind", ["none", "sum", "mean"])
@pytest.mark.parametrize("weights", [None, [0.5, math.nan, 2.0]])
def test_ignored_targets_give_nothing_whatever_is_there(weights, kind):
    odd = leaf([[math.nan, math.inf, -math.inf], [4.0, 5.0, 6.0]])
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    loss = F.nll_loss(odd, torch.tensor([1, 0]), weight, ignore_index=1, reduction=kind)
    share = 1.0 if weights is None or kind == "mean" else 0.5
    close(loss, [0, -4 * share] if kind == "none" else -4 * share)
    loss.sum().backward()
    close(odd.grad, [[0, 0, 0], [-share, 0, 0]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_batch_of_ignored_targets_has_no_gradient(smoothing):
    logits = leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    loss = F.cross_entropy(logits, torch.tensor([-100, -100]), label_smoothing=smoothing)
    assert math.isnan(loss.item())
    loss.backward()
    close(logits.grad, [[0, 0, 0], [0, 0, 0]])


def test_ctc_loss_counts_alignments():
    logs = torch.log(torch.full((3, 1, 2), 0.5, dtype=torch.float64)).requires_grad_()
    # "a" in three steps over {blank, a}: every sequence with one run of a's: 6 of 8.
    loss = F.ctc_loss(logs, torch.tensor([[1]]), torch.tensor([3]), torch.tensor([1]))
    close(loss, -math.log(6 / 8))
    impossible = F.ctc_loss(logs, torch.tensor([[1, 1]]), torch.tensor([2]), torch.tensor([2]),
                            zero_infinity=True)
    close(impossible, 0)


def test_margin_losses():
    x = torch.tensor([[0.1, 0.2, 0.8]])
    close(F.multi_margin_loss(x, torch.tensor([2])), (0.3 + 0.4) / 3)
    close(F.multilabel_margin_loss(torch.tensor([[0.1, 0.2, 0.4, 0.8]]),
                                   torch.tensor([[3, 0, -1, 1]])), 0.85)
    close(F.margin_ranking_loss(torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([1.0]),
                                margin=0.5), 1.5)
    close(F.triplet_margin_loss(torch.tensor([[0.0]]), torch.tensor([[1.0]]),
                                torch.tensor([[3.0]]), eps=0.0), 0)
    close(F.cosine_embedding_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]),
                                  torch.tensor([1])), 1)
    close(F.kl_div(torch.log(torch.tensor([0.5, 0.5])), torch.tensor([1.0, 0.0]),
                   reduction="sum"), math.log(2))
    close(F.poisson_nll_loss(torch.tensor([0.0]), torch.tensor([2.0])), 1)
    close(F.gaussian_nll_loss(torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([2.0])),
          0.5 * (math.log(2) + 2))


# Layers.

def test_convolution_by_hand():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    weight = torch.tensor([[[[1.0, 0.0], [0.0, -1.0]]]])
    close(F.conv2d(x, weight), np.full((1, 1, 3, 3), -5))
    close(F.conv2d(x, weight, torch.tensor([5.0]), stride=2), np.zeros((1, 1, 2, 2)))
    assert F.conv2d(x, weight, padding="same").shape == (1, 1, 4, 4)
    close(F.conv1d(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[[1.0, 1.0]]])), [[3, 6]])
    close(F.conv_transpose1d(torch.tensor([[1.0, 2.0]]), torch.tensor([[[1.0, 10.0]]]), stride=2),
          [[1, 10, 2, 20]])


def naive_conv(x, w, stride, padding, dilation):
    """Every product, one after the other."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows, columns = ((x.shape[2 + d] - dilation * (w.shape[2 + d] - 1) - 1) // stride + 1
                     for d in (0, 1))
    found = np.zeros((len(x), len(w), rows, columns))
    for i, j in np.ndindex(rows, columns):
        part = x[:, :, i * stride:, j * stride:][:, :, :dilation * (w.shape[2] - 1) + 1:dilation,
                                                  :dilation * (w.shape[3] - 1) + 1:dilation]
        found[:, :, i, j] = np.einsum("nchw,ochw->no", part, w)
    return found


@pytest.mark.parametrize("channels", [2, 16])  # windows in columns; windows in rows
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 2, 2)])
def test_convolution_against_loops(channels, stride, padding, dilation):
    rng = np.random.default_rng(channels)
    x, w = rng.normal(size=(2, channels, 6, 7)), rng.normal(size=(3, channels, 3, 2))
    found = F.conv2d(torch.tensor(x), torch.tensor(w), stride=stride, padding=padding,
                     dilation=dilation)
    close(found, naive_conv(x, w, stride, padding, dilation), 1e-12)


@pytest.mark.parametrize("channels", [2, 8])
def test_convolution_slopes(channels):
    rng = np.random.default_rng(0)
    x, w = (torch.tensor(rng.normal(size=shape)) for shape in ((1, channels, 4, 3),
                                                               (2, channels, 2, 2)))
    slopes_agree(lambda x: F.conv2d(x, w, padding=1, stride=2) ** 2, x)
    slopes_agree(lambda w: F.conv2d(x, w, padding=1) ** 2, w)
    turned = w.transpose(0, 1)[:2].contiguous() if channels == 2 else w
    slopes_agree(lambda w: F.conv_transpose2d(x[:, :2], w, stride=2, output_padding=1) ** 2,
                 turned[:2])


def test_pooling_by_hand():
    x = torch.arange(16.0).reshape(1, 1, 4, 4).requires_grad_()
    values, places = F.max_pool2d(x, 2, return_indices=True)
    assert values.tolist() == [[[[5, 7], [13, 15]]]] and places.tolist() == values.tolist()
    close(F.avg_pool2d(x, 2), [[[[2.5, 4.5], [10.5, 12.5]]]])
    close(F.adaptive_avg_pool2d(x, 1), [[[[7.5]]]])
    close(F.adaptive_max_pool1d(torch.tensor([[1.0, 5.0, 2.0, 4.0, 3.0]]), 2), [[5, 4]])
    close(F.max_unpool2d(values, places, 2).sum(), 40)
    values.sum().backward()
    assert x.grad.sum() == 4 and x.grad[0, 0, 1, 1] == 1


def test_max_pool_passes_on_nan():
    x = torch.tensor([[[1.0, float("nan"), 3.0, 4.0]]])
    values, places = F.max_pool1d(x, 2, return_indices=True)
    assert torch.isnan(values[0, 0, 0]) and places.tolist() == [[[1, 3]]]


def test_batch_norm_moves_running_statistics():
    x = torch.tensor([[1.0], [3.0]])
    mean, var = torch.zeros(1), torch.ones(1)
    close(F.batch_norm(x, mean, var, training=True, momentum=0.5, eps=1e-12), [[-1], [1]])
    close(mean, [1.0])
    close(var, [1.5])  # half of 1, half of the unbiased variance 2
    close(F.batch_norm(x, mean, var, training=False, eps=0.0), (np.array([[1], [3]]) - 1) /
          math.sqrt(1.5))


@pytest.mark.parametrize("number", range(5))
def test_normalization_slopes(number):
    rng = np.random.default_rng(number)
    x, w, b = (torch.tensor(rng.normal(size=s)) for s in ((3, 4, 2), (4,), (4,)))
    last = torch.tensor(rng.normal(size=(4, 2)))
    functions = [
        lambda x: F.batch_norm(x, None, None, w, b, True),
        lambda x: F.layer_norm(x, (4, 2), last, last),
        lambda x: F.group_norm(x, 2, w, b), lambda x: F.instance_norm(x, weight=w, bias=b),
        lambda x: F.rms_norm(x, (4, 2), last)]
    slopes_agree(functions[number], x)
    if number == 0:
        slopes_agree(lambda w: F.batch_norm(x, None, None, w, b, True), w)


def test_embedding_adds_up_gradients_and_skips_padding():
    weight = leaf([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = F.embedding(torch.tensor([[0, 2], [2, 1]]), weight, padding_idx=1)
    assert found.shape == (2, 2, 2)
    found.sum().backward()
    close(weight.grad, [[1, 1], [0, 0], [2, 2]])
    bags = F.embedding_bag(torch.tensor([0, 1, 2]), weight, torch.tensor([0, 2]), mode="max")
    close(bags, [[3, 4], [5, 6]])


def test_padding_modes():
    x = torch.tensor([[[1.0, 2.0, 3.0]]])
    close(F.pad(x, (1, 2), value=9.0), [[[9, 1, 2, 3, 9, 9]]])
    close(F.pad(x, (-1, 1)), [[[2, 3, 0]]])
    close(F.pad(x, (2, 1), "reflect"), [[[3, 2, 1, 2, 3, 2]]])
    close(F.pad(x, (2, 1), "replicate"), [[[1, 1, 1, 2, 3, 3]]])
    close(F.pad(x, (2, 1), "circular"), [[[2, 3, 1, 2, 3, 1]]])


def test_interpolation_by_hand():
    x = torch.tensor([[[0.0, 2.0]]])
    close(F.interpolate(x, 4), [[[0, 0, 2, 2]]])
    close(F.interpolate(x, 4, mode="linear"), [[[0, 0.5, 1.5, 2]]])
    close(F.interpolate(x, 3, mode="linear", align_corners=True), [[[0, 1, 2]]])
    image = torch.arange(4.0).reshape(1, 1, 2, 2)
    close(F.interpolate(image, scale_factor=2, mode="bicubic").mean(), 1.5)
    close(F.interpolate(image, (1, 1), mode="area"), [[[[1.5]]]])


def test_sampling_a_grid_at_its_own_places_changes_nothing():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    grid = F.affine_grid(torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]), (1, 1, 3, 4),
                         align_corners=False)
    for mode in ("bilinear", "nearest", "bicubic"):
        close(F.grid_sample(x, grid, mode, align_corners=False), x, 1e-5)


def test_shuffles_and_blocks():
    x = torch.arange(16.0).reshape(1, 4, 2, 2)
    wide = F.pixel_shuffle(x, 2)
    assert wide[0, 0, 0].tolist() == [0, 4, 1, 5]
    close(F.pixel_unshuffle(wide, 2), x)
    assert F.channel_shuffle(x, 2)[0, :, 0, 0].tolist() == [0, 8, 4, 12]
    blocks = F.unfold(torch.ones(1, 1, 3, 3), 2)
    assert blocks.shape == (1, 4, 4)
    close(F.fold(blocks, (3, 3), 2), [[[[1, 2, 1], [2, 4, 2], [1, 2, 1]]]])


def test_attention():
    q, k, v = torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.tensor([[[1.0], [3.0]]])
    close(F.scaled_dot_product_attention(q, k, v), [[[2], [2]]])
    close(F.scaled_dot_product_attention(q, k, v, is_causal=True), [[[1], [2]]])
    nowhere = torch.tensor([[False, False], [True, False]])
    close(F.scaled_dot_product_attention(q, k, v, nowhere), [[[0], [1]]])


def test_one_hot_and_distances():
    assert F.one_hot(torch.tensor([0, 2])).tolist() == [[1, 0, 0], [0, 0, 1]]
    close(F.cosine_similarity(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])), [24 / 25])
    close(F.pdist(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])),
          [5, 1, math.sqrt(18)])


def test_shape_only_tensors_keep_their_shapes():
    x = torch.empty(2, 8, 6, 6, device="meta")
    assert F.conv2d(x, torch.empty(4, 8, 3, 3, device="meta")).shape == (2, 4, 4, 4)
    pooled = F.max_pool2d(x, 2)
    assert pooled.shape == (2, 8, 3, 3) and pooled.is_meta
    assert F.gelu(x).is_meta and F.softmax(x, 1).is_meta


def test_half_precision_is_reckoned_in_single():
    x = torch.linspace(-3, 3, 50)
    for function in (F.gelu, F.silu, F.softplus, lambda x: F.softmax(x, 0)):
        half = function(x.half())
        assert half.dtype is torch.float16
        close(half, function(x.half().float()), 1e-3)


# Errors: PyTorch's type and first line.

E = pytest.raises


@pytest.mark.parametrize(("kind", "line", "call"), [
    (IndexError, "Target 5 is out of bounds.",
     lambda: F.nll_loss(torch.zeros(1, 3), torch.tensor([5]))),
    (ValueError, "Expected input batch_size (3) to match target batch_size (2).",
     lambda: F.cross_entropy(torch.zeros(3, 3), torch.tensor([0, 1]))),
    (RuntimeError, "all elements of input should be between 0 and 1",
     lambda: F.binary_cross_entropy(torch.tensor([2.0]), torch.tensor([1.0]))),
    (RuntimeError, "all elements of target should be between 0 and 1",
     lambda: F.binary_cross_entropy(torch.tensor([0.5]), torch.tensor([2.0]))),
    (ValueError, "Using a target size (torch.Size([2])) that is different to the input size "
     "(torch.Size([2, 1])) is deprecated. Please ensure they have the same size.",
     lambda: F.binary_cross_entropy(torch.zeros(2, 1), torch.zeros(2))),
    (RuntimeError, "Given groups=1, weight of size [6, 3, 2, 2], expected input[2, 2, 4, 5] to "
     "have 3 channels, but got 2 channels instead",
     lambda: F.conv2d(torch.zeros(2, 2, 4, 5), torch.zeros(6, 3, 2, 2))),
    (ValueError, "Expected more than 1 value per channel when training, got input size "
     "torch.Size([1, 3])",
     lambda: F.batch_norm(torch.zeros(1, 3), None, None, training=True)),
    (RuntimeError, "Given normalized_shape=[4], expected input with shape [*, 4], but got input "
     "of size[2, 5]", lambda: F.layer_norm(torch.zeros(2, 5), (4,))),
    (IndexError, "index out of range in self",
     lambda: F.embedding(torch.tensor([3]), torch.zeros(3, 2))),
    (RuntimeError, "Given input size: (1x2x2). Calculated output size: (1x0x0). Output size is "
     "too small", lambda: F.max_pool2d(torch.zeros(1, 1, 2, 2), 3)),
    (ValueError, "nope is not a valid value for reduction",
     lambda: F.mse_loss(torch.zeros(1), torch.zeros(1), reduction="nope")),
    (NotImplementedError, "\"softmax_lastdim_kernel_impl\" not implemented for 'Long'",
     lambda: F.softmax(torch.zeros(2, dtype=torch.int64), 0)),
    (TypeError, "gelu(): argument 'input' (position 1) must be Tensor, not list",
     lambda: F.gelu([1.0])),
])
def test_errors(kind, line, call):
    with E(kind) as caught:
        call()
    assert str(caught.value).splitlines()[0] == line
    assert len(str(caught.value).splitlines()) <= 6
