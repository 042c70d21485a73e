"""Learning-rate schedulers against PyTorch: rates, momenta, state dicts, warnings and errors."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path

import pytest

import kkori

torch = None

EPOCHS = 24


class Halver:
    """A function with state, which is what schedulers save of functions that are objects."""

    def __init__(self, base=2.0):
        self.base = base

    def __call__(self, epoch):
        return self.base**-epoch


def chained(lib, optimizer):
    schedulers = lib.optim.lr_scheduler
    parts = [
        schedulers.ExponentialLR(optimizer, 0.9),
        schedulers.StepLR(optimizer, 3),
        schedulers.CosineAnnealingLR(optimizer, 7),
    ]
    return schedulers.ChainedScheduler(parts)


def sequential(lib, optimizer):
    schedulers = lib.optim.lr_scheduler
    parts = [
        schedulers.LinearLR(optimizer, 0.1, total_iters=4),
        schedulers.ExponentialLR(optimizer, 0.9),
        schedulers.CosineAnnealingLR(optimizer, 5),
    ]
    return schedulers.SequentialLR(optimizer, parts, milestones=[4, 9])


def nested(lib, optimizer):
    schedulers = lib.optim.lr_scheduler
    parts = [
        schedulers.ChainedScheduler(
            [schedulers.StepLR(optimizer, 2, 0.7), schedulers.ConstantLR(optimizer, 0.5)]
        ),
        schedulers.CosineAnnealingLR(optimizer, 5),
    ]
    return schedulers.SequentialLR(optimizer, parts, milestones=[6])


def plain(name, *args, **options):
    def make(lib, optimizer):
        return getattr(lib.optim.lr_scheduler, name)(optimizer, *args, **options)

    # The same in every process, so without addresses: pytest-xdist compares these names.
    make.__name__ = re.sub(" at 0x[0-9a-f]+", "", f"{name}{args or ''}{options or ''}")
    return make


def averaging(**options):
    def make(lib, optimizer):
        return lib.optim.swa_utils.SWALR(optimizer, **options)

    make.__name__ = f"SWALR{options}"
    return make


SCHEDULERS = [
    plain("LambdaLR", lambda epoch: 0.95**epoch),
    plain("LambdaLR", [lambda epoch: 1 / (epoch + 1), Halver()]),
    plain("MultiplicativeLR", lambda epoch: 0.9),
    plain("StepLR", 5),
    plain("StepLR", 3, gamma=0.5),
    plain("MultiStepLR", [4, 4, 9], gamma=0.3),
    plain("ConstantLR"),
    plain("ConstantLR", 0.2, 7),
    plain("LinearLR"),
    plain("LinearLR", 0.5, 0.1, 9),
    plain("ExponentialLR", 0.8),
    plain("PolynomialLR"),
    plain("PolynomialLR", 10, power=2.0),
    plain("CosineAnnealingLR", 5),
    plain("CosineAnnealingLR", 8, eta_min=0.01),
    plain("CosineAnnealingWarmRestarts", 4),
    plain("CosineAnnealingWarmRestarts", 3, T_mult=2, eta_min=0.01),
    plain("CyclicLR", 0.01, 0.1, step_size_up=4),
    plain("CyclicLR", [0.01, 0.02], 0.1, step_size_up=3, step_size_down=5, mode="triangular2"),
    plain("CyclicLR", 0.01, 0.1, step_size_up=4, mode="exp_range", gamma=0.9),
    plain("CyclicLR", 0.01, 0.1, step_size_up=4, scale_fn=Halver(), cycle_momentum=False),
    plain("OneCycleLR", 0.3, total_steps=30),
    plain("OneCycleLR", [0.3, 0.5], epochs=5, steps_per_epoch=6, three_phase=True),
    plain("OneCycleLR", 0.3, total_steps=30, anneal_strategy="linear", cycle_momentum=False),
    averaging(swa_lr=0.02, anneal_epochs=6),
    averaging(swa_lr=[0.02, 0.5], anneal_epochs=0, anneal_strategy="linear"),
    chained,
    sequential,
    nested,
]


def optimizer_of(lib, name="SGD", lr=0.4):
    groups = [
        {"params": [lib.zeros(2, requires_grad=True)]},
        {"params": [lib.zeros(3, requires_grad=True)], "lr": 0.05},
    ]
    options = {"momentum": 0.9} if name == "SGD" else {}
    return getattr(lib.optim, name)(groups, lr=lr, **options)


def observed(optimizer):
    keys = ("lr", "momentum", "betas", "initial_lr")
    return [[group.get(key) for key in keys] for group in optimizer.param_groups]


def rates(lib, make, name="SGD", epochs=EPOCHS):
    """What the groups say after each epoch, and what the scheduler says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of restarting parts, which PyTorch warns of too
        optimizer = optimizer_of(lib, name)
        scheduler = make(lib, optimizer)
        seen = [(observed(optimizer), scheduler.get_last_lr())]
        for _ in range(epochs):
            optimizer.step()
            scheduler.step()
            seen.append((observed(optimizer), scheduler.get_last_lr()))
    return seen


