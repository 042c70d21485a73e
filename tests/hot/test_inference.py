"""Calls of models without gradients: computed as one round, and nobody can tell."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import kkori as torch
from kkori import nn
from kkori.autograd.mode import switch
from kkori.run import inference, loops

pytest.importorskip("llvmlite")
F = nn.functional


@pytest.fixture(autouse=True)
def anew():
    switch.callers = None
    yield
    switch.callers = None
    gc.collect()


def replayed(model):
    """How many calls of a model were run as compiled code."""
    caller = (switch.callers or {}).get(id(model))
    return caller.tape.replayed() if caller is not None and caller.tape is not None else 0


def direct(model):
    return len(switch.callers[id(model)].direct)


def mlp():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.first, self.drop, self.last = nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)
        self.calls = 0

    def forward(self, x, scale=1.0):
        self.calls += 1
        x = F.relu(self.first(self.flatten(x)))
        return self.last(self.drop(x)) * scale


def check(compare, body, model, calls=60, least=30):
    """`body(log, model, i)` for each i, immediately and recorded, with equal weights."""
    models = []

    def loop(log):
        net = model()
        models.append(net)
        switch.callers = None
        with torch.no_grad():
            for i in range(calls):
                body(log, net, i)
    compare(loop)
    assert replayed(models[-1]) >= least, models[-1]
    return models[-1]


def test_layers_alone(compare):
    def body(log, net, i):
        out = net(torch.randn(4, 5))
        kept = net.__dict__.setdefault("kept", [])
        kept.append(out)
        log(out, out.grad_fn is None, out.is_leaf, out._base is None, kept[len(kept) // 2])
    assert direct(check(compare, body, mlp)) == 1


def test_ragged_last_batch(compare):
    def body(log, net, i):
        log(net(torch.randn(2 if i % 5 == 4 else 4, 5)))
    net = check(compare, body, mlp, 160, 100)
    assert direct(net) == 2


def test_own_forward(compare):
    def body(log, net, i):
        log(net(torch.randn(4, 2, 3)), net.calls)
    check(compare, body, lambda: Net().eval())


def test_dropout_draws_the_same_numbers(compare):
    def body(log, net, i):
        log(net(torch.randn(4, 2, 3)), torch.rand(2))
    check(compare, body, Net)


def test_options(compare):
    def body(log, net, i):
        log(net(torch.randn(4, 2, 3), scale=2.0 if i % 20 < 15 else 3.0))
    check(compare, body, lambda: Net().eval())


def test_inference_mode(compare):
    def body(log, net, i):
        with torch.inference_mode():
            out = net(torch.randn(4, 5))
        log(out, out.is_inference())
    check(compare, body, mlp)


@pytest.mark.parametrize("model", [mlp, lambda: Net().eval()])
def test_weights_are_looked_up(compare, model):
    def body(log, net, i):
        one = next(net.parameters())
        if i % 7 == 0:
            one.mul_(1.1)
        if i % 7 == 1:
            one.data = one.data * 0.9
        if i % 7 == 2:
            net.load_state_dict({name: value + 0.1 for name, value in net.state_dict().items()})
        if i % 7 == 3:
            one.data.add_(0.1)
        if i == 44:
            layer = next(module for module in net.modules() if isinstance(module, nn.Linear))
            layer.weight = nn.Parameter(layer.weight * 2)
        if i == 52:
            one.data = one.data.t().contiguous().t()  # other strides
        log(net(torch.ones(4, 5) if isinstance(net, nn.Sequential) else torch.ones(4, 2, 3)))
    check(compare, body, model, 80, 20)


def test_a_setting_is_changed(compare):
    def body(log, net, i):
        if i == 40:
            net[1] = nn.Tanh()
        if i == 50:
            net[2].register_forward_hook(lambda module, args, out: out + 1)
        log(net(torch.ones(4, 5)))
    check(compare, body, mlp, 60, 20)


def test_train_and_eval_in_turns(compare):
    def body(log, net, i):
        if i % 10 == 0:
            net.eval()
        if i % 10 == 5:
            net.train()
        log(net(torch.ones(4, 5)))
    net = check(compare, body, lambda: nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 3)), 100, 50)
    assert direct(net) == 1


def test_batch_norm_in_training_mode(compare):
    def body(log, net, i):
        log(net(torch.randn(4, 5)), net[1].running_mean, net[1].running_var,
            net[1].num_batches_tracked, net[1].running_mean._version)
    check(compare, body, lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8)), 60, 20)


def test_views_and_arguments_come_back(compare):
    class Shows(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 6)

        def forward(self, x):
            y = self.layer(x)
            self.kept = y[:, :2]
            return x, y.view(-1), y.t(), self.layer.weight[0], x.view(-1)

    def body(log, net, i):
        x = torch.randn(4, 5)
        found = net(x)
        log(*found, found[0] is x, net.kept, found[1]._base is found[2]._base)
        found[4][0] = 7.0
        found[1][1] = 9.0
        log(x, net.kept, found[2], [one.storage_offset() for one in found])
    check(compare, body, Shows, 60, 20)


def test_values_are_looked_at(compare):
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.seen = nn.Linear(5, 3), []

        def forward(self, x):
            y = self.layer(x)
            self.seen.append(y.sum().item())
            if self.seen[-1] > 0:
                y = y * 2
            return y.tanh()

    def body(log, net, i):
        log(net(torch.randn(4, 5)), net.seen[-1])
    check(compare, body, Looks, 100, 1)


def test_errors(compare):
    def body(log, net, i):
        try:
            log(net(torch.randn(4, 6 if i % 9 == 8 else 5)))
        except RuntimeError as error:
            log(str(error).splitlines()[0])
    check(compare, body, mlp, 80, 30)


def test_an_exception_in_forward(compare):
    class Raises(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = nn.Linear(5, 3), 0

        def forward(self, x):
            self.calls += 1
            self.kept = self.layer(x)
            if self.calls % 6 == 0:
                raise ValueError("now")
            return self.kept.tanh()

    def body(log, net, i):
        try:
            log(net(torch.randn(4, 5)))
        except ValueError as error:
            log(str(error))
        log(net.kept)
    check(compare, body, Raises, 90, 20)


def test_gradients_inside(compare):
    class Energy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x):
            y = self.layer(x)
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                slope, = torch.autograd.grad(self.layer(x).square().sum(), x)
            return y.sum() + slope

    def body(log, net, i):
        log(net(torch.randn(4, 5)))
    check(compare, body, Energy, 40, 0)


def test_followed_arguments(compare):
    def body(log, net, i):
        with torch.enable_grad():
            x = (torch.randn(4, 5, requires_grad=True) * 2) if i % 2 else torch.randn(4, 5)
        log(net(x))
    check(compare, body, mlp, 60, 10)


@pytest.mark.parametrize("shape", [(4, 5), (5, 4)])
def test_shared_with_numpy(compare, shape):
    array = np.zeros((4, 5), np.float32)
    array = array if shape == (4, 5) else array.T.copy().T

    def body(log, net, i):
        array[1, 2] = i
        log(net(torch.from_numpy(array)))
        net[0].weight.detach().numpy()[0, 0] = i / 10
        log(net(torch.from_numpy(array)))
    assert direct(check(compare, body, mlp)) == 1


def test_with_training_in_turns(compare):
    def loop(log):
        switch.callers = None
        torch.manual_seed(1)
        net, loss_of = mlp(), nn.MSELoss()
        loop.net = net
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        x, y = torch.randn(6, 4, 5), torch.randn(6, 4, 3)
        for _ in range(12):
            net.train()
            for one, other in zip(x, y, strict=True):
                loss = loss_of(net(one), other)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            log(loss)
            net.eval()
            with torch.no_grad():
                for one, other in zip(x, y, strict=True):
                    out = net(one)
                    log(out, loss_of(out, other).item(), (out.argmax(1) == 0).sum().item())
    assert compare(loop, 40) >= 40
    assert replayed(loop.net) >= 40


def test_validation_in_every_round_is_part_of_it(compare):
    def loop(log):
        net, x = mlp(), torch.randn(4, 5)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(60):
            with torch.no_grad():
                log(net(x * 2).sum())
            loss = net(x).square().sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    compare(loop)


def test_threads(compare):
    net, x = mlp(), torch.randn(4, 5)
    with torch.eager(), torch.no_grad():
        expected = net(x)
    found = []

    def work():
        with torch.no_grad():
            found.extend([net(x) for _ in range(60)])
            found.append(replayed(net))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one for one in found if isinstance(one, int)) > 100
    for one in found:
        if not isinstance(one, int):
            torch.testing.assert_close(one, expected)


def test_turned_off():
    net = mlp()
    with torch.eager(), torch.no_grad():
        for _ in range(40):
            net(torch.ones(4, 5))
        assert replayed(net) == 0
    with torch.no_grad():
        for _ in range(40):
            net(torch.ones(4, 5))
        assert replayed(net) > 20
        with torch.eager():
            before = replayed(net)
            net(torch.ones(4, 5))
            assert replayed(net) == before


def test_nothing_is_kept():
    net = mlp()
    with torch.no_grad():
        for _ in range(40):
            x = torch.ones(4, 5)
            out = net(x)
            held = weakref.ref(x), weakref.ref(out), weakref.ref(x._array)
            del x, out
            assert [one() for one in held] == [None] * 3
    assert direct(net) == 1
    key = id(net)
    held = weakref.ref(net), weakref.ref(net[0].weight)
    del net
    gc.collect()
    assert [one() for one in held] == [None] * 2
    assert key not in switch.callers


def test_results_have_memory_of_their_own():
    net = mlp()
    with torch.no_grad():
        found = [net(torch.full((4, 5), float(i % 3))) for i in range(60)]
    for i, one in enumerate(found):
        assert torch.allclose(one, found[i % 3], atol=1e-5)
    assert len({one.data_ptr() for one in found}) == len(found)


def test_calls_that_are_never_alike_are_left_alone(monkeypatch):
    monkeypatch.setattr(loops, "PATIENCE", 5)
    monkeypatch.setattr(loops, "RECORDINGS", 3)
    net = mlp()
    with torch.no_grad():
        for i in range(300):
            net(torch.ones(1 + i, 5))
    caller = switch.callers[id(net)]
    assert caller.tape.replayed() == 0
    assert caller.left > 0
    assert caller.tape.counts["recorded"] <= 5


def test_many_shapes_are_bounded():
    net = mlp()
    with torch.no_grad():
        for i in range(3000):
            net(torch.ones(1 + i % 40, 5))
    caller = switch.callers[id(net)]
    assert len(caller.tape.root.endings()) <= 24
    assert len(caller.direct) <= inference.MOST_DIRECT


def test_pickled_and_copied():
    net = mlp()
    with torch.no_grad():
        for _ in range(40):
            expected = net(torch.ones(4, 5))
        other = copy.deepcopy(net)
        other[0].weight.zero_()
        again = pickle.loads(pickle.dumps(net))
        for _ in range(40):
            torch.testing.assert_close(again(torch.ones(4, 5)), expected)
            assert not torch.allclose(other(torch.ones(4, 5)), expected)
            torch.testing.assert_close(net(torch.ones(4, 5)), expected)


def test_explained():
    net = mlp()
    with torch.no_grad():
        for _ in range(40):
            net(torch.ones(4, 5))
    text = repr(torch.explain())
    assert "calls of Sequential without gradients" in text
    facts = next(loop for loop in torch.explain().loops if "Sequential" in loop["anchor"])
    assert facts["rounds"] >= 40 - 12
    assert facts["replayed"] >= 20


def test_writes_to_the_argument(compare):
    def body(log, net, i):
        x = torch.randn(4, 5)
        out = net(x)
        log(out, x, x._version, out is x)
    check(compare, body, lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 5),
                                               nn.LeakyReLU(inplace=True)), 60, 0)


def test_results_of_several_kinds(compare):
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 6)
            self.memory = torch.zeros(6)

        def forward(self, x):
            y = self.layer(x)
            self.memory = 0.5 * self.memory + y.detach().mean(0)
            top, places = y.max(1)
            return {"y": y, "top": top, "places": places, "cut": y.detach(),
                    "parts": y.chunk(2, 1), "none": None, "number": 3}

    def body(log, net, i):
        found = net(torch.randn(4, 5))
        log(found, net.memory, found["cut"].data_ptr() == found["y"].data_ptr())
        found["cut"].zero_()
        log(found["y"], found["parts"])
    check(compare, body, Many, 60, 0)


def test_models_in_models(compare):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.again, self.depth = mlp(), nn.Linear(3, 5), 0

        def forward(self, x):
            self.depth += 1
            y = self.again(self.inner(x))
            y = self(y) if self.depth % 3 else self.inner(y)
            return y

    def body(log, net, i):
        log(net(torch.randn(4, 5)), net.depth)
        log(net.inner(torch.randn(2, 5)))
    check(compare, body, Outer, 60, 10)


def test_same_tensor_twice_and_parameters_as_arguments(compare):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.w = nn.Linear(5, 5), nn.Parameter(torch.ones(5, 5))

        def forward(self, x, y):
            return self.layer(x) @ y + self.layer(y)

    def body(log, net, i):
        one, other = torch.randn(5, 5), torch.randn(5, 5)
        log(net(one, one) if i % 3 else net(one, other), net(net.w, one), net(net.w, net.w))
        net.w.add_(0.01)
    check(compare, body, Two, 60, 0)


def test_a_bilinear_layer_given_one_tensor_twice(compare):
    def body(log, net, i):
        one, other = torch.randn(5, 5), torch.randn(5, 5)
        log(net(one, one) if i % 20 < 15 else net(one, other))
        log(net(net.layer.weight[0], one) if i % 2 else 0)

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Bilinear(5, 5, 5)

        def forward(self, x, y):
            return self.layer(x, y)
    check(compare, body, Pair, 60, 0)


def test_other_types(compare):
    def body(log, net, i):
        kind = [torch.float32, torch.float64, torch.float16][i % 3]
        net.to(kind)
        log(net(torch.ones(4, 5, dtype=kind)).double())
    check(compare, body, mlp, 60, 0)


def test_training_inside_a_call(compare):
    class Learns(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 3)
            self.optimizer = torch.optim.SGD(self.layer.parameters(), lr=0.01)

        def forward(self, x):
            y = self.layer(x)
            with torch.enable_grad():
                self.layer(x).square().mean().backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
            return y + self.layer(x)

    def body(log, net, i):
        log(net(torch.randn(4, 5)))
    check(compare, body, Learns, 60, 0)


def test_recording_is_turned_off_inside(compare):
    class Off(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = nn.Linear(5, 3), 0

        def forward(self, x):
            self.calls += 1
            y = self.layer(x)
            if self.calls % 8 == 7:
                with torch.eager():
                    y = y * 2
            return y.tanh()

    def body(log, net, i):
        log(net(torch.randn(4, 5)))
    check(compare, body, Off, 80, 10)
    assert switch.tape is None


def test_interrupted(compare):
    class Stops(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = nn.Linear(5, 3), 0

        def forward(self, x):
            self.calls += 1
            self.kept = self.layer(x)
            if self.calls % 9 == 0:
                raise KeyboardInterrupt
            return self.kept.tanh()

    def body(log, net, i):
        try:
            log(net(torch.randn(4, 5)))
        except KeyboardInterrupt:
            log("stopped")
        log(net.kept)
    check(compare, body, Stops, 80, 10)


def test_generators_and_grad_modes(compare):
    class Turns(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = nn.Linear(5, 3), 0

        def forward(self, x):
            self.calls += 1
            y = self.layer(x)
            if self.calls % 10 == 9:
                with torch.enable_grad():
                    self.followed = self.layer(x)
                return y + self.followed
            return y

    def body(log, net, i):
        out = net(torch.randn(4, 5))
        log(out, torch.is_grad_enabled())
        if net.calls % 10 == 9:
            log(net.followed, net.followed.grad_fn.name())
            with torch.enable_grad():
                net.followed.sum().backward()
            log(net.layer.weight.grad)
            net.layer.weight.grad = None
    check(compare, body, Turns, 100, 10)


def test_errors_that_depend_on_numbers(compare):
    def body(log, net, i):
        try:
            log(net(torch.randint(0, 20 if i % 10 == 9 else 10, (6,))))
        except IndexError as error:
            log(str(error))
    check(compare, body, lambda: nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2)), 80, 40)


def test_what_numpy_computes_anyway_is_left_alone(compare):
    class Ordered(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, x):
            return self.layer(x).sort(1)[0].cumsum(1).flip(1).roll(1, 1)

    def body(log, net, i):
        log(net(torch.randn(2, 3)))
    net = check(compare, body, Ordered, 60, 0)
    caller = switch.callers[id(net)]
    assert caller.left > 1000
    assert caller.tape.replayed() == 0


def test_recurrent_layers_are_compiled(compare):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.last = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(self.layer(x)[0][:, -1])

    def body(log, net, i):
        log(net(torch.randn(2, 6, 3)))
    check(compare, body, Recurrent, 60, 30)


def test_views_of_one_result_share_its_storage():
    class Shown(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            h = self.layer(x).tanh()
            return h.view(-1), h.view(2, 6), h

    net, x = Shown(), torch.randn(3, 4)
    with torch.no_grad():
        for _ in range(60):
            one, other, whole = net(x)
            one.add_(1)
            assert one._storage is other._storage is whole._storage
            assert (one._version, other._version, whole._version) == (1, 1, 1)
