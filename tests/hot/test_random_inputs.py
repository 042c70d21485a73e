"""Random programs about what rounds take from outside: leaves that are made anew, change places or
become one, tensors that NumPy code sees and writes to. None can tell whether it is recorded."""

from __future__ import annotations

import random

import pytest
from watch import HEADER, compare

pytest.importorskip("llvmlite")
PROGRAMS = 60

# What a round computes; WHEN is replaced by a condition.
STATEMENTS = [
    "a = a + (f * s).sum()",
    "a = a + (s * v).sum() * s[0]",
    "a = a + (g * g * s2).sum()",
    "a = a + (s[1:] * v[1:]).sum()",
    "a = a + torch.autograd.grad(a, v, create_graph=True)[0].sum()",
    "with torch.no_grad(): log((f * s).sum())",
    "if WHEN: a = a.sin()",
    "if WHEN: log(a)",
    "if WHEN: log(f.grad, v.grad)",
    "if WHEN: a.backward(retain_graph=True)",
    "if WHEN: a.backward(); a = (v * v * f).sum()",
    "if WHEN: f = g",
    "if WHEN: g = f",
    "if WHEN: f = torch.full((3,), k / 7, requires_grad=True)",
    "if WHEN: f.grad = None",
    "if WHEN: s.mul_(1.0)",
    "if WHEN: s.add_(0.1)",
    "if WHEN: s.data = s.data * 1.5",
    "if WHEN: s.requires_grad_(not s.requires_grad)",
    "if WHEN: seen[0] = k / 10",
    "if WHEN: kept.append(s.numpy())",
    "if WHEN: s2 = s",
    "if WHEN: s2.copy_(s)",
    "if WHEN: s2 = torch.from_numpy(array)",
    "if WHEN: array[1] += 0.1",
]
OPTIMIZERS = ["SGD([v], lr=0.01)", "Adam([v, f], lr=0.01)",
              "SGD([v, f, g], lr=0.01, momentum=0.5)"]
PROGRAM = """\
import numpy as np
import kkori as torch
v = torch.full((3,), 0.5, requires_grad=True)
f, g = (torch.full((3,), value, requires_grad=True) for value in (0.2, 0.3))
array, kept = np.ones(3, "f"), []
s, s2 = torch.zeros(3).MADE, torch.ones(3)
seen = s.numpy()SEEN
opt = torch.optim.OPTIMIZER
for k in range(30):
    try:
        a = (f * v * 2 + g * v.sin()).sum()
        STATEMENTS
        a.backward()
        UPDATE
        opt.zero_grad()
        CLEAR
    except Exception as error:
        log.error(error)
        opt.zero_grad()
log(v, f, g, s, s2, f.grad, g.grad, kept)
"""


def program(seed: int) -> str:
    chance = random.Random(seed)
    lines = [chance.choice(STATEMENTS).replace(
        "WHEN", f"k % {chance.choice([1, 2, 3, 5, 7, 40])} == {chance.choice([0, 1, 2, 13, 17])}")
        for _ in range(chance.randint(2, 7))]
    blanks = {
        "MADE": chance.choice(["add_(0.5)", "add(0.5)"]),
        "SEEN": chance.choice(["", "", ".copy()"]),
        "OPTIMIZER": chance.choice(OPTIMIZERS),
        "STATEMENTS": "\n        ".join(lines),
        "UPDATE": chance.choice(["opt.step()", "opt.step()", "v.data = v.data - 0.01 * v.grad"]),
        "CLEAR": chance.choice(["f.grad = g.grad = None", "f.grad = g.grad = None", "pass"]),
    }
    source = PROGRAM
    for name, text in blanks.items():
        source = source.replace(name, text)
    return source


@pytest.mark.parametrize("start", range(0, PROGRAMS, 20))
def test_random_inputs(start):
    for seed in range(start, start + 20):
        source = program(seed)
        text, _ = compare(source, seed)
        assert not text, f"program {seed} can tell: {text}\n\n{HEADER}{source}"
