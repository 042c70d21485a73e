"""What `kkori.explain()` says: each kind of line appears for a program that causes it."""

from __future__ import annotations

import gc
from weakref import WeakSet

import pytest
from loops import data, model, training
from watch import forget_rounds

import kkori as torch
from kkori import nn
from kkori.run import hot, loops

pytest.importorskip("llvmlite")
HERE = __file__.rsplit("/", 1)[-1]


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    before = hot.enabled()
    monkeypatch.setattr(loops, "tapes", WeakSet())  # without loops of other tests
    monkeypatch.setitem(loops._state, "caution", 1)
    hot.set_enabled(True)
    forget_rounds()
    yield
    hot.set_enabled(before)
    forget_rounds()


def train(rounds=14, before=None, after=None, make=torch.optim.SGD, out=None, at=(10,)):
    """A loop that does something else in some of its rounds; the optimizer, which keeps it."""
    net, opt, loss_of, x, y = training(make)
    for k in range(rounds):
        found = net(x) if out is None else out(net(x))
        loss = loss_of(found, y)
        if before and k in at:
            before(net, found, loss)
        loss.backward()
        if after and k in at:
            after(net, opt)
        opt.step()
        opt.zero_grad()
    return opt


def the_loop():
    """What is said of the only loop that ends with a step: as data, and as text."""
    found = torch.explain()
    (loop,) = [loop for loop in found.loops if loop["anchor"] != "backward()"]
    return loop, str(found)


def test_before_any_loop():
    assert "no loop has come by" in str(torch.explain())
    assert str(torch.explain()).startswith("recording is on")
    with torch.eager():
        assert str(torch.explain()).startswith("recording is off")


def test_a_loop_that_is_replayed():
    opt = train(make=torch.optim.Adam)
    loop, text = the_loop()
    assert opt is not None
    assert loop["anchor"] == "Adam.step()"
    assert loop["line"][0] == __file__
    assert loop["line"][2] == "opt.step()"
    assert loop["rounds"] == 14
    assert loop["replayed"] >= 9
    assert loop["why"] is None
    assert loop["exits"] == []
    assert f"rounds end with Adam.step(), {HERE}:{loop['line'][1]}  opt.step()" in text
    assert f"14 rounds, {loop['replayed']} of them replayed as compiled code; 1 recorded" in text


def test_its_traces_and_programs():
    opt = train()
    loop, text = the_loop()
    assert opt is not None
    (trace,) = loop["traces"]
    assert trace["operations"] == 6  # t, addmm, relu, t, addmm, mse_loss
    assert trace["gradient operations"] > 6
    assert sum(program["rounds"] for program in trace["programs"]) == loop["replayed"]
    assert all(1 <= program["nests"] <= 4 and program["ms"] > 0 for program in trace["programs"])
    assert f"trace of 6 operations and {trace['gradient operations']} of gradients" in text
    assert f"program of {trace['programs'][0]['nests']} loop nest" in text


def test_a_branch_is_another_trace():
    opt = scaled_rounds([(2.0, 20 if k % 3 else 1) for k in range(40)])
    loop, text = the_loop()
    assert opt is not None
    assert loop["branches"] == len(loop["traces"]) == 2
    assert loop["recorded"] == 2
    assert loop["operations"] == [10, 10]
    assert text.count("  trace of 10 operations and ") == 2


keep = []


def softplus(net, found, loss):
    keep.append(nn.functional.softplus(found))


def in_place(net, found, loss):
    with torch.no_grad():
        net[0].weight.mul_(0.5)


def scaled(net, opt):
    opt.param_groups[0]["lr"] *= 0.5
    opt.param_groups[0]["nesterov"] = opt.param_groups[0]["momentum"] = 0.5


GUARDS = {
    "softplus, where backward() was recorded": {"before": softplus},
    "item needs, or may change, what is promised": {"before": lambda net, out, loss: loss.item()},
    "this line needs, or may change, what is promised": {"before": in_place},
    "backward() with other options, hooks or gradients than were recorded":
        {"before": lambda net, out, loss: loss.backward(retain_graph=True)},
    "step(): the optimizer's options, state or gradients are not as they were recorded":
        {"after": scaled},
}


@pytest.mark.parametrize("guard", GUARDS)
def test_side_exits_have_the_guard_that_failed(guard):
    opt = train(**GUARDS[guard])
    loop, text = the_loop()
    assert opt is not None
    (one, *others) = [one for one in loop["exits"] if one["guard"] == guard]
    assert not others
    assert one["line"][0] == __file__
    assert f"side exit, {one['times']} times: {guard}\n    {HERE}:{one['line'][1]}  " in text


def scaled_rounds(numbers):
    """The same loop with ``out * number`` and a weight of some rows."""
    x, y = data()
    net = model()
    opt = torch.optim.SGD(net.parameters(), lr=0.05)
    for number, rows in numbers:
        weight = torch.ones(rows, 1)
        ((net(x) * number - y) * weight).square().mean().backward()
        opt.step()
        opt.zero_grad()
    return opt


