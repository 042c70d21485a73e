"""What all optimizers share: groups, checks, state dicts, hooks, writing in place."""

from __future__ import annotations

import copy
import importlib
import pickle
import warnings

import numpy as np
import pytest

import kkori


def weights(lib, *shapes):
    return [lib.ones(*shape, requires_grad=True) for shape in shapes or ((2,),)]


def with_grads(lib, *shapes):
    params = weights(lib, *shapes)
    for param in params:
        param.grad = lib.ones(*param.shape)
    return params


def outcome(function, lib):
    """What a call gives, raises (type and first line) and warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(lib)
        except Exception as error:
            result = type(error).__name__, str(error).split("\n")[0]
    return result, [(entry.category.__name__, str(entry.message)) for entry in caught]


# -- mistakes: type and first line are PyTorch's -------------------------------------------------


def making(name, *args, **options):
    def run(lib):
        return bool(getattr(lib.optim, name)(weights(lib), *args, **options))

    return run


def adding(make_group, **options):
    def run(lib):
        optimizer = lib.optim.SGD(weights(lib), lr=0.1, **options)
        optimizer.add_param_group(make_group(lib, optimizer))
        return len(optimizer.param_groups)

    return run


def loading(change):
    def run(lib):
        optimizer = lib.optim.Adam(weights(lib))
        state = copy.deepcopy(optimizer.state_dict())
        change(state)
        optimizer.load_state_dict(state)

    return run


def non_leaf(lib):
    lib.optim.SGD([lib.ones(2, requires_grad=True) * 2], lr=0.1)


def named_twice(lib):
    optimizer = lib.optim.SGD([("a", weights(lib)[0])], lr=0.1)
    optimizer.add_param_group({"params": [("b", weights(lib)[0])]})
    names = [group["param_names"] for group in optimizer.param_groups]
    return names, optimizer.state_dict()["param_groups"][0]["param_names"]


def step_capturable(name):
    def run(lib):
        param = with_grads(lib)[0]
        getattr(lib.optim, name)([param], capturable=True).step()

    return run


def bad_pre_hook(lib):
    optimizer = lib.optim.SGD(with_grads(lib), lr=0.1)
    optimizer.register_step_pre_hook(lambda *args: 3)
    try:
        optimizer.step()
    except RuntimeError as error:
        return str(error).split("\n")[0].split("must return")[1]


def own_default_required(lib):
    class Own(lib.optim.Optimizer):
        pass

    module = importlib.import_module(f"{lib.__name__}.optim.optimizer")
    Own(weights(lib), {"rate": module.required})


def own_without_step(lib):
    class Own(lib.optim.Optimizer):
        pass

    Own(weights(lib), {}).step()


def duplicate(lib):
    param = weights(lib)[0]
    return len(lib.optim.SGD([param, param], lr=0.1).param_groups[0]["params"])


MISTAKES = [
    lambda lib: lib.optim.SGD([], lr=0.1),
    lambda lib: lib.optim.SGD(weights(lib)[0], lr=0.1),
    lambda lib: lib.optim.SGD([1, 2], lr=0.1),
    lambda lib: lib.optim.SGD(["a"], lr=0.1),
    lambda lib: lib.optim.SGD([None], lr=0.1),
    lambda lib: lib.optim.SGD([np.ones(2)], lr=0.1),
    lambda lib: lib.optim.SGD([("a", weights(lib)[0]), weights(lib)[0]], lr=0.1),
    lambda lib: lib.optim.SGD([{"params": set(weights(lib))}], lr=0.1),
    lambda lib: lib.optim.SGD([{"parameters": weights(lib)}], lr=0.1),
    non_leaf,
    named_twice,
    duplicate,
    own_default_required,
    own_without_step,
    bad_pre_hook,
    adding(lambda lib, optimizer: 3),
    adding(lambda lib, optimizer: {"params": optimizer.param_groups[0]["params"]}),
    adding(lambda lib, optimizer: {"params": [("x", weights(lib)[0])]}),
    adding(lambda lib, optimizer: {"params": weights(lib)[0], "lr": 5}),
    loading(lambda state: state["param_groups"].append({"params": []})),
    loading(lambda state: state["param_groups"][0]["params"].append(1)),
    *(making(name, lr=-1.0) for name in (
        "SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam",
        "ASGD", "Rprop", "LBFGS", "Adafactor", "Muon")),
    *(making(name, weight_decay=-1.0) for name in (
        "SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD",
        "Adafactor", "Muon")),
    *(making(name, eps=-1.0) for name in (
        "Adam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam")),
    *(making(name, betas=betas) for name in ("Adam", "Adamax", "NAdam", "RAdam")
      for betas in ((1.0, 0.9), (0.9, -0.1))),
    *(step_capturable(name) for name in (
        "Adam", "RMSprop", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop")),
    making("SGD", momentum=-1.0),
    making("SGD", nesterov=True),
    making("SGD", nesterov=True, momentum=0.9, dampening=0.1),
    making("SGD", fused=True, foreach=True),
    making("Adam", fused=True, differentiable=True),
    making("Adam", betas=(0, 0.9)),
    lambda lib: lib.optim.SGD(weights(lib), lr=lib.ones(2)),
    lambda lib: lib.optim.Adam(weights(lib), lr=lib.tensor(0.1), foreach=True),
    lambda lib: lib.optim.Adam(weights(lib), betas=(lib.tensor(0.9), 0.9)),
    making("RMSprop", alpha=-1.0),
    making("RMSprop", momentum=-1.0),
    making("Adagrad", lr_decay=-1.0),
    making("Adagrad", initial_accumulator_value=-1.0),
    making("Adadelta", rho=2.0),
    making("NAdam", momentum_decay=-1.0),
    making("Rprop", etas=(1.5, 1.2)),
    making("Adafactor", beta2_decay=1.0),
    making("Adafactor", eps=(-1.0, 0.1)),
    making("Adafactor", eps=(None, -0.1)),
    making("Adafactor", d=0.5),
    making("Muon"),
    making("Muon", momentum=-1.0),
    making("Muon", adjust_lr_fn="x"),
    lambda lib: lib.optim.LBFGS([{"params": weights(lib)}, {"params": weights(lib)}]),
    lambda lib: lib.optim.LBFGS(with_grads(lib), line_search_fn="x").step(lambda: 1.0),
]


@pytest.mark.oracle
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_as_by_torch(mistake):
    torch = pytest.importorskip("torch")
    assert outcome(mistake, kkori) == outcome(mistake, torch)


def test_a_refused_group_changes_nothing():
    params = weights(kkori)
    optimizer = kkori.optim.SGD(params, lr=0.1)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": params})
    assert len(optimizer.param_groups) == 1


def test_a_refused_state_dict_changes_nothing():
    param = with_grads(kkori)[0]
    optimizer = kkori.optim.Adam([param])
    optimizer.step()
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
    assert optimizer.state[param]["step"] == 1
    assert optimizer.state_dict()["param_groups"] == state["param_groups"]


# -- steps ----------------------------------------------------------------------------------------


def test_parameters_without_gradient_stay():
    moving, resting = weights(kkori, (2,), (3,))
    moving.grad = kkori.ones(2)
    optimizer = kkori.optim.Adam([moving, resting], lr=0.1)
    optimizer.step()
    assert resting.tolist() == [1.0, 1.0, 1.0]
    assert resting not in optimizer.state
    assert moving.tolist() != [1.0, 1.0]


def test_parameters_and_state_keep_their_memory():
    param = with_grads(kkori)[0]
    view = param.detach()
    optimizer = kkori.optim.Adam([param], lr=0.5)
    optimizer.step()
    state = dict(optimizer.state[param])
    address = param.data_ptr()
    optimizer.step()
    assert param.data_ptr() == address
    assert view.tolist() == param.tolist() != [1.0, 1.0]
    assert all(optimizer.state[param][name] is value for name, value in state.items())


def test_a_step_counts_as_a_write():
    """Autograd must notice that what it saved has changed."""
    param = weights(kkori)[0]
    loss = (param * param).sum()
    optimizer = kkori.optim.SGD([param], lr=0.1)
    param.grad = kkori.ones(2)
    before = param._version
    optimizer.step()
    assert param._version == before + 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_first_momentum_is_not_the_gradient_itself():
    param = with_grads(kkori)[0]
    optimizer = kkori.optim.SGD([param], lr=0.1, momentum=0.9)
    optimizer.step()
    param.grad.zero_()
    assert optimizer.state[param]["momentum_buffer"].tolist() == [1.0, 1.0]


def test_a_closure_is_called_with_gradients_on_and_its_value_returned():
    param = weights(kkori)[0]
    optimizer = kkori.optim.SGD([param], lr=0.5)

    def closure():
        assert kkori.is_grad_enabled()
        optimizer.zero_grad()
        loss = (param * param).sum()
        loss.backward()
        return loss

    with kkori.no_grad():
        assert optimizer.step(closure).item() == 2.0
    assert param.tolist() == [0.0, 0.0]
    assert optimizer.step() is None


def test_gradients_are_dropped_or_zeroed():
    param = with_grads(kkori)[0]
    optimizer = kkori.optim.SGD([param], lr=0.1)
    gradient = param.grad
    optimizer.zero_grad(set_to_none=False)
    assert param.grad is gradient
    assert gradient.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert param.grad is None


def test_groups_have_their_own_options():
    first, second = with_grads(kkori, (1,), (1,))
    optimizer = kkori.optim.SGD([{"params": first}, {"params": [second], "lr": 0.25}], lr=0.5)
    optimizer.step()
    assert (first.item(), second.item()) == (0.5, 0.75)
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert (first.item(), second.item()) == (0.25, 0.5)


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), 1, kkori.tensor(0.5)])
def test_rates_may_be_any_kind_of_number(number):
    param = with_grads(kkori)[0]
    optimizer = kkori.optim.SGD([param], lr=number, momentum=0.9)
    optimizer.step()
    optimizer.step()
    assert param.dtype is kkori.float32
    assert optimizer.state[param]["momentum_buffer"].dtype is kkori.float32
    assert param.tolist() == pytest.approx([1 - 2.9 * float(number)] * 2)


def test_transposed_parameters_are_updated_where_they_are():
    param = kkori.ones(200, 150).t().requires_grad_()
    param.grad = kkori.ones(150, 200)
    kkori.optim.SGD([param], lr=0.5, momentum=0.5).step()
    assert param.stride() == (1, 150)
    assert bool((param == 0.5).all())


def test_half_precision_stays_half():
    param = kkori.ones(3, dtype=kkori.bfloat16, requires_grad=True)
    param.grad = kkori.ones(3, dtype=kkori.bfloat16)
    optimizer = kkori.optim.AdamW([param], lr=0.1)
    optimizer.step()
    assert param.dtype is optimizer.state[param]["exp_avg"].dtype is kkori.bfloat16
    assert param.tolist() == pytest.approx([0.9] * 3, abs=0.01)


def test_a_programs_own_optimizer():
    class Plain(kkori.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        @kkori.no_grad()
        def step(self):
            for group in self.param_groups:
                for param in group["params"]:
                    param -= group["lr"] * param.grad

    param = with_grads(kkori)[0]
    optimizer = Plain([param], 0.5)
    calls = []
    optimizer.register_step_post_hook(lambda *args: calls.append(args[0]))
    kkori.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    assert param.tolist() == [0.5, 0.5]
    assert calls == [optimizer]


# -- hooks ----------------------------------------------------------------------------------------


def test_step_hooks_run_in_torchs_order():
    optimizer = kkori.optim.SGD(with_grads(kkori), lr=0.1)
    module = kkori.optim.optimizer
    calls = []

    def note(name):
        return lambda *args: calls.append(name)

    handles = [
        optimizer.register_step_pre_hook(note("pre")),
        optimizer.register_step_post_hook(note("post")),
        module.register_optimizer_step_pre_hook(note("global pre")),
        module.register_optimizer_step_post_hook(note("global post")),
    ]
    optimizer.step()
    assert calls == ["global pre", "pre", "post", "global post"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(calls) == 4


def test_a_pre_hook_may_change_the_arguments():
    optimizer = kkori.optim.SGD(with_grads(kkori), lr=0.1)
    optimizer.register_step_pre_hook(lambda self, args, kwargs: ((self, lambda: 7), {}))
    assert optimizer.step() == 7


def test_state_dict_hooks():
    optimizer = kkori.optim.SGD(weights(kkori), lr=0.1)
    order = []
    optimizer.register_state_dict_pre_hook(lambda self: order.append("save"))
    optimizer.register_state_dict_post_hook(lambda self, state: {**state, "extra": 1})
    optimizer.register_load_state_dict_pre_hook(lambda self, state: order.append("load"))
    optimizer.register_load_state_dict_post_hook(lambda self: order.append("second"))
    optimizer.register_load_state_dict_post_hook(lambda self: order.append("first"), prepend=True)
    state = optimizer.state_dict()
    assert state["extra"] == 1
    optimizer.load_state_dict(state)
    assert order == ["save", "load", "first", "second"]


# -- keeping and moving ---------------------------------------------------------------------------


def test_state_is_cast_to_the_parameters_type():
    source = with_grads(kkori)[0]
    optimizer = kkori.optim.Adam([source])
    optimizer.step()
    target = kkori.ones(2, dtype=kkori.float64, requires_grad=True)
    other = kkori.optim.Adam([target])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[target]["exp_avg"].dtype is kkori.float64
    assert other.state[target]["step"].dtype is kkori.float32


def test_counts_saved_as_numbers_become_tensors():
    param = weights(kkori)[0]
    optimizer = kkori.optim.Adam([param])
    state = {"step": 3, "exp_avg": kkori.zeros(2), "exp_avg_sq": kkori.zeros(2)}
    optimizer.load_state_dict(
        {"state": {0: state}, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    assert optimizer.state[param]["step"].item() == 3.0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_go_on_alone(copied):
    param = with_grads(kkori)[0]
    optimizer = kkori.optim.Adam([param], lr=0.1)
    optimizer.step()
    twin = copied(optimizer)
    twin_param = twin.param_groups[0]["params"][0]
    assert twin.state[twin_param]["step"] == 1
    twin_param.grad = kkori.ones(2)
    twin.step()
    assert twin.state[twin_param]["step"] == 2
    assert optimizer.state[param]["step"] == 1
    assert repr(twin) == repr(optimizer)


def test_repr():
    optimizer = kkori.optim.SGD(weights(kkori), lr=0.1)
    assert repr(optimizer) == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n"
        "    foreach: None\n    fused: None\n    lr: 0.1\n    maximize: False\n    momentum: 0\n"
        "    nesterov: False\n    weight_decay: 0\n)"
    )


def test_gradients_flow_through_a_differentiable_step():
    start = kkori.tensor([1.0, 2.0], requires_grad=True)
    param = start.clone()
    gradient = 2 * start
    param.retain_grad()
    optimizer = kkori.optim.SGD([param], lr=0.25, differentiable=True)
    param.grad = gradient
    optimizer.step()
    param.sum().backward()
    assert start.grad.tolist() == [0.5, 0.5]
