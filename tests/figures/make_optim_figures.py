"""Writes optim.json beside itself: steps and learning rates as PyTorch 2.13 (CPU) makes them.

Run it with PyTorch installed; the tests replay the file without.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

START = [[1.0, -2.0], [0.0, 3.0]]
GRADIENTS = [
    [[0.5, -1.0], [2.0, 0.0]],
    [[0.25, 2.0], [-1.0, 1.0]],
    [[-1.5, 0.125], [3.0, 1.0]],
]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "maximize": True}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1, "betas": (0.7, 0.8)}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adadelta", {"rho": 0.5}),
    ("Adamax", {"weight_decay": 0.1}),
    ("NAdam", {"lr": 0.1}),
    ("RAdam", {"lr": 0.1, "betas": (0.5, 0.6)}),
    ("ASGD", {"t0": 1.0, "lambd": 0.1}),
    ("Rprop", {}),
    ("LBFGS", {"lr": 0.1, "max_iter": 3}),
    ("Adafactor", {"weight_decay": 0.1}),
]
SCHEDULERS: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 3}),
    ("LinearLR", {}),
    ("PolynomialLR", {"power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "mode": "triangular2"}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 12}),
]


def steps(name: str, options: dict[str, Any]) -> dict[str, Any]:
    param = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, name)([param], **options)
    values = []
    for gradient in GRADIENTS:
        param.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step(lambda: torch.tensor(1.0))
        values.append(param.tolist())
    return {"name": name, "options": options, "values": values, "repr": repr(optimizer)}


def rates(name: str, options: dict[str, Any]) -> dict[str, Any]:
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.4, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    found = [[*scheduler.get_last_lr(), optimizer.param_groups[0]["momentum"]]]
    for _ in range(10):
        optimizer.step()
        scheduler.step()
        found.append([*scheduler.get_last_lr(), optimizer.param_groups[0]["momentum"]])
    return {"name": name, "options": options, "values": found}


if __name__ == "__main__":
    document = {
        "torch": torch.__version__,
        "start": START,
        "gradients": GRADIENTS,
        "steps": [steps(*case) for case in CASES],
        "rates": [rates(*case) for case in SCHEDULERS],
    }
    path = Path(__file__).with_name("optim.json")
    path.write_text(json.dumps(document, indent=1) + "\n")
