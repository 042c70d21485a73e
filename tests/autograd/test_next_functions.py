"""What programs see that walk over a graph: one entry for each tensor with a gradient rule."""

from __future__ import annotations

import pytest

import kkori

REAL = pytest.importorskip("torch", reason="compares with PyTorch")
pytestmark = pytest.mark.oracle

RESULTS = {
    "mul": lambda torch, x, w: x * 2,
    "mul of data": lambda torch, x, w: x * x.detach(),
    "pow": lambda torch, x, w: x ** 2,
    "sum": lambda torch, x, w: x.sum(0),
    "mask": lambda torch, x, w: x[x > 0],
    "select": lambda torch, x, w: x[:, 1],
    "index": lambda torch, x, w: x[[0, 1]],
    "addmm": lambda torch, x, w: torch.addmm(torch.ones(3, 5), x, w),
    "addcmul": lambda torch, x, w: torch.addcmul(x, x, x.detach(), value=2),
    "sort": lambda torch, x, w: x.sort(0)[0],
    "cat": lambda torch, x, w: torch.cat([x, x.detach(), x]),
    "stack": lambda torch, x, w: torch.stack([x, x.detach()]),
    "linear": lambda torch, x, w: torch.nn.functional.linear(x, w.t(), torch.ones(5)),
    "mse": lambda torch, x, w: torch.nn.functional.mse_loss(x, torch.zeros(3, 4)),
    "cross entropy": lambda torch, x, w: torch.nn.functional.cross_entropy(
        x, torch.tensor([0, 1, 2])),
    "where": lambda torch, x, w: torch.where(x > 0, x, x * 2),
    "gather": lambda torch, x, w: x.gather(0, torch.zeros(1, 4, dtype=torch.int64)),
    "scatter": lambda torch, x, w: x.scatter_reduce(
        0, torch.zeros(1, 4, dtype=torch.int64), x.detach(), "sum"),
    "put": lambda torch, x, w: x.put(torch.tensor([0]), torch.ones(1)),
    "index put": lambda torch, x, w: x.index_put((torch.tensor([0]),), torch.ones(4)),
    "conv": lambda torch, x, w: torch.nn.functional.conv2d(
        torch.ones(1, 1, 4, 4), w[None, None, :2, :2]),
    "layer norm": lambda torch, x, w: torch.nn.functional.layer_norm(x, (4,)),
    "batch norm": lambda torch, x, w: torch.nn.functional.batch_norm(
        x, torch.zeros(4), torch.ones(4), training=True),
    "embedding": lambda torch, x, w: torch.nn.functional.embedding(torch.tensor([0]), x),
    "expand": lambda torch, x, w: x.expand(2, 3, 4),
    "maximum": lambda torch, x, w: torch.maximum(x, x.detach()),
    "written": lambda torch, x, w: written(x * 1, x),
}


def written(base, x):
    base[0] = x[1]
    return base


def names_of(torch, make):
    x, w = torch.ones(3, 4, requires_grad=True), torch.ones(4, 5, requires_grad=True)
    stack, found = [make(torch, x, w).grad_fn], []
    while stack:
        node = stack.pop()
        found.append((node.name(), [(link and link.name(), k) for link, k in node.next_functions]))
        stack += [link for link, _ in node.next_functions if link is not None]
    return found


@pytest.mark.parametrize("name", RESULTS)
def test_the_nodes_behind_a_result_are_those_of_pytorch(name):
    assert names_of(kkori, RESULTS[name]) == names_of(REAL, RESULTS[name])


def test_a_function_of_the_user_has_an_entry_for_each_tensor():
    def names(torch):
        class Product(torch.autograd.Function):
            @staticmethod
            def forward(context, one, two, three):
                return one * two * three

            @staticmethod
            def backward(context, g):
                return g, g, None

        x = torch.ones(3, requires_grad=True)
        return [link and link.name() for link, _ in Product.apply(
            x, x.detach(), 2).grad_fn.next_functions]

    assert names(kkori) == names(REAL) == ["torch::autograd::AccumulateGrad", None]
