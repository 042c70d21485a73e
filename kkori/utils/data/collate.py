"""Makes a batch of examples: tensors are stacked, numbers become a tensor, the rest is nested."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import kkori
from kkori.core.errors import message
from kkori.tensor import Tensor

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]

np_str_obj_array_pattern = re.compile(r"[SaUO]")
default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)

CollateMap = dict[Any, Callable[..., Any]]


def default_convert(data: Any) -> Any:
    """NumPy arrays and numbers as tensors, also inside dictionaries, tuples and lists."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)) and not isinstance(data, np.str_):
        is_text = isinstance(data, np.ndarray) and np_str_obj_array_pattern.search(data.dtype.str)
        return data if is_text else kkori.as_tensor(data)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, tuple):
        return [default_convert(item) for item in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(item) for item in data])
    return data


def _like_mapping(model: Mapping, entries: dict) -> Any:
    """The entries in a mapping of the model's type, or in a dictionary where that fails."""
    try:
        if isinstance(model, MutableMapping):
            result = copy.copy(model)
            result.update(entries)
            return result
        return type(model)(entries)  # type: ignore[call-arg]
    except TypeError:
        return entries


def _like_sequence(model: Sequence, items: list) -> Any:
    """The items in a sequence of the model's type, or in a list where that fails."""
    if type(model) is list:
        return items
    try:
        if isinstance(model, MutableSequence):
            result = copy.copy(model)
            for index, item in enumerate(items):
                result[index] = item
            return result
        return type(model)(items)  # type: ignore[call-arg]
    except TypeError:
        return items


def collate(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """A batch made of examples by the functions of a map from types, going into containers.

    Raises RuntimeError for examples of different lengths, TypeError for types not in the map.
    """
    element = batch[0]
    kind = type(element)
    function = _function_for(kind, element, collate_fn_map or {})
    if function is not None:
        return function(batch, collate_fn_map=collate_fn_map)

    def nested(items: Any) -> Any:
        return collate(items, collate_fn_map=collate_fn_map)

    if isinstance(element, Mapping):
        entries = {key: nested([example[key] for example in batch]) for key in element}
        return _like_mapping(element, entries)
    if isinstance(element, tuple) and hasattr(element, "_fields"):
        return kind(*map(nested, zip(*batch, strict=False)))
    if not isinstance(element, Sequence):
        raise TypeError(_not_collated(kind))
    if any(len(example) != len(element) for example in batch):
        raise RuntimeError(message(
            "each element in list of batch should be of equal size",
            what=f"sizes: {', '.join(str(len(example)) for example in batch[:8])}",
            fix="make the examples equally long, or pass collate_fn=list to keep them apart",
        ))
    columns = [nested(column) for column in zip(*batch, strict=False)]
    return columns if isinstance(element, tuple) else _like_sequence(element, columns)


def _not_collated(kind: Any) -> str:
    return message(
        default_collate_err_msg_format.format(kind),
        fix="return tensors or numbers from the dataset, or pass collate_fn=list",
    )


def _function_for(kind: type, element: Any, table: CollateMap) -> Callable | None:
    if kind in table:
        return table[kind]
    for known, function in table.items():
        if isinstance(element, known):
            return function
    return None


def collate_tensor_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Tensors stacked along a new first dimension."""
    return kkori.stack(list(batch), 0)


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Arrays stacked as tensors; TypeError for arrays of text or of objects."""
    kind = batch[0].dtype
    if np_str_obj_array_pattern.search(kind.str) is not None:
        raise TypeError(_not_collated(kind))
    tensors = [kkori.as_tensor(array) for array in batch]
    return collate(tensors, collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """NumPy numbers as one tensor of their type."""
    return kkori.as_tensor(np.asarray(batch))


def collate_float_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Python floats as a tensor of float64."""
    return kkori.as_tensor(batch, dtype=kkori.float64)


def collate_int_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Python integers as a tensor of int64, truth values as one of bool."""
    return kkori.as_tensor(batch)


def collate_str_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Text stays as it is."""
    return batch


default_collate_fn_map: CollateMap = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch: Any) -> Any:
    """A batch of examples: tensors stacked, numbers as tensors, containers kept.

    >>> from kkori.utils.data import default_collate
    >>> default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.], dtype=torch.float64)]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
