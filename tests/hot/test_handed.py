"""NumPy code sees results in mid-round: rounds go on, and nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest

import kkori as torch
from kkori import nn

pytest.importorskip("llvmlite")


def training(kind=torch.optim.SGD):
    net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    x, y = torch.randn(12, 2), torch.arange(12) % 3
    return net, kind(net.parameters(), lr=0.05), nn.functional.cross_entropy, x, y


SHOWN = {
    "data": lambda loss, out, y: loss.data.numpy(),
    "detach": lambda loss, out, y: loss.detach().numpy(),
    "twice": lambda loss, out, y: [loss.data.numpy(), loss.detach().numpy()],
    "the same twice": lambda loss, out, y: (lambda d: [d.numpy(), d.numpy()])(loss.detach()),
    "numbers": lambda loss, out, y: float(np.asarray(loss.detach())) + loss.data.numpy().item(),
    "looked at before": lambda loss, out, y: (loss.item(), loss.data.numpy()),
    "looked at behind": lambda loss, out, y: (loss.data.numpy(), loss.item()),
    "what was right": lambda loss, out, y: (out.argmax(1) == y).sum().numpy(),
    "guesses": lambda loss, out, y: (out.argmax(1).numpy() == 1).mean(),
    "labels, too": lambda loss, out, y: (out.argmax(1).numpy() == y.numpy()).mean(),
    "labels alone": lambda loss, out, y: y.numpy().sum(),
}
READ = {  # something else in the round reads these
    "outputs": lambda loss, out, y: out.detach().numpy(),
    "largest": lambda loss, out, y: out.max(1)[1].numpy(),
    "view": lambda loss, out, y: loss.detach().reshape(1, 1).numpy(),
}


@pytest.mark.parametrize("place", ["before backward", "before step"])
@pytest.mark.parametrize("name", [*SHOWN, *READ])
def test_rounds_go_on(compare, name, place):
    def loop(log):
        net, opt, loss_of, x, y = training()
        kept = []
        for k in range(60):
            out = net(x)
            loss = loss_of(out, y)
            if place == "before backward":
                kept.append((SHOWN | READ)[name](loss, out, y))
            opt.zero_grad()
            loss.backward()
            if place == "before step":
                kept.append((SHOWN | READ)[name](loss, out, y))
            opt.step()
            log(loss, loss._version)
            if k % 9 == 5:
                log(kept[-1])
        log(kept, net.state_dict())
    assert compare(loop) >= (35 if name in SHOWN else 0)


@pytest.mark.parametrize("when", ["in the round", "behind the step", "by the tensor"])
def test_it_is_the_memory_of_the_result(compare, when):
    def loop(log):
        net, opt, loss_of, x, y = training()
        kept, losses = [], []
        for k in range(60):
            loss = loss_of(net(x), y)
            other = loss.detach()
            shown = loss.detach().numpy()
            kept.append(shown)
            losses.append(loss)
            if when == "in the round" and k % 3 == 0:
                shown[...] = k
                log(*[loss, loss.detach(), other, loss.item(), loss.detach().item()][k % 5:])
            opt.zero_grad()
            loss.backward()
            opt.step()
            if when == "behind the step" and k % 3 == 0:
                shown += k
            if when == "by the tensor" and k % 3 == 0:
                with torch.no_grad():
                    loss.mul_(k)
            log(loss, shown, loss._version)
        log(losses, kept)
    compare(loop)


@pytest.mark.parametrize("left", ["exit", "read", "error", "written", "branch"])
def test_rounds_that_are_left_behind_it(compare, left):
    def loop(log):
        net, opt, loss_of, x, y = training(torch.optim.Adam)
        kept = []
        for k in range(60):
            out = net(x)
            loss = loss_of(out, y)
            shown = loss.data.numpy()
            kept.append(shown)
            part = loss
            if k % 4 == 3:
                shown *= 2
            if left == "exit" and k % 5 == 4:
                log(loss.data_ptr() == shown.__array_interface__["data"][0], out)
            if left == "read" and k % 5 == 4:
                part = loss * loss.detach()
            if left == "written" and k > 20 and k % 5 == 4:
                part = loss.mul_(0.5)
            if left == "branch" and k % 5 == 4:
                part = loss + net[0].weight.pow(2).sum()
            opt.zero_grad()
            part.backward()
            try:
                if left == "error" and k % 5 == 4:
                    out @ loss
                opt.step()
            except RuntimeError as error:
                log(str(error).splitlines()[0])
            log(loss, part, shown, loss._version)
        log(kept, net.state_dict())
    compare(loop)


def test_in_rounds_without_a_step(compare):
    def loop(log):
        x, w, kept = torch.randn(9, 3), torch.randn(3, 1).requires_grad_(), []
        for k in range(60):
            loss = (x @ w).pow(2).mean()
            kept.append(loss.detach().numpy())
            loss.backward()
            with torch.no_grad():
                w -= 0.1 * w.grad
            w.grad = None
            if k % 7 == 3:
                kept[-1][...] = 5
                log(loss)
        log(kept, w)
    assert compare(loop) >= 30


@pytest.mark.parametrize("again", [False, True])
def test_inputs_that_numpy_code_writes_to(compare, again):
    """In mid-round, before and behind their use."""
    def loop(log):
        net, opt, _, x, _ = training()
        y, kept = torch.randn(12, 3), []
        for k in range(60):
            out = net(x)
            loss = (out - y).pow(2).mean()
            shown = y.numpy()
            if k % 5 == 3:
                shown += 0.1
            if again:
                loss = loss + 0.1 * (out * y).mean()
            if k % 7 == 5:
                shown[0] = 1
            if k % 11 == 6:
                kept.append(shown)
            opt.zero_grad()
            loss.backward()
            if k % 5 == 4:
                shown -= 0.1
            opt.step()
            log(loss, y)
            if k % 11 == 8:
                kept.clear()
        log(net.state_dict(), y)
    compare(loop, 10)


LEAVING = {  # what makes a round be left, or not go on, that reads memory shared with NumPy
    "look": lambda loss, w, v, seen: loss + loss.item(),
    "another operation": lambda loss, w, v, seen: loss.cos(),
    "write to another": lambda loss, w, v, seen: w.data.add_(1).sum() * 0 + loss,
    "same numbers written": lambda loss, w, v, seen: loss + 0 * v.mul_(1.0).sum(),
    "other numbers written": lambda loss, w, v, seen: (v.data.mul_(2.0), loss * 2)[1],
    "view written": lambda loss, w, v, seen: (v[1:].add_(1), loss)[1],
    "numpy writes": lambda loss, w, v, seen: (seen.fill(4), loss * 2)[1],
    "numpy writes, too": lambda loss, w, v, seen: (v.numpy().fill(4), loss)[1],
}


def swap(loss, w, v, seen):
    v.data = v.data * 2
    return loss


@pytest.mark.parametrize("versions", [0, 1])
@pytest.mark.parametrize("name", [*LEAVING, "swap"])
def test_what_nodes_saved_is_the_input_itself(compare, name, versions):
    """Not the copy that the round took of it: versions, and numbers changed later, are seen."""
    def loop(log):
        w, v = torch.full((3,), 0.5, requires_grad=True), torch.full((3,), 0.5)
        for _ in range(versions):
            v.add_(0.5)
        seen, opt = v.numpy(), torch.optim.SGD([w], lr=0.01)
        for k in range(30):
            loss = (w * v).sum()
            if k in (12, 20):
                loss = (LEAVING | {"swap": swap})[name](loss, w, v, seen)
            try:
                loss.backward()
            except RuntimeError as error:
                log(str(error).splitlines()[0])
            opt.step()
            opt.zero_grad()
            log(w)
        log(v, seen)
    compare(loop, 5)
