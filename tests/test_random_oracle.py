"""5,000 random draws in random order, side by side with PyTorch: values, types and states."""

from __future__ import annotations

import random

import numpy as np
import pytest

import kkori

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

DRAWS = 5000
FLOATS = ("float32", "float64", "float16", "bfloat16")
WHOLE = ("uint8", "int8", "int16", "int32", "int64")
LENGTHS = (0, 1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 100, 257)


def shape_of(dice):
    kind = dice.random()
    if kind < 0.1:
        return ()
    if kind < 0.7:
        return (dice.choice(LENGTHS),)
    if kind < 0.72:
        return (dice.randrange(8000, 20000),)
    return tuple(dice.choice((1, 2, 3, 5, 8)) for _ in range(dice.randrange(2, 5)))


def fill(name, dtypes, *arguments):
    """Draws that fill an existing tensor, contiguous or not."""
    def draw(dice):
        shape, dtype = shape_of(dice), dice.choice(dtypes)
        args = [argument(dice) for argument in arguments]
        view = dice.choice(("plain", "plain", "transposed", "every second", "permuted"))

        def run(library, source):
            tensor = laid_out(library, shape, getattr(library, dtype), view)
            return getattr(tensor, name)(*args, generator=source)
        return run, f"{name}{args} {dtype} {shape} {view}"
    return draw


def laid_out(library, shape, dtype, view):
    if view == "every second" and shape:
        return library.zeros(*shape[:-1], 2 * shape[-1], dtype=dtype)[..., ::2]
    if view == "transposed" and len(shape) > 1:
        return library.zeros(*shape[::-1], dtype=dtype).transpose(0, len(shape) - 1)
    if view == "permuted" and len(shape) > 2:
        order = tuple(range(1, len(shape))) + (0,)
        return library.zeros(*shape, dtype=dtype).permute(*order)
    return library.zeros(shape, dtype=dtype)