@pytest.mark.parametrize(("last", "guard"), [
    ((3.0, 20), "mul: argument 2 is 3.0, recorded was 2.0"),
    ((2.0, 1), "mul: argument 2 is float32 of shape (1, 1), recorded was float32 of shape "
               "(20, 1)")])
def test_which_argument_was_not_as_recorded(last, guard):
    opt = scaled_rounds([(2.0, 20)] * 10 + [last])
    loop, text = the_loop()
    assert opt is not None
    assert [one["guard"] for one in loop["exits"]] == [guard]
    assert guard in text


def test_a_value_that_is_looked_at_every_round():
    opt = train(before=lambda net, out, loss: loss.item(), at=range(14))
    loop, text = the_loop()
    assert opt is not None
    assert loop["looks"] >= 4
    assert f"looked at in mid-round, without leaving it: {loop['looks']} times" in text


def no_rule(out):
    return torch.logcumsumexp(out, 0)


def test_why_rounds_run_operation_by_operation():
    opt = train(out=no_rule)
    loop, text = the_loop()
    assert opt is not None
    assert loop["replayed"] == 0
    why = loop["why"]
    assert why["reason"] == loop["given up"]
    assert why["operation"]
    assert why["line"][0] == __file__
    assert f"rounds run operation by operation: {why['reason']}" in text
    assert f"    {HERE}:{why['line'][1]}  {why['line'][2]}" in text


def test_the_operation_that_cannot_be_compiled(monkeypatch):
    from kkori.run import record
    monkeypatch.setattr(record, "compilable", lambda name: name != "tanh")
    opt = train(out=torch.tanh)
    loop, text = the_loop()
    assert opt is not None
    assert loop["why"]["operation"] == "tanh"
    assert loop["why"]["line"][2].startswith("found = net(x)")
    assert "rounds run operation by operation: tanh has no loop rule yet\n" in text


def test_rounds_that_the_compiler_has_no_form_for(monkeypatch):
    from kkori.run.trace import Trace, Unbuildable

    def refuse(self, outputs):
        raise Unbuildable("the compiler has no form for this round yet")

    monkeypatch.setattr(Trace, "build", refuse)
    opt = train()
    loop, text = the_loop()
    assert opt is not None
    assert "rounds run operation by operation: the compiler has no form for this round" in text
    assert loop["rounds"] == 14


def test_rounds_that_are_never_alike(monkeypatch):
    monkeypatch.setattr(loops, "PATIENCE", 5)
    monkeypatch.setattr(loops, "RECORDINGS", 3)
    x, y = data(90)
    net = model()
    opt = torch.optim.SGD(net.parameters(), lr=0.01)
    for rows in range(3, 80):
        nn.functional.mse_loss(net(x[:rows]), y[:rows]).backward()
        opt.step()
        opt.zero_grad()
    loop, text = the_loop()
    assert loop["given up"] == loops.NOT_ALIKE
    assert f"rounds run operation by operation: {loops.NOT_ALIKE}" in text


def test_rounds_that_end_with_backward():
    w = torch.ones(3, requires_grad=True)
    for _ in range(40):
        (w * w).sum().backward()
        w.data = w.data - 0.1 * w.grad
        w.grad = None
    found = torch.explain()
    (loop,) = found.loops
    assert loop["anchor"] == "backward()"
    assert loop["replayed"] >= 20
    assert f"rounds end with backward(), {HERE}:{loop['line'][1]}  (w * w).sum().backward()" in (
        str(found))
    assert "operations and" in str(found)


def test_counts_of_the_compiler():
    opt = train()
    machine = torch.explain().machine
    assert opt is not None
    assert machine["loads"] >= 1
    assert machine["compiles"] + machine["disk_hits"] >= 1
    assert f"machine code: {machine['compiles']:.0f} made in {machine['compile_ms']:.0f} ms, " in (
        str(torch.explain()))


def test_a_loop_behind_a_short_one_is_watched_a_little_later(monkeypatch):
    monkeypatch.setattr(loops, "PATIENCE", 5)  # as programs have it
    monkeypatch.setattr(loops, "MOST_CAUTION", 8)
    train(8)
    gc.collect()
    assert loops._state["caution"] == 2
    opt = train(40)
    found = [loop for loop in torch.explain().loops if loop["rounds"] == 40]
    assert opt is not None
    assert found[0]["replayed"] >= 20


def test_functions_of_the_users_own_are_named():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    w = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.01)
    for _ in range(20):
        Double.apply(w * 1).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    why = [loop["why"] for loop in torch.explain().loops if loop["anchor"] == "SGD.step()"]
    assert any(one and one["reason"] == "a torch.autograd.Function of your own" for one in why)