def both(function, *args):
    """The outcome, or the error, or the warnings, of the same call in both libraries."""
    return [outcome(function, lib, *args) for lib in (torch, kkori)]


def outcome(function, lib, *args):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(lib, *args)
        except Exception as error:
            result = type(error).__name__, str(error).split("\n")[0]
    return result, [(entry.category.__name__, str(entry.message)) for entry in caught]


@pytest.fixture(autouse=True)
def oracle(request):
    global torch
    if request.node.get_closest_marker("oracle"):
        torch = pytest.importorskip("torch")


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("make", SCHEDULERS, ids=lambda make: make.__name__)
def test_rates_equal_torch(make, name):
    assert rates(kkori, make, name) == rates(torch, make, name)


@pytest.mark.oracle
def test_every_scheduler_is_tried():
    tried = {make.__name__.split("(")[0].split("{")[0] for make in SCHEDULERS}
    tried |= {"ChainedScheduler", "SequentialLR", "ReduceLROnPlateau", "LRScheduler"}
    assert tried >= set(torch.optim.lr_scheduler.__all__)
    assert set(torch.optim.lr_scheduler.__all__) <= set(dir(kkori.optim.lr_scheduler))


@pytest.mark.oracle
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "patience": 1},
        {"threshold_mode": "abs", "threshold": 0.5, "patience": 0, "cooldown": 2},
        {"mode": "max", "threshold_mode": "abs", "patience": 2, "min_lr": [0.1, 0.001]},
        {"patience": 0, "factor": 0.5, "min_lr": 0.03, "eps": 0.01},
    ],
)
def test_plateau_equals_torch(options):
    def run(lib):
        optimizer = optimizer_of(lib)
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        seen = []
        for epoch in range(30):
            scheduler.step(lib.tensor(math.sin(epoch) + 3 / (epoch + 1)))
            seen.append((observed(optimizer), scheduler.get_last_lr(), scheduler.num_bad_epochs))
        return seen

    assert run(kkori) == run(torch)


@pytest.mark.oracle
@pytest.mark.parametrize("make", SCHEDULERS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")
def test_state_dicts_go_both_ways(make):
    def started(lib, epochs):
        optimizer = optimizer_of(lib)
        scheduler = make(lib, optimizer)
        for _ in range(epochs):
            optimizer.step()
            scheduler.step()
        return optimizer, scheduler

    for source, target in ((torch, kkori), (kkori, torch)):
        optimizer, scheduler = started(source, 7)
        other, restored = started(target, 2)
        for group, saved in zip(other.param_groups, optimizer.param_groups, strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"})
        restored.load_state_dict(scheduler.state_dict())
        for _ in range(8):
            for pair in ((optimizer, scheduler), (other, restored)):
                pair[0].step()
                pair[1].step()
            assert restored.get_last_lr() == scheduler.get_last_lr()
            assert observed(other) == observed(optimizer)


@pytest.mark.oracle
def test_a_tensor_rate_is_filled_in_place():
    def run(lib):
        rate = lib.tensor(0.5)
        optimizer = lib.optim.SGD([lib.zeros(1, requires_grad=True)], lr=rate)
        scheduler = lib.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        optimizer.step()
        scheduler.step()
        kept = optimizer.param_groups[0]["lr"] is rate
        return rate.item(), kept, [float(value) for value in scheduler.get_last_lr()]

    assert run(kkori) == run(torch) == (0.25, True, [0.25])


def scheduler_first(lib):
    lib.optim.lr_scheduler.StepLR(optimizer_of(lib), 2).step()


def overridden_step(lib):
    optimizer = optimizer_of(lib)
    scheduler = lib.optim.lr_scheduler.StepLR(optimizer, 2)
    optimizer.step = lambda: None
    scheduler.step()


def asks_outside_step(lib):
    return lib.optim.lr_scheduler.StepLR(optimizer_of(lib), 2).get_lr()


def epoch_given(name, *args):
    def run(lib):
        optimizer = optimizer_of(lib)
        scheduler = getattr(lib.optim.lr_scheduler, name)(optimizer, *args)
        optimizer.step()
        scheduler.step(6)
        return scheduler.get_last_lr()

    return run


def resumes(**options):
    def run(lib):
        optimizer = optimizer_of(lib)
        if options.get("named"):
            for group in optimizer.param_groups:
                group["initial_lr"] = 0.7
        return lib.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9, last_epoch=4).get_last_lr()

    return run


def making(name, *args, **options):
    def run(lib):
        cls = getattr(lib.optim.lr_scheduler, name)
        return bool(cls(optimizer_of(lib), *args, **options))

    return run


def too_many_steps(lib):
    optimizer = optimizer_of(lib)
    scheduler = lib.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=2)
    for _ in range(4):
        optimizer.step()
        scheduler.step()


