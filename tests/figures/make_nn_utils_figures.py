"""Makes nn_utils.json: what `torch.nn.utils` and `torch.func.functional_call` give.

Run as ``python tests/figures/make_nn_utils_figures.py`` where PyTorch 2.13.0 is installed.
"""

from __future__ import annotations

import copy
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

shared = runpy.run_path(str(Path(__file__).with_name("make_nn_behaviour_figures.py")))
said, warned, numbers = shared["said"], shared["warned"], shared["numbers"]
SCENARIOS: dict[str, Callable[[Any], Any]] = {}


def scenario(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    SCENARIOS[function.__name__] = function
    return function


def drawn(torch: Any, *shape: int) -> Any:
    """Standard normal numbers that depend on the shape only."""
    generator = np.random.RandomState(sum(shape) + len(shape))
    return torch.tensor(generator.standard_normal(shape), dtype=torch.float32)


@scenario
def packing(torch: Any) -> Any:
    rnn = torch.nn.utils.rnn
    sequences = [drawn(torch, length, 2) for length in (2, 4, 3)]
    padded = rnn.pad_sequence(sequences, batch_first=True, padding_value=-1.0)
    packed = rnn.pack_sequence(sequences, enforce_sorted=False)
    back, lengths = rnn.pad_packed_sequence(packed, padding_value=9.0, total_length=5)
    return [
        numbers(padded), list(rnn.pad_sequence(sequences).shape), type(packed).__name__,
        numbers(rnn.pad_sequence(sequences, padding_side="left")), numbers(packed.data),
        packed.batch_sizes.tolist(), packed.sorted_indices.tolist(),
        packed.unsorted_indices.tolist(), numbers(back), lengths.tolist(),
        [numbers(each) for each in rnn.unpack_sequence(packed)], str(packed.double().data.dtype),
        [numbers(each) for each in rnn.unpad_sequence(padded, lengths, batch_first=True)],
        rnn.invert_permutation(torch.tensor([2, 0, 1])).tolist(), packed.is_cuda,
        numbers(rnn.pack_padded_sequence(drawn(torch, 4, 2, 1), [4, 2]).data),
        numbers(rnn.pack_padded_sequence(drawn(torch, 2, 4, 1), torch.tensor([3, 3]), True).data),
    ]


@scenario
def packing_errors(torch: Any) -> Any:
    rnn = torch.nn.utils.rnn
    x = drawn(torch, 4, 2, 1)
    return [
        said(lambda: rnn.pack_padded_sequence(x, [2, 4])),
        said(lambda: rnn.pack_padded_sequence(x, [2])),
        said(lambda: rnn.pack_padded_sequence(x, [2, 0])),
        said(lambda: rnn.pad_packed_sequence(rnn.pack_padded_sequence(x, [4, 2]), total_length=3)),
        said(lambda: rnn.pad_sequence(3)),
    ]


@scenario
def packed_recurrence(torch: Any) -> Any:
    nn, seen = torch.nn, []
    sequences = [drawn(torch, length, 3).requires_grad_() for length in (2, 4, 3)]
    for make in (lambda: nn.LSTM(3, 2, 2, bidirectional=True), lambda: nn.GRU(3, 2),
                 lambda: nn.RNN(3, 2, bidirectional=True, bias=False),
                 lambda: nn.LSTM(3, 4, proj_size=2)):
        torch.manual_seed(5)
        layer = make()
        packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
        output, hidden = layer(packed)
        states = hidden if isinstance(hidden, tuple) else (hidden,)
        (sum((each * torch.arange(each.numel()).reshape(each.shape)).sum() for each in states)
         + (output.data**2).sum()).backward()
        seen += [numbers(output.data), output.sorted_indices.tolist(),
                 *[numbers(each) for each in states],
                 *[numbers(p.grad) for p in layer.parameters()]]
        given = tuple(torch.ones_like(each) for each in states)
        output, hidden = layer(packed, given if len(given) > 1 else given[0])
        seen.append(numbers(output.data))
    return [*seen, *[numbers(each.grad) for each in sequences]]


@scenario
def clipping(torch: Any) -> Any:
    utils = torch.nn.utils

    def parameters() -> list[Any]:
        made = [torch.nn.Parameter(drawn(torch, 2, 3)), torch.nn.Parameter(drawn(torch, 4)),
                torch.nn.Parameter(drawn(torch, 1))]
        for each in made[:2]:
            each.grad = each.detach() * 2
        return made

    seen: list[Any] = []
    for norm, kind in ((1.0, 2.0), (100.0, 2.0), (0.5, 1), (0.5, float("inf")), (1.0, 3.0)):
        given = parameters()
        seen.append([numbers(utils.clip_grad_norm_(given, norm, kind)),
                     *[numbers(each.grad) for each in given[:2]]])
    given = parameters()
    utils.clip_grad_value_(given, 0.5)
    seen += [numbers(each.grad) for each in given[:2]]
    total = utils.get_total_norm([each.grad for each in given[:2]])
    utils.clip_grads_with_norm_(given, 0.1, total)
    seen += [numbers(total), numbers(given[0].grad), numbers(utils.clip_grad_norm_(given[0], 1.0)),
             numbers(utils.clip_grad_norm_([], 1.0)), numbers(utils.get_total_norm([]))]
    given[0].grad[0, 0] = float("nan")
    return [*seen, said(lambda: utils.clip_grad_norm_(given, 1.0, error_if_nonfinite=True)),
            numbers(given[1].grad), warned(lambda: utils.clip_grad_norm_((p for p in ()), 1.0))]


@scenario
def vectors(torch: Any) -> Any:
    model = torch.nn.Linear(2, 2)
    utils = torch.nn.utils
    vector = torch.arange(6.0)
    utils.vector_to_parameters(vector, model.parameters())
    return [numbers(model.weight), numbers(model.bias),
            numbers(utils.parameters_to_vector(model.parameters())),
            said(lambda: utils.vector_to_parameters([1], model.parameters()))]


@scenario
def weight_norms(torch: Any) -> Any:
    nn, utils, seen = torch.nn, torch.nn.utils, []
    for dim in (0, 1, None):
        torch.manual_seed(0)
        layer = utils.weight_norm(nn.Linear(3, 2), dim=dim)
        layer.weight_g.data *= 2
        layer(drawn(torch, 4, 3)).sum().backward()
        seen += [list(layer.state_dict()), numbers(layer.weight), numbers(layer.weight_g.grad),
                 numbers(layer.weight_v.grad), said(lambda layer=layer: utils.weight_norm(layer))]
        utils.remove_weight_norm(layer)
        seen += [list(layer.state_dict()), numbers(layer.weight)]
    torch.manual_seed(0)
    layer = utils.parametrizations.weight_norm(nn.Linear(3, 2))
    layer.parametrizations.weight.original0.data *= 2
    layer(drawn(torch, 4, 3)).sum().backward()
    return [*seen, list(layer.state_dict()), numbers(layer.weight), repr(layer),
            numbers(layer.parametrizations.weight.original1.grad),
            warned(lambda: utils.weight_norm(nn.Linear(1, 1))),
            said(lambda: utils.remove_weight_norm(nn.Linear(1, 1)))]


@scenario
def spectral_norms(torch: Any) -> Any:
    nn, utils, seen = torch.nn, torch.nn.utils, []
    for make in (lambda: nn.Linear(3, 2), lambda: nn.ConvTranspose1d(2, 3, 2)):
        torch.manual_seed(0)
        layer = utils.spectral_norm(make(), n_power_iterations=2)
        x = drawn(torch, 4, 3) if isinstance(layer, nn.Linear) else drawn(torch, 1, 2, 4)
        layer(x).sum().backward()
        seen += [list(layer.state_dict()), numbers(layer.weight), numbers(layer.weight_orig.grad),
                 numbers(layer.weight_u), layer.state_dict()._metadata]
        layer.eval()
        layer(x)
        seen.append(numbers(layer.weight))
        twin = utils.spectral_norm(make())
        seen.append(repr(twin.load_state_dict(layer.state_dict())))
        utils.remove_spectral_norm(layer)
        seen += [list(layer.state_dict()), numbers(layer.weight)]
    torch.manual_seed(0)
    layer = utils.parametrizations.spectral_norm(nn.Linear(3, 2))
    layer(drawn(torch, 4, 3)).sum().backward()
    return [*seen, list(layer.state_dict()), numbers(layer.weight),
            numbers(layer.parametrizations.weight.original.grad),
            said(lambda: utils.remove_spectral_norm(nn.Linear(1, 1)))]


@scenario
def parametrizations(torch: Any) -> Any:
    nn, parametrize = torch.nn, torch.nn.utils.parametrize

    class Symmetric(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, a: Any) -> Any:
            return a.triu()

    class Doubled(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2

    class Wider(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.reshape(-1)

    torch.manual_seed(0)
    layer = nn.Linear(3, 3)
    before = layer.weight
    parametrize.register_parametrization(layer, "weight", Symmetric())
    seen = [repr(layer), type(layer).__name__, list(layer.state_dict()), numbers(layer.weight),
            layer.parametrizations.weight.original is before,
            parametrize.is_parametrized(layer), parametrize.is_parametrized(layer, "bias"),
            parametrize.type_before_parametrizations(layer) is nn.Linear]
    parametrize.register_parametrization(layer, "weight", Doubled())
    seen += [numbers(layer.weight), [name for name, _ in layer.named_parameters()]]
    layer(torch.ones(1, 3)).sum().backward()
    seen.append(numbers(layer.parametrizations.weight.original.grad))
    with parametrize.cached():
        seen.append(layer.weight is layer.weight)
    twin = copy.deepcopy(layer)
    seen += [numbers(twin.weight), said(lambda: setattr(layer, "weight", torch.ones(3, 3)))]
    parametrize.remove_parametrizations(layer, "weight")
    seen += [type(layer).__name__, list(layer.state_dict()), numbers(layer.weight),
             layer.weight is before]
    plain = nn.Linear(2, 2)
    parametrize.register_parametrization(plain, "weight", Symmetric())
    plain.weight = torch.ones(2, 2) * 3
    seen += [numbers(plain.weight),
             said(lambda: parametrize.register_parametrization(plain, "weight", Wider()), True),
             said(lambda: parametrize.register_parametrization(plain, "bias", Wider())),
             said(lambda: parametrize.register_parametrization(plain, "none", Doubled()), True),
             said(lambda: nn.Linear(1, 1).parametrizations)]
    parametrize.remove_parametrizations(plain, "weight", leave_parametrized=False)
    return [*seen, numbers(plain.weight)]


@scenario
def orthogonal_weights(torch: Any) -> Any:
    nn, orthogonal, seen = torch.nn, torch.nn.utils.parametrizations.orthogonal, []
    for shape, how in (((3, 3), None), ((3, 3), "cayley"), ((2, 4), None), ((4, 2), "matrix_exp"),
                       ((4, 2), "householder")):
        torch.manual_seed(0)
        layer = orthogonal(nn.Linear(*shape), orthogonal_map=how)
        weight = layer.weight
        (weight * torch.arange(12.0)[:weight.numel()].reshape(weight.shape)).sum().backward()
        small = weight.mT @ weight if weight.size(0) >= weight.size(1) else weight @ weight.mT
        seen += [list(layer.state_dict()), numbers((small - torch.eye(small.size(0))).abs().max()
                                                   < 1e-5), list(weight.shape),
                 layer.parametrizations.weight.original.grad is not None]
    torch.manual_seed(0)
    plain = orthogonal(nn.Linear(4, 2), orthogonal_map="householder", use_trivialization=False)
    plain.weight = torch.eye(4)[:2]
    return [*seen, numbers(plain.weight), said(lambda: orthogonal(nn.Linear(2, 2), "none")),
            said(lambda: orthogonal(nn.Linear(2, 2), orthogonal_map="odd")),
            said(lambda: orthogonal(nn.Linear(2, 2), "bias")),
            said(lambda: setattr(plain, "weight", torch.ones(3, 3)))]


@scenario
def fusing(torch: Any) -> Any:
    nn, utils = torch.nn, torch.nn.utils
    torch.manual_seed(0)
    conv, norm, linear = nn.Conv1d(2, 3, 2, bias=False), nn.BatchNorm1d(3), nn.Linear(2, 3)
    norm(drawn(torch, 4, 3, 5) * 2 + 1)
    for each in (conv, norm, linear):
        each.eval()
    x, flat = drawn(torch, 1, 2, 5), drawn(torch, 4, 2)
    fused, fused_linear = utils.fuse_conv_bn_eval(conv, norm), utils.fuse_linear_bn_eval(
        linear, norm)
    return [numbers(fused(x)), numbers(norm(conv(x))), numbers(fused_linear(flat)),
            numbers(norm(linear(flat))), said(lambda: utils.fuse_conv_bn_eval(conv.train(), norm))]


@scenario
def skipping_init(torch: Any) -> Any:
    torch.manual_seed(0)
    layer = torch.nn.utils.skip_init(torch.nn.Linear, 3, 2)
    return [repr(layer), list(layer.weight.shape), str(layer.weight.device),
            float(torch.rand(1)), said(lambda: torch.nn.utils.skip_init(torch.nn.ReLU)),
            said(lambda: torch.nn.utils.skip_init(dict).__name__)]


@scenario
def functional_calls(torch: Any) -> Any:
    nn, call = torch.nn, torch.func.functional_call
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.tied = nn.Identity()
    model.tied.weight = model[0].weight
    x = drawn(torch, 3, 2)
    before = numbers(model[0].weight)
    weight = torch.ones(2, 2, requires_grad=True)
    given = {"0.weight": weight, "1.running_mean": torch.ones(2)}
    output = call(model, given, (x,))
    (output**2).sum().backward()
    return [numbers(output), numbers(weight.grad), numbers(model[0].weight) == before,
            numbers(model[1].running_mean), numbers(given["1.running_mean"]),
            said(lambda: call(model, {"odd": weight}, x)),
            said(lambda: call(model, {"odd": weight}, x, strict=True), True)[:40],
            said(lambda: call(model, {"0.weight": weight, "tied.weight": weight * 2}, x)),
            numbers(call(nn.Linear(2, 1), [{"weight": torch.ones(1, 2)}, {"bias": torch.ones(1)}],
                         (x,))),
            said(lambda: call(model, [{"a": x}, {"a": x}], x)),
            numbers(model[0].weight) == before]


@scenario
def functions_of_functions(torch: Any) -> Any:
    func, x = torch.func, torch.tensor([1.0, 2.0, 3.0])
    stacked = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    torch.manual_seed(0)
    models = [torch.nn.Linear(3, 1) for _ in range(2)]
    parameters, _ = func.stack_module_state(models)

    def loss(given: Any, row: Any) -> Any:
        return (func.functional_call(models[0], given, (row,)) ** 2).sum()

    rows = drawn(torch, 4, 3)
    each = func.vmap(func.grad(loss), in_dims=(None, 0))(
        {name: p.detach() for name, p in models[0].named_parameters()}, rows)
    pulled = func.vjp(lambda x: x * 2, x)[1](x)
    pushed = func.jvp(lambda x: x**2, (x,), (x,))
    many = func.grad(lambda p, y: p["a"] * p["b"] * y)(stacked, torch.tensor(5.0))
    return [numbers(func.grad(lambda x: (x**3).sum())(x)),
            numbers(func.grad(func.grad(lambda x: x**3))(torch.tensor(2.0))),
            numbers(func.jacrev(lambda x: x**2)(x)), numbers(func.jacfwd(lambda x: x**2)(x)),
            numbers(func.hessian(lambda x: (x**3).sum())(x)), [numbers(p) for p in pulled],
            [numbers(p) for p in pushed], {name: numbers(value) for name, value in many.items()},
            numbers(func.vmap(torch.dot, in_dims=(0, None))(torch.ones(2, 3), x)),
            {name: numbers(value) for name, value in each.items()},
            list(parameters["weight"].shape), func.grad(torch.sin)(x[0]).requires_grad,
            list(func.vmap(lambda x: (x, x * 2), out_dims=(0, 1))(torch.ones(2, 3))[1].shape),
            said(lambda: func.grad(lambda x: x * 2)(x)), said(lambda: func.grad(lambda x: 3)(x)),
            said(lambda: func.grad(torch.sin, argnums=2)(x)),
            said(lambda: func.vmap(lambda x: x)(torch.tensor(3.0))),
            said(lambda: func.vmap(torch.add)(x, torch.ones(2))),
            said(lambda: func.vmap(lambda x: 3)(x))]


@scenario
def prefixes(torch: Any) -> Any:
    state = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.Linear(1, 1))).state_dict()
    seen = [list(state), sorted(state._metadata)]
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    return [*seen, list(state), sorted(state._metadata), torch.nn.modules.utils._pair(3),
            torch.nn.modules.utils._ntuple(3)((1, 2, 3)),
            isinstance(torch.nn.BatchNorm2d(2), torch.nn.modules.batchnorm._BatchNorm),
            isinstance(torch.nn.Conv2d(1, 1, 1), torch.nn.modules.conv._ConvNd),
            issubclass(torch.nn.MSELoss, torch.nn.modules.loss._Loss),
            torch.nn.modules.Linear is torch.nn.Linear]


@scenario
def masks(torch: Any) -> Any:
    nn, seen = torch.nn, []
    x = drawn(torch, 2, 4, 6)
    padding = torch.tensor([[False, False, False, True], [False, False, True, True]])
    causal = nn.Transformer.generate_square_subsequent_mask(4)
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 2, batch_first=True)
    for options in ({"key_padding_mask": padding}, {"attn_mask": causal}, {"need_weights": False},
                    {"attn_mask": causal, "is_causal": True, "need_weights": False},
                    {"average_attn_weights": False}, {"attn_mask": causal.isinf()}):
        output, weights = attention(x, x, x, **options)
        seen += [numbers(output), None if weights is None else numbers(weights)]
    layer = nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(6))
    seen += [numbers(encoder(x, mask=causal)), numbers(encoder(x, src_key_padding_mask=padding))]
    encoder.eval()
    with torch.no_grad():
        seen += [numbers(encoder(x)), numbers(encoder(x, mask=causal)),
                 numbers(encoder(x, src_key_padding_mask=padding))]
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8, 0.0, nn.GELU(),
                                                               batch_first=True), 1)
    seen.append(numbers(decoder(x, x, tgt_mask=causal, memory_key_padding_mask=padding)))
    return [*seen, numbers(causal[0]),
            warned(lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8), 1)),
            warned(lambda: attention(x, x, x, key_padding_mask=padding, attn_mask=causal))]


@scenario
def adaptive_softmax(torch: Any) -> Any:
    torch.manual_seed(0)
    layer = torch.nn.AdaptiveLogSoftmaxWithLoss(4, 9, [2, 5], div_value=2.0, head_bias=True)
    x = drawn(torch, 6, 4) * 3
    output, loss = layer(x[0], torch.tensor(3))
    return [numbers(layer.log_prob(x)), layer.predict(x).tolist(), numbers(output), numbers(loss),
            layer.predict(x[:1]).tolist()]


def figures(torch: Any) -> dict[str, Any]:
    """Everything in nn_utils.json."""
    import warnings
    found = {}
    for name, run in SCENARIOS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = json.loads(json.dumps(run(torch)))
    return found


if __name__ == "__main__":
    import torch

    place = Path(__file__).with_name("nn_utils.json")
    place.write_text(json.dumps(figures(torch)) + "\n")
