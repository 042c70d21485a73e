"""Loops that look rows up by number are replayed: embeddings, ``C[X]``, and what is no row."""

from __future__ import annotations

import pytest

import kkori as torch
import kkori.nn.functional as F
from kkori import nn
from kkori.codegen import toolchain

ROUNDS = 16
REPLAYED = ROUNDS - 9 if toolchain.available() else None


def by_module(table, places):
    return F.embedding(places, table)


def padded(table, places):
    return F.embedding(places, table, padding_idx=1)


def by_brackets(table, places):
    return table[places]


def from_the_end(table, places):
    return table[places - 7]


def selected(table, places):
    return table.index_select(0, places.reshape(-1)).reshape(*places.shape, -1)


def transposed(table, places):
    return table[places.t()].transpose(0, 1)


def one_number_each(table, places):
    return table[places, (places + 1) % 4].unsqueeze(-1).expand(*places.shape, 4)


WAYS = [by_module, padded, by_brackets, from_the_end, selected, transposed, one_number_each]


def train(look_up, drawn=True):
    """A loop for `compare`."""
    def loop(log):
        torch.manual_seed(0)
        table, net = nn.Parameter(torch.randn(7, 4)), nn.Linear(12, 3)
        opt = torch.optim.Adagrad([table, *net.parameters()], lr=0.1)
        fixed, target = torch.randint(0, 7, (5, 3)), torch.randint(0, 3, (5,))
        for _ in range(ROUNDS):
            places = torch.randint(0, 7, (5, 3)) if drawn else fixed
            loss = F.cross_entropy(net(look_up(table, places).reshape(5, 12)), target)
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss.item(), table, table.grad)
        return opt
    return loop


@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize("look_up", WAYS)
def test_rounds_that_look_up(compare, look_up, drawn):
    compare(train(look_up, drawn), REPLAYED)


@pytest.mark.parametrize("wrong", [7, -1, -8, 2**40])
@pytest.mark.parametrize("look_up", WAYS[:3])
def test_what_is_no_row_is_refused_and_changes_nothing(compare, look_up, wrong):
    """The error, and all that is left, as in immediate execution; then the loop goes on."""
    def loop(log):
        torch.manual_seed(0)
        table = nn.Parameter(torch.randn(7, 4))
        opt = torch.optim.SGD([table], lr=0.1, momentum=0.9)
        for number in range(ROUNDS + 4):
            places = torch.randint(0, 7, (5, 3))
            if number == ROUNDS:
                places[2, 1] = wrong
            try:
                loss = (look_up(table, places) ** 2).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                log(loss.item())
            except IndexError as error:
                log(str(error).splitlines()[0], number)
            log(table, table.grad, table._version)
        return opt
    compare(loop, REPLAYED)


def test_indices_that_are_results(compare):
    """Numbers of rows that the round itself computes."""
    def loop(log):
        torch.manual_seed(0)
        table, x = nn.Parameter(torch.randn(7, 4)), torch.arange(7)
        opt = torch.optim.SGD([table], lr=0.1)
        for number in range(ROUNDS):
            loss = (table[(x + number) % 7] * table[table.detach().argmax(0)].mean(0)).sum()
            opt.zero_grad()
            loss.backward()
            opt.step()
            log(loss.item(), table)
        return opt
    compare(loop)