def new(name, make, dtypes=(None,)):
    """Draws that make a new tensor; `make(dice, shape)` gives arguments, arrays among them."""
    def draw(dice):
        args, dtype = make(dice, shape_of(dice)), dice.choice(dtypes)

        def run(library, source):
            options = {"dtype": getattr(library, dtype)} if dtype else {}
            if name not in DEFAULT_STREAM_ONLY:
                options["generator"] = source
            given = [library.tensor(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
            return getattr(library, name)(*given, **options)
        return run, f"{name} {dtype} " + ", ".join(
            str(arg.shape) if isinstance(arg, np.ndarray) else str(arg) for arg in args)
    return draw


DEFAULT_STREAM_ONLY = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")


def numbers(low, high, kinds=("float32", "float64")):
    def make(dice, shape):
        drawn = np.random.default_rng(dice.randrange(2**32)).uniform(low, high, shape)
        return np.array(drawn, dice.choice(kinds))
    return make


def between(low, high):
    return lambda dice: dice.uniform(low, high)


def weights(dice, _):
    shape = dice.choice([(3,), (20,), (4, 6), (2, 50)])
    return numbers(0.01, 1)(dice, shape)


def small(shape):
    return shape if np.prod(shape) < 300 else (300,)


def counts_and_chances(dice, shape):
    kind = [dice.choice(("float32", "float64"))]
    most = dice.choice((5, 100, 1e5))
    return [np.asarray(np.floor(numbers(0, most, kind)(dice, small(shape)))),
            numbers(0, 1, kind)(dice, small(shape))]


def dropout_of(least):
    return lambda dice, shape: [numbers(-1, 1)(dice, shape if len(shape) >= least else (4, 6, 3)),
                                dice.random(), True]


TABLE = [
    fill("uniform_", FLOATS), fill("uniform_", FLOATS, between(-3, 0), between(0, 5)),
    fill("normal_", FLOATS), fill("normal_", FLOATS, between(-3, 3), between(0, 5)),
    fill("exponential_", FLOATS, between(0.1, 5)), fill("cauchy_", FLOATS, between(-3, 3)),
    fill("log_normal_", FLOATS, between(-1, 1), between(0.1, 1)),
    fill("geometric_", FLOATS + WHOLE[2:], between(0.1, 0.9)),
    fill("bernoulli_", (*FLOATS, *WHOLE, "bool"), between(0, 1)),
    fill("random_", (*FLOATS, *WHOLE, "bool")),
    fill("random_", FLOATS + WHOLE, lambda dice: dice.randrange(1, 100)),
    fill("random_", ("int32", "int64", "float64"), lambda dice: -dice.randrange(2**30),
         lambda dice: dice.randrange(1, 2**31)),
    fill("random_", ("int64",), lambda dice: -dice.randrange(2**62),
         lambda dice: dice.randrange(1, 2**63)),
    new("rand", lambda dice, shape: [shape], FLOATS), new("randn", lambda dice, shape: [shape]),
    new("randn", lambda dice, shape: [shape], (*FLOATS, "complex64")),
    new("randint", lambda dice, shape: [-5, dice.randrange(1, 2**40), shape]),
    new("randint", lambda dice, shape: [dice.randrange(1, 120), shape], FLOATS + WHOLE),
    new("randperm", lambda dice, shape: [int(np.prod(shape)) % 300]),
    new("randperm", lambda dice, shape: [dice.randrange(100)], WHOLE + FLOATS),
    new("rand_like", lambda dice, shape: [numbers(0, 1)(dice, shape)]),
    new("randn_like", lambda dice, shape: [numbers(0, 1)(dice, shape)]),
    new("bernoulli", lambda dice, shape: [numbers(0, 1)(dice, shape)]),
    new("normal", lambda dice, shape: [numbers(-5, 5)(dice, shape), dice.uniform(0, 3)]),
    new("normal", lambda dice, shape: [numbers(-5, 5)(dice, shape), numbers(0, 5)(dice, shape)]),
    new("normal", lambda dice, shape: [dice.uniform(-5, 5), numbers(0, 5)(dice, shape)]),
    new("normal", lambda dice, shape: [dice.uniform(-5, 5), dice.random(), shape], FLOATS),
    new("multinomial", lambda dice, shape: [weights(dice, shape), dice.randrange(1, 4)]),
    new("multinomial", lambda dice, shape: [weights(dice, shape), dice.randrange(1, 40), True]),
    new("poisson", lambda dice, shape: [numbers(0, dice.choice((3, 30, 1e4)))(dice, small(shape))]),
    new("binomial", counts_and_chances),
    new("_standard_gamma",
        lambda dice, shape: [numbers(0, dice.choice((2, 50)))(dice, small(shape))]),
    new("dropout", dropout_of(0)), new("alpha_dropout", dropout_of(0)),
    new("feature_dropout", dropout_of(2)), new("feature_alpha_dropout", dropout_of(2)),
    new("rrelu", lambda dice, shape: [numbers(-1, 1)(dice, shape), 0.1, 0.4, True]),
]


def as_numpy(tensor):
    if tensor.dtype in (torch.bfloat16, kkori.bfloat16):
        tensor = tensor.float()
    return tensor.numpy()


def steps_apart(ours, theirs):
    """The largest distance of two equally shaped arrays, in the last place of their type."""
    if ours.dtype.kind == "c":
        return max(steps_apart(ours.real, theirs.real), steps_apart(ours.imag, theirs.imag))
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs)) if ours.dtype.kind == "f" else (
        ours == theirs)
    if same.all():
        return 0
    if ours.dtype.kind != "f":
        return np.inf
    with np.errstate(all="ignore"):
        distance = np.abs(ours - theirs) / np.abs(np.spacing(theirs))
    return float(np.where(same, 0, distance).max())


def same_state(ours, theirs):
    return np.array_equal(ours.get_state().numpy(), theirs.get_state().numpy())


def test_draws_in_random_order_are_pytorchs():
    dice = random.Random(2013)
    pairs = [(kkori.default_generator, torch.default_generator)]
    pairs += [(kkori.Generator(), torch.Generator()) for _ in range(2)]
    saved, exact = [], 0
    for number in range(DRAWS):
        if number % 50 == 0:
            seed = dice.randrange(-2**63, 2**64)
            for ours, theirs in pairs:
                ours.manual_seed(seed)
                theirs.manual_seed(seed)
        ours, theirs = pairs[0] if dice.random() < 0.5 else dice.choice(pairs)
        draw, label = dice.choice(TABLE)(dice)
        if label.split()[0] in DEFAULT_STREAM_ONLY:
            ours, theirs = pairs[0]
        got, expected = draw(kkori, ours), draw(torch, theirs)
        assert str(got.dtype) == str(expected.dtype), label
        assert tuple(got.stride()) == tuple(expected.stride()) or expected.numel() < 2, label
        got, expected = as_numpy(got), as_numpy(expected)
        assert got.shape == expected.shape, label
        apart = steps_apart(got, expected)
        assert apart <= 1, f"draw {number}: {label}: {apart} last places apart"
        exact += apart == 0
        if number % 7 == 0:
            assert same_state(ours, theirs), f"draw {number}: state after {label}"
            saved.append((ours.get_state(), theirs.get_state()))
        if saved and number % 31 == 0:
            mine, other = saved.pop(dice.randrange(len(saved)))
            ours.set_state(mine)
            theirs.set_state(other)
    assert exact >= 0.99 * DRAWS


