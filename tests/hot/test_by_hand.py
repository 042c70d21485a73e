"""Parameters that a program changes itself, in rounds that end with backward()."""

from __future__ import annotations

import copy
import io
import pickle
import re

import pytest
from twice import run

import kkori as torch
from kkori import nn
from kkori.autograd.mode import switch

pytest.importorskip("llvmlite")

UPDATES = {
    "data": lambda w, lr: setattr(w, "data", w.data - lr * w.grad),
    "data of both": lambda w, lr: setattr(w, "data", w.data - lr * w.grad.data),
    "in place": lambda w, lr: w.sub_(lr * w.grad),
    "operator": lambda w, lr: w.__isub__(lr * w.grad),
    "in place by data": lambda w, lr: w.data.add_(w.grad, alpha=-lr),
}
CLEARS = {
    "none": lambda w: setattr(w, "grad", None),
    "zero_": lambda w: w.grad.zero_(),
    "zeros": lambda w: setattr(w, "grad", torch.zeros_like(w)),
    "fill": lambda w: w.grad.fill_(0.5),
}
LOOKS = {
    "list": lambda w: w.tolist(),
    "text": lambda w: [float(number) for number in re.findall(r"-?\d+\.\d+", str(w))],
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda w: pickle.loads(pickle.dumps(w)),
    "file": lambda w: torch.load(saved(w)).detach(),
    "storage": lambda w: w.untyped_storage().tolist(),
    "addresses": lambda w: (w.data_ptr() == w.data.data_ptr(), w.is_set_to(w.data)),
    "offset": lambda w: (w.storage_offset(), w.detach().as_strided((2,), (1,))),
}


def saved(w):
    file = io.BytesIO()
    torch.save(w, file)
    file.seek(0)
    return file


def line():
    x = torch.linspace(0, 2, 30).reshape(30, 1)
    return torch.cat([torch.ones(30, 1), x], 1), 2.5 + 4 * x + 0.1 * torch.randn(30, 1)


@pytest.mark.parametrize("clear", CLEARS)
@pytest.mark.parametrize("update", UPDATES)
def test_updates_are_part_of_the_round(compare, update, clear):
    def loop(log):
        X, y = line()
        w = torch.tensor([[-5.0], [10.0]], requires_grad=True)
        for k in range(60):
            loss = (y - X @ w).pow(2).mean()
            loss.backward()
            with torch.no_grad():
                UPDATES[update](w, 0.05)
                CLEARS[clear](w)
            if k % 7 == 3:
                log(loss, w, w._version, w.grad)
        log(w, loss)
    assert compare(loop) >= 40


@pytest.mark.parametrize("often", [1, 7])
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("update", ["data", "in place by data"])
def test_whoever_looks_behind_an_update_sees_it(compare, update, look, often):
    def loop(log):
        X, y = line()
        w = torch.tensor([[-5.0], [10.0]], requires_grad=True)
        for k in range(40):
            loss = (y - X @ w).pow(2).mean()
            loss.backward()
            UPDATES[update](w, 0.05)
            w.grad = None
            if k % often == often - 1:
                log(LOOKS[look](w))
        log(w)
    assert compare(loop) >= (20 if often > 1 else 0)


def test_one_call_computes_update_forward_and_backward():
    def loop(log):
        X, y = line()
        w = torch.tensor([[-5.0], [10.0]], requires_grad=True)
        for _ in range(60):
            loss = (y - X @ w).pow(2).mean()
            loss.backward()
            w.data = w.data - 0.05 * w.grad
            w.grad = None
        tape = switch.free
        (end,) = [end for end in ends_of(tape.root) if end.runner and end.runner.compiled]
        assert [entry.row.name for entry in end.path()[:3]] == ["mul", "sub", ".data ="]
        assert [entry.kind for entry in end.path()].count("write") == 1
        log(w)
    run(loop, True)


def ends_of(root):
    found, stack = [], [root]
    while stack:
        entry = stack.pop()
        stack += entry.children
        found += [end for end in entry.ends if end.kind == "backward"]
    return found


def test_whoever_keeps_the_new_memory_shares_it(compare):
    def loop(log):
        X, y = line()
        w = torch.tensor([[-5.0], [10.0]], requires_grad=True)
        for k in range(60):
            loss = (y - X @ w).pow(2).mean()
            loss.backward()
            new = w.data - 0.05 * w.grad
            w.data = new
            w.grad = None
            if k > 40:
                new.add_(1.0)
            log(w, new, new.data_ptr() == w.data_ptr())
    compare(loop)


