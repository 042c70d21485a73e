"""Functions of functions: `torch.func`. Gradients here are results, not attributes.

`vmap` calls the function once for each slice and stacks what it returns: right for every function,
not fast. `jacfwd` is `jacrev`: there is no forward mode here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kkori.autograd.api import grad as gradients_of
from kkori.autograd.mode import enable_grad
from kkori.nn.utils.stateless import call_with as functional_call
from kkori.ops.create import zeros_like
from kkori.ops.move import stack
from kkori.tensor import Tensor

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp",
           "stack_module_state", "vjp", "vmap"]

Function = Callable[..., Any]


# Trees: tensors in nested tuples, lists and dicts


def leaves(tree: Any) -> list[Any]:
    """Everything in a tree that is not a tuple, list or dict, in order."""
    if isinstance(tree, dict):
        return [leaf for each in tree.values() for leaf in leaves(each)]
    if isinstance(tree, (tuple, list)):
        return [leaf for each in tree for leaf in leaves(each)]
    return [tree]


def rebuilt(tree: Any, values: Iterator[Any]) -> Any:
    """A tree like `tree` with the next of `values` at each leaf."""
    if isinstance(tree, dict):
        return {key: rebuilt(each, values) for key, each in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [rebuilt(each, values) for each in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return next(values)


def mapped(function: Function, tree: Any) -> Any:
    """`function` of every leaf."""
    return rebuilt(tree, iter([function(leaf) for leaf in leaves(tree)]))


# Gradients


class _Level:
    depth = 0  # how many gradients are being taken around this one


@contextmanager
def _inside() -> Iterator[None]:
    _Level.depth += 1
    try:
        with enable_grad():
            yield
    finally:
        _Level.depth -= 1


def _tracked(value: Any) -> Any:
    """A tensor to differentiate by, tied to `value` where that is itself being followed."""
    if not isinstance(value, Tensor):
        return value
    if value.requires_grad:
        return value.view_as(value)
    return value.detach().requires_grad_()


def _finished(tree: Any, followed: bool) -> Any:
    """Results, without a tail unless somebody outside follows them."""
    if followed or _Level.depth:
        return tree
    return mapped(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, tree)


def _is_followed(tree: Any) -> bool:
    return any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves(tree))


def _chosen(args: tuple[Any, ...], argnums: Any) -> tuple[int, ...]:
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise RuntimeError(f"Got argnum={number}, but only {len(args)} positional inputs")
    return tuple(number % len(args) for number in numbers)


def _grad_tree(output: Tensor, tree: Any, seed: Tensor | None = None) -> Any:
    """Gradients of `output` for every tensor in `tree`, zeros where it was not used."""
    tensors = leaves(tree)
    if not output.requires_grad:
        return mapped(zeros_like, tree)
    found = gradients_of(output, tensors, seed, create_graph=True, allow_unused=True)
    return rebuilt(tree, iter([zeros_like(tensor) if gradient is None else gradient
                               for tensor, gradient in zip(tensors, found, strict=True)]))


def grad_and_value(func: Function, argnums: int | tuple[int, ...] = 0,
                   has_aux: bool = False) -> Function:
    """A function that returns (gradient, value) of `func`, whose result must be one number."""
    @functools.wraps(func)
    def call(*args: Any, **options: Any) -> Any:
        numbers = _chosen(args, argnums)
        followed = _is_followed((args, options))
        with _inside():
            inputs = list(args)
            for number in numbers:
                inputs[number] = mapped(_tracked, args[number])
            output = func(*inputs, **options)
            output, aux = _split_aux(output, has_aux, "grad_and_value(f)(*args)")
            _check_scalar(output)
            found = tuple(_grad_tree(output, inputs[number]) for number in numbers)
        result = found if isinstance(argnums, tuple) else found[0]
        value = (output, aux) if has_aux else output
        return _finished(result, followed), _finished(value, followed)

    return call


def _split_aux(output: Any, has_aux: bool, who: str) -> tuple[Any, Any]:
    if not has_aux:
        return output, None
    if not (isinstance(output, tuple) and len(output) == 2):
        raise RuntimeError(f"{who}: output of function f should be a tuple: (output, aux) if "
                           "has_aux is True")
    return output


def _check_scalar(output: Any) -> None:
    if not isinstance(output, Tensor):
        raise RuntimeError("grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got "
                           f"{type(output)}")
    if output.dim():
        raise RuntimeError(
            "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor "
            f"with {output.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?")


def grad(func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """The gradient of `func` (whose result is one number) as a function.

    >>> import kkori as torch
    >>> torch.func.grad(torch.sin)(torch.tensor(0.0))
    tensor(1.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def call(*args: Any, **options: Any) -> Any:
        gradient, value = both(*args, **options)
        return (gradient, value[1]) if has_aux else gradient

    return call


def vjp(func: Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(output, the function from a gradient of the output to those of the inputs)."""
    followed = _is_followed(primals)
    with _inside():
        inputs = mapped(_tracked, primals)
        output, aux = _split_aux(func(*inputs), has_aux, "vjp(f, *primals)")

    def pull(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        found = None
        for part, seed in zip(leaves(output), leaves(cotangents), strict=True):
            each = _grad_tree(part, inputs, seed)
            found = each if found is None else rebuilt(inputs, iter(
                [a + b for a, b in zip(leaves(found), leaves(each), strict=True)]))
        return _finished(found, followed or _is_followed(cotangents))

    result = _finished(output, followed), pull
    return (*result, _finished(aux, followed)) if has_aux else result


def jvp(func: Function, primals: Any, tangents: Any, *, strict: bool = False,
        has_aux: bool = False) -> tuple[Any, ...]:
    """(output, its derivative along `tangents`), by differentiating the gradient's seed."""
    followed = _is_followed((primals, tangents))
    with _inside():
        inputs = mapped(_tracked, primals)
        output, aux = _split_aux(func(*inputs), has_aux, "jvp(f, primals, tangents)")
        slopes = [_along(part, leaves(inputs), leaves(tangents)) for part in leaves(output)]
        slope = rebuilt(output, iter(slopes))
    result = _finished(output, followed), _finished(slope, followed)
    return (*result, _finished(aux, followed)) if has_aux else result


def _along(output: Tensor, inputs: list[Tensor], tangents: list[Tensor]) -> Tensor:
    seed = zeros_like(output).requires_grad_()
    pulled = _grad_tree(output, inputs, seed)
    total = sum((a * b).sum() for a, b in zip(pulled, tangents, strict=True))
    return _grad_tree(total, seed)


def jacrev(func: Function, argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False,
           chunk_size: int | None = None) -> Function:
    """All first derivatives of `func`, of shape (*output, *input), as a function."""
    @functools.wraps(func)
    def call(*args: Any, **options: Any) -> Any:
        numbers = _chosen(args, argnums)
        followed = _is_followed((args, options))
        with _inside():
            inputs = list(args)
            for number in numbers:
                inputs[number] = mapped(_tracked, args[number])
            output, aux = _split_aux(func(*inputs, **options), has_aux, "jacrev(f)(*args)")
            trees = tuple(inputs[number] for number in numbers)
            wanted = trees if isinstance(argnums, tuple) else trees[0]
            found = mapped(lambda part: _jacobian(part, wanted), output)
        found = _finished(found, followed)
        return (found, _finished(aux, followed)) if has_aux else found

    return call


def _jacobian(output: Tensor, tree: Any) -> Any:
    rows = [leaves(_grad_tree(element, tree)) for element in output.reshape(-1)]
    columns = [stack(column).reshape((*output.shape, *column[0].shape))
               for column in zip(*rows, strict=True)]
    return rebuilt(tree, iter(columns))


jacfwd = jacrev


def hessian(func: Function, argnums: int | tuple[int, ...] = 0) -> Function:
    """All second derivatives of `func`, as a function."""
    return jacrev(jacrev(func, argnums), argnums)


# Batches


def vmap(func: Function, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
         chunk_size: int | None = None) -> Function:
    """`func` for one example as a function for a batch, one call after the other."""
    name = getattr(func, "__name__", repr(func))

    @functools.wraps(func)
    def call(*args: Any, **options: Any) -> Any:
        dims = _spread(in_dims, args, name)
        tensors = leaves(args)
        size = _batch_size(tensors, dims, f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)")
        results = [func(*rebuilt(args, iter([
            value if dim is None else value.select(dim, number)
            for value, dim in zip(tensors, dims, strict=True)])), **options)
            for number in range(size)]
        columns = zip(*[leaves(result) for result in results], strict=True)
        places = _spread(out_dims, results[0], name)
        joined = [_joined(column, place, name)
                  for column, place in zip(columns, places, strict=True)]
        return rebuilt(results[0], iter(joined))

    return call


def _joined(column: tuple[Any, ...], place: int | None, name: str) -> Any:
    if not isinstance(column[0], Tensor):
        raise ValueError(f"vmap({name}, ...): `{name}` must only return Tensors, got type "
                         f"{type(column[0])}. Did you mean to set out_dims= to None for output?")
    return column[0] if place is None else stack(column, place)


def _spread(dims: Any, tree: Any, name: str) -> list[int | None]:
    """One dimension for each leaf of `tree`."""
    if dims is None or isinstance(dims, int):
        return [dims] * len(leaves(tree))
    if not isinstance(tree, (tuple, list, dict)) or len(dims) != len(tree):
        raise ValueError(
            f"vmap({name}, in_dims={dims}, ...)(<inputs>): in_dims is not compatible with the "
            "structure of `inputs`.")
    parts = tree.values() if isinstance(tree, dict) else tree
    given = dims.values() if isinstance(dims, dict) else dims
    return [place for dim, part in zip(given, parts, strict=True)
            for place in _spread(dim, part, name)]


def _batch_size(tensors: list[Any], dims: list[int | None], who: str) -> int:
    sizes = []
    for value, dim in zip(tensors, dims, strict=True):
        if dim is None:
            continue
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{who}: Got in_dim={dim} for an input but the input is of type {type(value)}. We "
                "cannot vmap over non-Tensor arguments, please use None as the respective in_dim")
        if not -value.dim() <= dim < value.dim():
            raise ValueError(
                f"{who}: Got in_dim={dim} for some input, but that input is a Tensor of "
                f"dimensionality {value.dim()} so expected in_dim to satisfy -{value.dim()} <= "
                f"in_dim < {value.dim()}.")
        sizes.append(value.size(dim))
    if not sizes:
        raise ValueError(f"{who}: at least one input has to have an in_dim that is not None")
    if len(set(sizes)) > 1:
        raise ValueError("vmap: Expected all tensors to have the same size in the mapped "
                         f"dimension, got sizes {sizes} for the mapped dimension")
    return sizes[0]


def stack_module_state(models: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) of equal models, each stacked over the models, for `vmap`."""
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    parameters, buffers = (
        {name: stack([tensor.detach() for tensor in tensors]) for name, tensors in zip(
            names, zip(*columns, strict=True), strict=True)}
        for names, columns in (
            ([name for name, _ in models[0].named_parameters()],
             [list(model.parameters()) for model in models]),
            ([name for name, _ in models[0].named_buffers()],
             [list(model.buffers()) for model in models])))
    for name, parameter in models[0].named_parameters():
        parameters[name].requires_grad_(parameter.requires_grad)
    return parameters, buffers