def another_optimizer(lib):
    part = lib.optim.lr_scheduler.StepLR(optimizer_of(lib), 2)
    lib.optim.lr_scheduler.SequentialLR(optimizer_of(lib), [part], [])


def plateau_in_chain(lib):
    plateau = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer_of(lib))
    lib.optim.lr_scheduler.ChainedScheduler([plateau])


def group_added_to_plateau(lib):
    optimizer = optimizer_of(lib)
    scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.1, 0.1])
    optimizer.add_param_group({"params": [lib.zeros(1, requires_grad=True)]})
    for _ in range(3):
        scheduler.step(1.0)


CASES = [
    scheduler_first,
    overridden_step,
    asks_outside_step,
    epoch_given("StepLR", 2),
    epoch_given("LinearLR"),
    epoch_given("ExponentialLR", 0.9),
    epoch_given("CosineAnnealingWarmRestarts", 4, 2),
    epoch_given("PolynomialLR", 10),
    epoch_given("ConstantLR"),
    epoch_given("MultiStepLR", [2, 5]),
    resumes(),
    resumes(named=True),
    making("ConstantLR", factor=2.0),
    making("LinearLR", start_factor=0),
    making("LinearLR", end_factor=3),
    making("LambdaLR", [len]),
    making("MultiplicativeLR", 0.5),
    making("CosineAnnealingWarmRestarts", 0),
    making("CosineAnnealingWarmRestarts", 3, 0),
    making("CosineAnnealingWarmRestarts", 3, 1, "x"),
    making("CyclicLR", 0.1, 0.2, mode="square"),
    making("CyclicLR", [0.1], 0.2),
    making("OneCycleLR", 0.1),
    making("OneCycleLR", 0.1, total_steps=-3),
    making("OneCycleLR", 0.1, epochs=0, steps_per_epoch=2),
    making("OneCycleLR", 0.1, total_steps=5, pct_start=2.0),
    making("OneCycleLR", 0.1, total_steps=5, anneal_strategy="x"),
    making("ReduceLROnPlateau", factor=1.0),
    making("ReduceLROnPlateau", mode="x"),
    making("ReduceLROnPlateau", threshold_mode="x"),
    making("ReduceLROnPlateau", min_lr=[1]),
    making("SequentialLR", [], []),
    making("SequentialLR", [1], []),
    too_many_steps,
    another_optimizer,
    plateau_in_chain,
    group_added_to_plateau,
    lambda lib: lib.optim.lr_scheduler.StepLR(3, 2),
    lambda lib: lib.optim.lr_scheduler.ReduceLROnPlateau(3),
    lambda lib: lib.optim.lr_scheduler.ChainedScheduler([]),
    lambda lib: lib.optim.swa_utils.SWALR(optimizer_of(lib), 0.1, anneal_strategy="x"),
    lambda lib: lib.optim.swa_utils.SWALR(optimizer_of(lib), 0.1, anneal_epochs=-1),
    lambda lib: lib.optim.lr_scheduler.OneCycleLR(
        lib.optim.Adagrad([lib.zeros(1, requires_grad=True)]), 0.1, total_steps=4
    ),
]


@pytest.mark.oracle
@pytest.mark.parametrize("case", CASES)
def test_warnings_and_errors_equal_torch(case):
    expected, found = both(case)
    assert found == expected


def test_step_lr_divides_by_ten():
    optimizer = optimizer_of(kkori, lr=1.0)
    scheduler = kkori.optim.lr_scheduler.StepLR(optimizer, 2)
    seen = []
    for _ in range(5):
        optimizer.step()
        scheduler.step()
        seen.append(round(scheduler.get_last_lr()[0], 12))
    assert seen == [1.0, 0.1, 0.1, 0.01, 0.01]


def test_warns_when_the_scheduler_steps_first():
    scheduler = kkori.optim.lr_scheduler.StepLR(optimizer_of(kkori), 2)
    with pytest.warns(UserWarning, match="Detected call of `lr_scheduler.step\\(\\)` before"):
        scheduler.step()


def test_a_scheduler_does_not_keep_its_optimizer_from_stepping():
    weight = kkori.ones(1, requires_grad=True)
    optimizer = kkori.optim.SGD([weight], lr=1.0)
    kkori.optim.lr_scheduler.StepLR(optimizer, 2)
    weight.grad = kkori.ones(1)
    optimizer.step()
    assert weight.item() == 0.0


FIGURES = json.loads((Path(__file__).parent / "figures" / "optim.json").read_text())


@pytest.mark.parametrize("case", FIGURES["rates"], ids=lambda case: case["name"])
def test_rates_are_the_committed_figures(case):
    optimizer = kkori.optim.SGD([kkori.zeros(1, requires_grad=True)], lr=0.4, momentum=0.9)
    scheduler = getattr(kkori.optim.lr_scheduler, case["name"])(optimizer, **case["options"])
    for expected in case["values"]:
        found = [*scheduler.get_last_lr(), optimizer.param_groups[0]["momentum"]]
        assert found == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        scheduler.step()