def test_whoever_kept_the_old_memory_has_it(compare):
    def loop(log):
        X, y = line()
        w = torch.tensor([[-5.0], [10.0]], requires_grad=True)
        kept = []
        for k in range(60):
            loss = (y - X @ w).pow(2).mean()
            loss.backward()
            if k % 10 == 9:
                kept.append(w.data)
            w.data = w.data - 0.05 * w.grad
            w.grad = None
        log(w, kept)
    compare(loop)


def test_gradients_that_are_kept_stay_what_they_are(compare):
    def loop(log):
        X, y = line()
        w = torch.tensor([[-5.0], [10.0]], requires_grad=True)
        kept = []
        for k in range(60):
            loss = (y - X @ w).pow(2).mean()
            loss.backward()
            if k % 5 == 4:
                kept.append(w.grad)
            with torch.no_grad():
                w -= 0.05 * w.grad
            w.grad = None
        log(w, kept)
    compare(loop, 40)


@pytest.mark.parametrize("clear", ["before", "behind"])
def test_models(compare, clear):
    def loop(log):
        x, y = torch.randn(16, 3), torch.randn(16, 1)
        net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 1))
        for k in range(60):
            loss = nn.functional.mse_loss(net(x), y)
            if clear == "before":
                net.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in net.parameters():
                    p -= 0.05 * p.grad
            if clear == "behind":
                net.zero_grad()
            if k % 9 == 8:
                log(loss, net.state_dict())
        log(net.state_dict())
    assert compare(loop) >= 40


def test_two_models_take_turns(compare):
    """The same events with other tensors."""
    def loop(log):
        x, y = torch.randn(16, 3), torch.randn(16, 1)
        nets = [nn.Linear(3, 1), nn.Linear(3, 1)]
        for k in range(90):
            net = nets[k % 2 if k > 50 else k // 30]
            loss = nn.functional.mse_loss(net(x), y)
            loss.backward()
            with torch.no_grad():
                for p in nets[(k + (k > 70)) % 2].parameters():
                    if p.grad is not None:
                        p -= 0.05 * p.grad
                        p.grad = None
            log(loss)
        log([net.state_dict() for net in nets])
    compare(loop)


def test_errors_lose_nothing(compare):
    def loop(log):
        X, y = line()
        w = torch.tensor([[-5.0], [10.0]], requires_grad=True)
        for k in range(60):
            loss = (y - X @ w).pow(2).mean()
            loss.backward()
            try:
                if k == 50:
                    w -= 0.05 * w.grad  # gradients are followed
                else:
                    w.data = w.data - 0.05 * w.grad
                if k == 40:
                    w.data = torch.zeros(3) @ w
            except RuntimeError as error:
                log(str(error).splitlines()[0])
            w.grad = None
            log(w, loss)
    compare(loop)


def test_array_rules_find_the_inputs_of_every_round(compare):
    def loop(log):
        table, w = torch.randn(9, 4).requires_grad_(), torch.randn(8, 3).requires_grad_()
        data, t = torch.randint(0, 9, (20, 2)), torch.arange(6) % 3
        for _ in range(60):
            rows = torch.randint(0, 20, (6,))
            found = table[data[rows]].view(-1, 8)
            loss = torch.nn.functional.cross_entropy(found @ w, t)
            for p in (table, w):
                p.grad = None
            loss.backward()
            for p in (table, w):
                p.data += -0.1 * p.grad
            log(loss)
        log(table, w)
    assert compare(loop) > 20


@pytest.mark.parametrize("update", ["in place by data", "in place"])
def test_other_parts_of_the_data_behind_an_update(compare, update):
    """What a round cuts out of the data, in the middle of it, is no part of it."""
    def loop(log):
        data, net = torch.randn(400, 3), nn.Linear(3, 3)
        state = torch.zeros(3)
        for k in range(0, 120, 2):
            x, y = data[k:k + 4], data[k + 2:k + 6]
            state = state.detach()
            out = torch.tanh(net(x) + state)
            state = out.mean(0)
            loss = (out - y).pow(2).mean()
            net.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.25)
            with torch.no_grad():
                for w in net.parameters():
                    UPDATES[update](w, 0.05)
            log(loss)
        log(*net.parameters(), state)
    assert compare(loop) >= 40


def test_updates_of_a_module_s_parameters_are_part_of_the_round():
    def loop(log):
        x, net = torch.randn(6, 3), nn.Linear(3, 2)
        for _ in range(60):
            net.zero_grad()
            net(x).pow(2).mean().backward()
            for w in net.parameters():
                w.data.add_(w.grad, alpha=-0.1)
        (end,) = [end for end in ends_of(switch.free.root) if end.runner and end.runner.compiled]
        assert [entry.kind for entry in end.path()].count("write") == 2
        log(*net.parameters())
    run(loop, True)
