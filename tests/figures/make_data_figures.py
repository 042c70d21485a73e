"""Writes data.json beside itself: the order of a DataLoader's batches in PyTorch 2.13.

Run it with PyTorch installed; the tests replay the file without.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch.utils import data

LENGTH = 11
LOADERS: list[dict[str, Any]] = [
    {"batch_size": 4},
    {"batch_size": 4, "shuffle": True},
    {"batch_size": 3, "shuffle": True, "drop_last": True},
    {"batch_size": None, "shuffle": True},
]


def passes(options: dict[str, Any]) -> dict[str, Any]:
    torch.manual_seed(5)
    loader = data.DataLoader(data.TensorDataset(torch.arange(LENGTH)), **options)
    orders = [[batch[0].tolist() for batch in loader] for _ in range(2)]
    return {"options": options, "orders": orders, "next": torch.rand(2).tolist()}


def samplers() -> dict[str, Any]:
    torch.manual_seed(6)
    weights = [1.0, 5.0, 0.0, 2.0]
    parts = data.random_split(range(LENGTH), [0.5, 0.3, 0.2])
    return {
        "random_split": [list(part.indices) for part in parts],
        "weights": weights,
        "weighted": list(data.WeightedRandomSampler(weights, 12)),
        "weighted_once": list(data.WeightedRandomSampler(weights, 3, replacement=False)),
        "replacement": list(data.RandomSampler(range(LENGTH), True, 40)),
        "subset": list(data.SubsetRandomSampler([3, 1, 4, 15])),
        "next": torch.rand(2).tolist(),
    }


if __name__ == "__main__":
    document = {
        "torch": torch.__version__,
        "length": LENGTH,
        "loaders": [passes(options) for options in LOADERS],
        "samplers": samplers(),
    }
    path = Path(__file__).with_name("data.json")
    path.write_text(json.dumps(document, indent=1) + "\n")