def test_states_cross_over():
    """A state saved by one library continues in the other."""
    theirs, ours = torch.Generator().manual_seed(1), kkori.Generator()
    torch.randn(7, generator=theirs)
    ours.set_state(kkori.from_numpy(theirs.get_state().numpy()))
    for _ in range(3):
        assert np.array_equal(kkori.randn(701, generator=ours).numpy(),
                              torch.randn(701, generator=theirs).numpy())
        theirs.set_state(torch.from_numpy(ours.get_state().numpy()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_million_normal_numbers(dtype):
    """Every branch of the polynomials, whatever the numbers: bit for bit."""
    ours, theirs = kkori.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    got = kkori.randn(1_000_003, dtype=getattr(kkori, dtype), generator=ours).numpy()
    expected = torch.randn(1_000_003, dtype=getattr(torch, dtype), generator=theirs).numpy()
    assert steps_apart(got, expected) <= 1
    assert (got == expected).mean() > 0.999


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gamma_numbers_move_with_their_shape(dtype):
    dice = np.random.default_rng(3)
    shapes = np.concatenate([10 ** dice.uniform(-3, 3, 4000), dice.uniform(0.1, 20, 1000)])
    results = []
    for library in (kkori, torch):
        library.manual_seed(4)
        shape = library.tensor(shapes.astype(dtype)).requires_grad_()
        drawn = library._standard_gamma(shape)
        drawn.sum().backward()
        results.append((drawn.detach().numpy(), shape.grad.numpy()))
    assert np.array_equal(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6)


WITHOUT_DERIVATIVE = ["binomial(x, x / 2)", "bernoulli(x, 0.5)", "_sample_dirichlet(x)"]


@pytest.mark.parametrize("call", WITHOUT_DERIVATIVE)
def test_what_has_no_derivative_says_so(call):
    found = []
    for library in (kkori, torch):
        x = library.ones(3, requires_grad=True)
        result = eval(f"library.{call}", {"library": library, "x": x})
        with pytest.raises(RuntimeError) as caught:
            result.sum().backward()
        found.append(str(caught.value).split("\n")[0])
    assert found[0] == found[1]


@pytest.mark.parametrize("call", ["bernoulli(x)", "poisson(x)", "normal(x, x)", "normal(x, 2.0)",
                                  "normal(2.0, x)"])
def test_what_has_a_zero_derivative_has_pytorchs_node(call):
    found = []
    for library in (kkori, torch):
        x = library.full((3,), 0.5, requires_grad=True)
        result = eval(f"library.{call}", {"library": library, "x": x})
        result.sum().backward()
        found.append((result.grad_fn.name(), x.grad.tolist()))
    assert found[0] == found[1]


WRONG = [  # calls that both libraries refuse: the type of the error and its first line are equal
    "ones(3, dtype=lib.int64).uniform_()", "ones(3).uniform_(2, 1)", "ones(3).uniform_('a')",
    "ones(3).uniform_(0, 1, 2)", "ones(3).uniform_(0, 1, generator=3)", "ones(3).uniform_(a=0)",
    "ones(3).uniform_(0, float('inf'))", "ones(3).uniform_(-3e38, 3e38)",
    "ones(3).normal_(0, -1)", "ones(3, dtype=lib.int64).normal_()", "ones(3).normal_(ones(3), 1)",
    "ones(3).random_(3, 3)", "ones(3).random_(1.5)", "ones(3, dtype=lib.uint8).random_(0, 257)",
    "ones(3, dtype=lib.float16).random_(0, 70000)", "ones(3, dtype=lib.bool).random_(0, 3)",
    "ones(3, dtype=lib.int32).random_(-2**63, None)", "ones(3).random_(2**64)",
    "ones(3).exponential_(0)", "ones(3, dtype=lib.int64).exponential_()",
    "ones(3).geometric_(0)", "ones(3).geometric_()", "ones(3, dtype=lib.bool).geometric_(0.5)",
    "ones(3).cauchy_(0, 0)", "ones(3, dtype=lib.int64).cauchy_()", "ones(3).log_normal_(0, 0)",
    "ones(3).bernoulli_(2)", "ones(3).bernoulli_(ones(3) * 2)", "ones(3).bernoulli_(ones(4))",
    "ones(3).bernoulli_(ones(3, dtype=lib.int64))", "ones(3).bernoulli_('a')",
    "lib.bernoulli(0.5)", "lib.bernoulli(ones(3), p=2.0)", "lib.bernoulli()",
    "lib.rand()", "lib.rand('a')", "lib.rand(2.0)", "lib.rand(-1)", "lib.rand(2, dtype=lib.int64)",
    "lib.rand(2, generator=3)", "lib.rand(2, foo=1)", "lib.rand([2, 'a'])", "lib.rand(2, None)",
    "lib.rand(2, out=ones(3).double(), dtype=lib.float32)", "lib.rand(2, device='cuda')",
    "lib.randn(2, dtype=lib.bool)", "lib.randn(size=2)", "lib.randint(3, 3, (2,))",
    "lib.randint(3, 2)", "lib.randint(3)", "lib.randint(0.0, 3.0, (2,))",
    "lib.randint(0, 300, (2,), dtype=lib.uint8)", "lib.randint(0, 3, (2,), requires_grad=True)",
    "lib.randint(0, 2**63, (2,))", "lib.randperm(-1)", "lib.randperm(3.0)",
    "lib.randperm(300, dtype=lib.uint8)", "lib.randperm(3000, dtype=lib.float16)",
    "lib.randperm(3, dtype=lib.bool)", "lib.rand_like(3)", "lib.rand_like(ones(3).long())",
    "lib.normal(0.0, 1.0)", "lib.normal(ones(3), ones(2))", "lib.normal(ones(3), -1.0)",
    "lib.normal(ones(3), -ones(3))", "lib.normal(ones(3).long(), 1.0)",
    "lib.normal(ones(3, requires_grad=True), 1.0, out=ones(3))",
    "lib.multinomial(ones(3), 0)", "lib.multinomial(ones(3), 4)", "lib.multinomial(-ones(3), 1)",
    "lib.multinomial(ones(3, 2, 2), 1)", "lib.multinomial(ones(3).long(), 1)",
    "lib.multinomial(ones(3) * 0, 1)", "lib.multinomial(ones(3) * 0, 2, True)",
    "lib.multinomial(-ones(3), 2, True)", "lib.multinomial(ones(3).fill_(float('inf')), 2, True)",
    "lib.multinomial(ones(3), 1.0)", "lib.multinomial(ones(3))",
    "lib.multinomial(ones(3), 2, out=ones(3))", "lib.poisson(-ones(3))",
    "lib.poisson(ones(3).long())", "lib.binomial(ones(3), ones(2))",
    "lib.binomial(ones(3), ones(3).double())", "lib.dropout(ones(3), 2.0, True)",
    "lib.dropout(ones(3), 0.5)", "lib.dropout(ones(3).long(), 0.5, True)",
    "lib.feature_dropout(ones(3), 0.5, True)", "lib.rrelu(ones(3), 0.3, 0.1, True)",
    "lib.manual_seed(2**64)", "lib.manual_seed('x')", "lib.Generator().manual_seed(1.5)",
    "lib.Generator().set_state(3)", "lib.set_rng_state(ones(3))",
    "lib.Generator().set_state(ones(3, dtype=lib.uint8))", "lib.Generator('meta')",
    "lib.Generator('cuda')", "lib.Generator(3)",
    "ones(3).expand(2, 3).normal_()", "ones(3, requires_grad=True).normal_()",
]


def refusal(call, library):
    with pytest.raises(Exception) as caught:
        eval(call, {"lib": library, "ones": library.ones})
    return type(caught.value), str(caught.value).split("\n")[0]


@pytest.mark.parametrize("call", WRONG)
def test_mistakes_are_told_in_pytorchs_words(call):
    assert refusal(call, kkori) == refusal(call, torch)
