"""Makes nn_behaviour.json: what PyTorch's Module says and does, scenario by scenario.

Run as ``python tests/figures/make_nn_behaviour_figures.py`` where PyTorch 2.13.0 is installed. A
scenario takes the library and returns what it saw, as lists of text and numbers.
"""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCENARIOS: dict[str, Callable[[Any], Any]] = {}


def scenario(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    SCENARIOS[function.__name__] = function
    return function


def said(action: Callable[[], Any], whole: bool = False) -> str:
    """The error that `action` raises: type and first line (or all lines but those we add)."""
    try:
        result = action()
    except Exception as error:
        lines = str(error).split("\n")
        kept = [line for line in lines if not line.startswith(("  in ", "  at ", "  fix: "))]
        return f"{type(error).__name__}: " + ("\n".join(kept) if whole else lines[0])
    return f"no error: {result!r}"


def warned(action: Callable[[], Any]) -> list[str]:
    """The warnings that `action` gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [f"{each.category.__name__}: {each.message}" for each in caught]


def net(torch: Any) -> Any:
    """A small model with parameters, buffers of both kinds, children and a shared parameter."""
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 4)
            self.norm = nn.BatchNorm1d(4)
            self.rest = nn.Sequential(OrderedDict(act=nn.ReLU(), last=nn.Linear(4, 3)))
            self.scale = nn.Parameter(torch.ones(3))
            self.register_buffer("count", torch.zeros(2))
            self.register_buffer("hidden", torch.zeros(1), persistent=False)
            self.again = self.first
            self.nothing = None

        def forward(self, x: Any, factor: float = 1.0) -> Any:
            return self.rest(self.norm(self.first(x))) * self.scale * factor

    torch.manual_seed(0)
    return Net()


def numbers(tensor: Any) -> list[float]:
    return [float(f"{x:.5g}") for x in tensor.detach().double().reshape(-1).tolist()]


@scenario
def names(torch: Any) -> Any:
    model = net(torch)
    return [
        [name for name, _ in model.named_parameters()],
        [name for name, _ in model.named_parameters(prefix="p", recurse=False)],
        [name for name, _ in model.named_parameters(remove_duplicate=False)],
        [name for name, _ in model.named_buffers()], [name for name, _ in model.named_modules()],
        [name for name, _ in model.named_modules(prefix="x", remove_duplicate=False)],
        [name for name, _ in model.named_children()], len(list(model.parameters())),
        len(list(model.modules())), len(list(model.children())), len(list(model.buffers())),
        list(model.state_dict()), list(model.state_dict(prefix="a.")),
        sorted(model.state_dict()._metadata.items()), repr(model),
        [name for name in ("first", "scale", "count", "rest", "forward", "0", "weight")
         if name in dir(model)], "0" in dir(model.rest), "last" in dir(model.rest),
    ]


@scenario
def attributes(torch: Any) -> Any:
    nn = torch.nn
    model = nn.Module()
    model.value = 3
    model.value = nn.Parameter(torch.ones(2))
    seen = ["value" in model.__dict__, list(model._parameters)]
    model.value = None
    seen += [model.value, list(model._parameters)]
    del model.value
    seen += [hasattr(model, "value"), list(model._parameters)]
    model.value = nn.ReLU()
    model.value = nn.Parameter(torch.ones(1))
    seen += [list(model._modules), list(model._parameters)]
    seen.append(said(lambda: setattr(model, "value", nn.Tanh())))
    model.tensor = torch.ones(1)
    model.tensor = nn.Tanh()
    seen += ["tensor" in model.__dict__, list(model._modules)]
    model.buffer = nn.Buffer(torch.ones(2), persistent=False)
    seen += [list(model._buffers), list(model.state_dict()), type(model.buffer) is torch.Tensor,
             isinstance(model.buffer, nn.Buffer)]
    model.buffer = torch.zeros(3)
    seen += [list(model._buffers), list(model.state_dict())]
    model.buffer = None
    seen += [model.buffer, list(model._buffers)]
    del model.buffer
    model.training = "odd"
    return [*seen, hasattr(model, "buffer"), model.training]


@scenario
def attribute_errors(torch: Any) -> Any:
    nn = torch.nn
    model = net(torch)

    class Early(nn.Module):
        def __init__(self, value: Any) -> None:
            self.early = value

    class Uninitialized(nn.Module):
        def __init__(self) -> None:
            self.width = 3

    early = Uninitialized()
    return [
        said(lambda: early(1)), said(lambda: repr(early)), said(lambda: list(early.parameters())),
        said(lambda: early.register_forward_hook(print)), said(lambda: early.state_dict()),
        said(lambda: early.eval()), said(lambda: early.width),
        said(lambda: model.missing), said(lambda: delattr(model, "missing")),
        said(lambda: setattr(model, "scale", torch.ones(3))),
        said(lambda: setattr(model, "scale", 3)),
        said(lambda: setattr(model, "first", torch.ones(3))),
        said(lambda: setattr(model, "first", "text")), said(lambda: setattr(model, "count", 5)),
        said(lambda: Early(nn.Parameter(torch.ones(1)))), said(lambda: Early(nn.ReLU())),
        said(lambda: model.register_parameter("a.b", None)),
        said(lambda: model.register_parameter("", None)),
        said(lambda: model.register_parameter(3, None)),
        said(lambda: model.register_parameter("count", None)),
        said(lambda: model.register_parameter("new", torch.ones(2))),
        said(lambda: model.register_buffer("new", 3)),
        said(lambda: model.register_buffer("a.b", None)),
        said(lambda: model.register_buffer("scale", None)),
        said(lambda: model.register_buffer("", None)), said(lambda: model.add_module("m", 3)),
        said(lambda: model.add_module("m", torch.ones(1))),
        said(lambda: model.add_module("forward", nn.ReLU())),
        said(lambda: model.add_module("a.b", nn.ReLU())),
        said(lambda: model.add_module("", nn.ReLU())), said(lambda: model.add_module(3, None)),
        said(lambda: nn.Module(3)), said(lambda: nn.Module(a=3)), said(lambda: nn.Module()(1)),
        said(lambda: model.train("yes")), said(lambda: model.get_extra_state()),
        said(lambda: nn.Parameter(torch.arange(3))),
        said(lambda: nn.Sigmoid(1)), said(lambda: nn.ELU(1, 2, 3)), said(lambda: nn.ELU(a=1)),
        said(lambda: nn.ELU(1, alpha=1)), said(lambda: nn.Threshold()),
        said(lambda: nn.Threshold(1)), said(lambda: nn.MaxPool2d()), said(lambda: nn.Dropout(1.5)),
        said(lambda: nn.MSELoss(2, 3, 4, 5)), said(lambda: nn.ELU()()), said(lambda: nn.Linear(2)),
        said(lambda: nn.MSELoss()(torch.ones(1))),
        said(lambda: nn.Linear(3, 4, typo=1)),
        said(lambda: setattr(model, "scale2", nn.Parameter(torch.ones(2)) * 2)),
    ]


@scenario
def dotted_names(torch: Any) -> Any:
    nn = torch.nn
    model = net(torch)
    model.set_submodule("rest.last", nn.Linear(4, 3, bias=False))
    return [
        repr(model.get_submodule("rest.last")), model.get_submodule("") is model,
        list(model.get_parameter("rest.last.weight").shape),
        list(model.get_buffer("norm.running_mean").shape),
        said(lambda: model.get_submodule("rest.none")), said(lambda: model.get_submodule("scale")),
        said(lambda: model.get_parameter("rest.act")), said(lambda: model.get_parameter("x")),
        said(lambda: model.get_buffer("scale")), said(lambda: model.get_buffer("y")),
        said(lambda: model.set_submodule("", nn.ReLU())),
        said(lambda: model.set_submodule("rest.x", nn.ReLU(), strict=True)),
        said(lambda: model.set_submodule("rest.last.weight", nn.ReLU())),
        said(lambda: model.set_submodule("rest.last", 3)),
    ]


@scenario
def loading(torch: Any) -> Any:
    model, other = net(torch), net(torch)
    state = other.state_dict()
    with torch.no_grad():
        other.scale.fill_(7.0)
    seen = [repr(model.load_state_dict(state)), numbers(model.scale)]
    broken = OrderedDict(state)
    del broken["count"], broken["first.bias"]
    broken["rest.last.weight"] = torch.ones(4, 5)
    broken["extra"] = torch.ones(1)
    broken["rest.nowhere.weight"] = torch.ones(1)
    broken["norm.weight"] = 3
    seen += [said(lambda: model.load_state_dict(broken), True),
             said(lambda: model.load_state_dict(broken, strict=False), True)]
    del broken["rest.last.weight"], broken["norm.weight"]
    found = model.load_state_dict(broken, strict=False)
    seen += [repr(found), str(found), found.missing_keys, found.unexpected_keys]
    seen += [said(lambda: model.load_state_dict([1])),
             said(lambda: model.first.load_state_dict({"weight": torch.ones(3, 2)}), True),
             said(lambda: model.load_state_dict(model.first))]
    return seen


@scenario
def assigning(torch: Any) -> Any:
    model = torch.nn.Linear(2, 2)
    given = {"weight": torch.zeros(2, 2), "bias": torch.nn.Parameter(torch.ones(2), False)}
    model.load_state_dict(given, assign=True)
    model.weight.data[0, 0] = 5.0
    scalar = torch.nn.Module()
    scalar.one = torch.nn.Parameter(torch.zeros(()))
    scalar.load_state_dict({"one": torch.ones(1)})
    meta = torch.nn.Linear(2, 1, device="meta")
    return [numbers(given["weight"]), model.bias is given["bias"], model.bias.requires_grad,
            model.weight.requires_grad, numbers(scalar.one),
            warned(lambda: meta.load_state_dict({"weight": torch.ones(1, 2),
                                                 "bias": torch.ones(1)})), meta.weight.is_meta]


@scenario
def extra_state(torch: Any) -> Any:
    class Counting(torch.nn.Module):
        count = 3

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    one, two = torch.nn.Sequential(Counting()), torch.nn.Sequential(Counting())
    one[0].count = 8
    two.load_state_dict(one.state_dict())
    return [list(one.state_dict()), two[0].count, said(lambda: two.load_state_dict({}), True),
            said(lambda: torch.nn.ReLU().load_state_dict({"_extra_state": 1}), True)]


@scenario
def state_hooks(torch: Any) -> Any:
    model, seen = torch.nn.Sequential(torch.nn.Linear(2, 2)), []
    model.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(["pre", prefix, keep]))
    model.register_state_dict_post_hook(
        lambda m, state, prefix, meta: seen.append(["post", list(state), prefix, meta]))
    model[0]._register_state_dict_hook(lambda m, state, prefix, meta: seen.append(["old", prefix]))

    def rename(module: Any, state: Any, prefix: str, *rest: Any) -> None:
        seen.append(["load", prefix, type(module).__name__])
        if prefix + "w" in state:
            state[prefix + "weight"] = state.pop(prefix + "w")

    model[0].register_load_state_dict_pre_hook(rename)

    def forgive(module: Any, keys: Any) -> None:
        seen.append([list(keys.missing_keys), list(keys.unexpected_keys)])
        keys.missing_keys.clear()

    model.register_load_state_dict_post_hook(forgive)
    state = model.state_dict()
    state["0.w"] = state.pop("0.weight")
    del state["0.bias"]
    seen.append(repr(model.load_state_dict(state)))
    model.register_load_state_dict_post_hook(lambda module, keys: 3)
    seen.append(said(lambda: model.load_state_dict(state)))
    return seen


@scenario
def forward_hooks(torch: Any) -> Any:
    layer, seen = torch.nn.Identity(), []
    one = torch.ones(1)

    def note(name: str) -> Any:
        def hook(module: Any, *args: Any) -> None:
            seen.append([name, len(args)])
        return hook

    handles = [layer.register_forward_pre_hook(note("pre 1")),
               layer.register_forward_pre_hook(note("pre 2"), prepend=True),
               layer.register_forward_pre_hook(note("pre 3"), with_kwargs=True),
               layer.register_forward_hook(note("post 1")),
               layer.register_forward_hook(note("post 2"), prepend=True, with_kwargs=True)]
    layer(one)
    handles[0].remove()
    with layer.register_forward_hook(note("post 3")):
        layer(one)
    layer(one)
    changed = torch.nn.Identity()
    changed.register_forward_pre_hook(lambda module, args: args[0] + 1)
    changed.register_forward_hook(lambda module, args, output: output * 10)
    seen.append(numbers(changed(one)))
    seen.append([len(layer._forward_hooks), len(layer._forward_pre_hooks)])
    broken = torch.nn.Identity()
    broken.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True)
    seen.append(said(lambda: broken(one)))
    return seen


@scenario
def always_called_hooks(torch: Any) -> Any:
    seen: list[Any] = []

    class Fails(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("on purpose")

    def loud(module: Any, args: Any, output: Any) -> None:
        seen.append(["called", output])
        raise KeyError("silenced")

    model = Fails()
    model.register_forward_hook(lambda *args: seen.append("not called"))
    model.register_forward_hook(loud, always_call=True)
    seen.append(warned(lambda: seen.append(said(lambda: model(1)))))
    return seen


@scenario
def global_hooks(torch: Any) -> Any:
    from_module, seen = torch.nn.modules.module, []
    layer = torch.nn.Linear(1, 1)
    layer.register_forward_hook(lambda *args: seen.append("own"))
    handles = [
        from_module.register_module_forward_pre_hook(lambda m, args: seen.append("global pre")),
        from_module.register_module_forward_hook(lambda m, args, out: seen.append("global post")),
        from_module.register_module_full_backward_hook(
            lambda m, gin, gout: seen.append([len(gin), len(gout)])),
        from_module.register_module_parameter_registration_hook(
            lambda m, name, value: seen.append(["parameter", name])),
        from_module.register_module_buffer_registration_hook(
            lambda m, name, value: seen.append(["buffer", name])),
        from_module.register_module_module_registration_hook(
            lambda m, name, value: seen.append(["module", name]))]
    layer(torch.ones(2, 1).requires_grad_()).sum().backward()
    torch.nn.Sequential(torch.nn.BatchNorm1d(2, affine=True))
    for handle in handles:
        handle.remove()
    layer(torch.ones(2, 1)).sum().backward()
    return seen


@scenario
def backward_hooks(torch: Any) -> Any:
    torch.manual_seed(0)
    model, seen = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)), []

    def note(name: str) -> Any:
        def hook(module: Any, *gradients: Any) -> None:
            seen.append([name, *[[None if g is None else numbers(g) for g in each]
                                 for each in gradients]])
        return hook

    model[1].register_full_backward_pre_hook(note("pre"))
    model[1].register_full_backward_hook(note("full"))
    model[1].register_full_backward_hook(note("first"), prepend=True)
    model[0].register_full_backward_hook(
        lambda m, gin, gout: None if gin[0] is None else (gin[0] * 2,))
    x = torch.ones(1, 2, requires_grad=True)
    model(x).sum().backward()
    seen.append(numbers(x.grad))
    seen += [said(lambda: model[1].register_backward_hook(print)),
             warned(lambda: torch.nn.Sequential(model)(torch.ones(1, 2)).sum().backward())]
    bad = torch.nn.Identity()
    bad.register_full_backward_hook(lambda m, gin, gout: (gin[0], gin[0]))
    seen.append(said(lambda: bad(x).sum().backward()))
    return seen


@scenario
def old_backward_hooks(torch: Any) -> Any:
    torch.manual_seed(0)
    layer, seen = torch.nn.Sigmoid(), []
    layer.register_backward_hook(lambda m, gin, gout: seen.append([len(gin), len(gout)]))
    x = torch.ones(2, requires_grad=True)
    seen.append(warned(lambda: layer(x).sum().backward()))
    both = torch.nn.Sequential(torch.nn.Sigmoid(), torch.nn.Tanh())
    both.register_backward_hook(lambda m, gin, gout: None)
    seen.append(warned(lambda: both(x).sum().backward()))
    seen.append(said(lambda: layer.register_full_backward_hook(print)))
    return seen


@scenario
def modes(torch: Any) -> Any:
    model = net(torch)
    seen = [model.eval() is model, [module.training for module in model.modules()]]
    model.rest.train()
    seen.append([module.training for module in model.modules()])
    model.requires_grad_(False)
    seen.append([p.requires_grad for p in model.parameters()])
    model.requires_grad_()
    model(torch.ones(2, 3)).sum().backward()
    model.zero_grad(set_to_none=False)
    seen.append([numbers(p.grad.abs().sum()) for p in model.parameters()])
    model.zero_grad()
    seen.append([p.grad is None for p in model.parameters()])
    order: list[str] = []
    model.apply(lambda module: order.append(type(module).__name__))
    return [*seen, order]


@scenario
def casting(torch: Any) -> Any:
    model = net(torch)
    weight = model.first.weight
    (model(torch.ones(2, 3)).sum()).backward()
    model.double()
    seen = [model.first.weight is weight, str(weight.dtype), str(weight.grad.dtype),
            str(model.norm.num_batches_tracked.dtype), str(model.norm.running_mean.dtype),
            weight.is_leaf]
    for change in (lambda m: m.half(), lambda m: m.float(), lambda m: m.to(torch.float64),
                   lambda m: m.to("cpu", torch.float32), lambda m: m.to(torch.ones(1).double()),
                   lambda m: m.to(dtype=torch.float32), lambda m: m.to(device="cpu"),
                   lambda m: m.type(torch.float64), lambda m: m.bfloat16(), lambda m: m.cpu(),
                   lambda m: m.to(non_blocking=True, dtype=torch.float32)):
        change(model)
        seen.append(str(model.first.weight.dtype))
    seen += [said(lambda: model.to(torch.int32)), str(model.type(torch.float32).count.dtype)]
    meta = torch.nn.Linear(2, 3, device="meta")
    seen += [str(meta.weight.device), said(lambda: meta.to("cpu")),
             str(meta.to_empty(device="cpu").weight.device),
             str(torch.nn.Linear(2, 3).to("meta").weight.device)]
    return seen


@scenario
def copies(torch: Any) -> Any:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    model.tied = model[0]
    model.eval()
    model.note = "kept"
    seen = []
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        seen += [twin.tied is twin[0], twin.training, twin.note, list(twin.state_dict()),
                 [p.requires_grad for p in twin.parameters()], twin[0].weight is model[0].weight]
    parameter = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    twin = copy.deepcopy(parameter)
    seen += [isinstance(twin, torch.nn.Parameter), twin.requires_grad, repr(parameter)]
    base = torch.zeros(2)
    shares = torch.nn.Parameter(base)
    base[0] = 5.0
    return [*seen, repr(shares), isinstance(shares.data, torch.nn.Parameter), shares.is_leaf,
            repr(torch.nn.Parameter()), isinstance(shares * 2, torch.nn.Parameter),
            repr(torch.nn.UninitializedParameter())]


@scenario
def sequential(torch: Any) -> Any:
    nn = torch.nn
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.Tanh())
    seen = [repr(model[1]), repr(model[-1]), repr(model[1:3]), len(model), repr(model[:0]),
            said(lambda: model[4]), said(lambda: model[-5]), said(lambda: model["a"])]
    model[1] = nn.Sigmoid()
    del model[0]
    seen.append(repr(model))
    seen += [repr(model.pop(0)), repr(model.append(nn.GELU())), repr(model.insert(1, nn.ELU())),
             repr(model.insert(-1, nn.Mish())), repr(model.extend([nn.SiLU(), nn.SELU()]))]
    del model[1:3]
    seen += [repr(model), repr(model + nn.Sequential(nn.Identity())),
             repr(nn.Sequential(nn.ReLU()) * 2), repr(2 * nn.Sequential(nn.ReLU()))]
    model += nn.Sequential(nn.Softplus())
    small = nn.Sequential(nn.ReLU(), nn.Tanh())
    small *= 2
    return [*seen, repr(model), repr(small), said(lambda: model + 3), said(lambda: model * 0),
            said(lambda: model * 1.5), said(lambda: model.insert(99, nn.ReLU())),
            said(lambda: model.insert(0, 3)), said(lambda: nn.Sequential(nn.Flatten)),
            said(lambda: model.add_module("m", nn.BatchNorm2d)),
            said(lambda: nn.Sequential(3)), [type(m).__name__ for m in small],
            list(nn.Sequential(OrderedDict(a=nn.ReLU())).state_dict()),
            [name for name in dir(model) if name.isdigit()]]


@scenario
def module_containers(torch: Any) -> Any:
    nn = torch.nn
    items = nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])
    items += [nn.Tanh()]
    items.insert(1, nn.ELU())
    items.append(nn.GELU()).extend([nn.Mish()])
    seen = [repr(items), repr(items[1:3]), repr(items.pop(-1)), len(items),
            repr(items + [nn.SiLU()]), said(lambda: items[9]), said(lambda: items.extend(3)),
            said(lambda: items()), repr(items[-1])]
    items[0] = nn.Identity()
    del items[1:3]
    seen.append(repr(items))
    table = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Linear(1, 1)})
    table["c"] = nn.Tanh()
    table.update([("d", nn.ELU())])
    seen += [list(table), list(table.keys()), "a" in table, repr(table.pop("a")), len(table),
             [key for key, _ in table.items()], [type(v).__name__ for v in table.values()],
             said(lambda: table["zz"]), said(lambda: table.update(3)),
             said(lambda: table.update([3])), said(lambda: table.update([(1, 2, 3)])),
             said(lambda: table.update({"x": 3})), said(lambda: nn.ModuleDict({"keys": nn.ReLU()}))]
    table.clear()
    return [*seen, repr(table)]


@scenario
def parameter_containers(torch: Any) -> Any:
    nn = torch.nn
    items = nn.ParameterList([torch.ones(2), nn.Parameter(torch.zeros(1), False), "text"])
    items.append(torch.ones(1, 3)).extend([torch.ones(())])
    items[0] = torch.zeros(4)
    seen = [repr(items), len(items), [type(p).__name__ for p in items], repr(items[1:3]),
            list(items.state_dict()), said(lambda: items[9]), said(lambda: items()),
            said(lambda: items.extend(torch.ones(2)))]
    table = nn.ParameterDict({"b": torch.ones(2), "a": nn.Parameter(torch.zeros(1)), "n": 3})
    table["c"] = torch.ones(3)
    seen += [repr(table), list(table), list(reversed(table)), table.get("zz", 1), "a" in table,
             [key for key, _ in table.items()], len(list(table.values())), list(table.keys()),
             list(table.state_dict()), said(lambda: table[3]), said(lambda: table.update(3)),
             said(lambda: table.update([3])), said(lambda: table()), repr(table | {"q": 1}),
             repr(table.setdefault("new", 4)), table.popitem(), repr(table.copy()),
             repr(table.fromkeys("xy", 1)), repr(table.pop("c")), len(table)]
    table.clear()
    return [*seen, len(table), said(table.popitem)]


@scenario
def lazy(torch: Any) -> Any:
    nn = torch.nn
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.ReLU())
    seen = [repr(model), repr(model[0].weight), list(model.state_dict()),
            said(lambda: model[0].weight.shape), model[0].has_uninitialized_params()]
    twin = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.ReLU())
    model(torch.ones(2, 5))
    seen += [repr(model), type(model[0]).__name__, list(model[0].weight.shape),
             hasattr(model[0], "_initialize_hook"), len(model[0]._forward_pre_hooks)]
    twin.load_state_dict(model.state_dict())
    seen += [list(twin[0].weight.shape), repr(twin)]
    twin(torch.ones(2, 5))
    convolution = nn.LazyConv2d(2, 3, groups=2)
    return [*seen, repr(twin), said(lambda: nn.LazyConv2d(2, 3)(torch.ones(3))),
            said(lambda: convolution(torch.ones(1, 3, 4, 4)))]


@scenario
def saved_by_hand(torch: Any) -> Any:
    """Subclasses that save in their own way, and old state dicts of batch normalisation."""
    class Own(torch.nn.Linear):
        _version = 4

        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[prefix + "made"] = torch.ones(1)

        def _load_from_state_dict(self, state: Any, prefix: str, meta: Any, *rest: Any) -> None:
            self.seen = meta.get("version")
            state.pop(prefix + "made")
            super()._load_from_state_dict(state, prefix, meta, *rest)

    model = torch.nn.Sequential(Own(1, 1), torch.nn.BatchNorm1d(1))
    state = model.state_dict()
    result = repr(model.load_state_dict(state))
    old = OrderedDict((key, value) for key, value in state.items() if "tracked" not in key)
    kept = model.state_dict(keep_vars=True)["0.weight"]
    return [list(state), result, model[0].seen, repr(model.load_state_dict(old)),
            kept is model[0].weight, state["0.weight"].requires_grad]


@scenario
def inits(torch: Any) -> Any:
    init, seen = torch.nn.init, []
    torch.manual_seed(3)
    recipes = [
        lambda t: init.uniform_(t, -1, 2), lambda t: init.normal_(t, 1, 2),
        lambda t: init.trunc_normal_(t), lambda t: init.trunc_normal_(t, 1.0, 2.0, 2.5, 3.0),
        lambda t: init.constant_(t, 3), init.ones_, init.zeros_, init.eye_,
        lambda t: init.xavier_uniform_(t, 2.0), init.xavier_normal_,
        lambda t: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"),
        lambda t: init.kaiming_normal_(t, a=0.1), lambda t: init.orthogonal_(t, 2),
        lambda t: init.sparse_(t, 0.3)]
    for recipe in recipes:
        seen.append(numbers(recipe(torch.empty(5, 4)))[:6])
    seen += [numbers(init.dirac_(torch.empty(4, 2, 3), 2)), numbers(init.orthogonal_(
        torch.empty(2, 3, 2)))]
    gains = [init.calculate_gain(name) for name in ("linear", "conv2d", "sigmoid", "tanh", "relu",
                                                    "leaky_relu", "selu")]
    errors = [
        said(lambda: init.calculate_gain("odd")),
        said(lambda: init.calculate_gain("leaky_relu", True)),
        said(lambda: init.eye_(torch.ones(1))),
        said(lambda: init.dirac_(torch.ones(1))), said(lambda: init.dirac_(torch.ones(3, 1, 1), 2)),
        said(lambda: init.xavier_uniform_(torch.ones(3))),
        said(lambda: init.kaiming_uniform_(torch.ones(3, 3), mode="odd")),
        said(lambda: init.orthogonal_(torch.ones(3))),
        said(lambda: init.sparse_(torch.ones(3), 0.1)),
        warned(lambda: init.kaiming_uniform_(torch.ones(0, 3))),
        warned(lambda: init.uniform(torch.ones(1))), init.uniform.__name__,
        warned(lambda: init.trunc_normal_(torch.ones(2), 9.0, 1.0, 0.0, 1.0))]
    return [seen, gains, errors, init.calculate_gain("leaky_relu", 0.3)]


@scenario
def module_errors(torch: Any) -> Any:
    nn = torch.nn
    return [said(action) for action in (
        nn.Conv2d, nn.ConvTranspose1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.LayerNorm,
        nn.GroupNorm, nn.FractionalMaxPool2d, nn.AvgPool2d, nn.MaxUnpool1d, nn.LSTM, nn.GRUCell,
        nn.Embedding,
        nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.Linear, nn.Bilinear, nn.Upsample,
        nn.LPPool2d, nn.ReflectionPad2d, nn.ConstantPad1d, nn.Fold, nn.PixelShuffle, nn.Unflatten,
        lambda: nn.Linear(-1, 2), lambda: nn.PReLU(2, 3, 4, 5, 6),
        lambda: nn.Conv2d(3, 4, 2, groups=2), lambda: nn.Conv2d(4, 3, 2, groups=2),
        lambda: nn.Conv2d(4, 4, 2, groups=0), lambda: nn.Conv2d(4, 4, 2, 2, padding="same"),
        lambda: nn.ConvTranspose2d(3, 4, 2, padding_mode="reflect"),
        lambda: nn.ConvTranspose1d(3, 4, 2, 2)(torch.ones(1, 3, 4), output_size=[20]),
        lambda: nn.ConvTranspose1d(3, 4, 2, 2)(torch.ones(1, 3, 4), output_size=[1, 2]),
        lambda: nn.BatchNorm1d(3)(torch.ones(3)), lambda: nn.BatchNorm2d(3)(torch.ones(3, 3)),
        lambda: nn.BatchNorm3d(3)(torch.ones(3, 3)), lambda: nn.InstanceNorm2d(3)(torch.ones(3)),
        lambda: nn.InstanceNorm1d(3, affine=True)(torch.ones(2, 4, 5)),
        lambda: nn.GroupNorm(2, 5), lambda: nn.Embedding(3, 2, padding_idx=3),
        lambda: nn.Embedding(3, 2, padding_idx=-4), lambda: nn.EmbeddingBag(3, 2, padding_idx=5),
        lambda: nn.Embedding.from_pretrained(torch.ones(3)), lambda: nn.Bilinear(0, 1, 1),
        lambda: nn.Unflatten(1, 3), lambda: nn.Unflatten(1, (2, "a")), lambda: nn.Hardtanh(2, 1),
        lambda: nn.MultiMarginLoss(3), lambda: nn.TripletMarginLoss(margin=0), nn.RNN,
        lambda: nn.HuberLoss(delta="a"), lambda: nn.FractionalMaxPool2d(2),
        lambda: nn.FractionalMaxPool2d(2, 3, 0.5), lambda: nn.FractionalMaxPool2d(2, None, 1.5),
        lambda: nn.RNN(2, 3, nonlinearity="odd"), lambda: nn.GRU(2, 3, proj_size=2),
        lambda: nn.LSTM(2, 3, proj_size=3), lambda: nn.LSTM(2, 3, dropout=2),
        lambda: nn.LSTM(2, 3, bias=1), lambda: nn.LSTM(2.0, 3), lambda: nn.LSTM(2, 0),
        lambda: nn.LSTM(2, 3, num_layers=0), lambda: nn.LSTM(2, 3)(torch.ones(1)),
        lambda: nn.RNN(2, 3)(torch.ones(1)), lambda: nn.LSTM(2, 3)(torch.ones(4, 2, 5)),
        lambda: nn.LSTM(2, 3)(torch.ones(4, 1, 2), (torch.ones(1, 1, 2), torch.ones(1, 1, 3))),
        lambda: nn.GRU(2, 3)(torch.ones(4, 1, 2), torch.ones(1, 3)),
        lambda: nn.GRU(2, 3)(torch.ones(4, 2), torch.ones(1, 1, 3)),
        lambda: nn.LSTM(2, 3)(torch.ones(4, 2), (torch.ones(1, 1, 3), torch.ones(1, 1, 3))),
        lambda: nn.RNN(2, 3)(torch.ones(4, 1, 2), torch.ones(2, 1, 3)),
        lambda: nn.RNN(2, 3)(torch.ones(4, 1, 2).double()),
        lambda: nn.RNNCell(2, 3)(torch.ones(1, 1, 2)),
        lambda: nn.LSTMCell(2, 3)(torch.ones(1, 2), (torch.ones(1, 3), torch.ones(1, 1, 3))),
        lambda: nn.RNNCell(2, 3, nonlinearity="odd")(torch.ones(1, 2)),
        lambda: nn.RNNCell(2, 3)(torch.ones(1, 4)),
        lambda: nn.GRUCell(2, 3)(torch.ones(2, 2), torch.ones(1, 3)),
        lambda: nn.LSTMCell(2, 3)(torch.ones(1, 2), (torch.ones(1, 3), torch.ones(1, 4))),
        lambda: nn.LSTMCell(2, 3)(torch.ones(1, 2), (torch.ones(1, 3),)),
        lambda: nn.MultiheadAttention(5, 2), lambda: nn.MultiheadAttention(0, 2),
        lambda: nn.TransformerEncoderLayer(4, 2, activation="odd"),
        lambda: nn.Transformer(4, 2, 1, 1, 4)(torch.ones(3, 2, 4), torch.ones(3, 1, 4)),
        lambda: nn.Transformer(4, 2, 1, 1, 4)(torch.ones(3, 2, 5), torch.ones(3, 2, 4)),
        lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 5, []),
        lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 5, [3, 2]),
        lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 5, [2])(torch.ones(2, 4), torch.tensor([1, 9])),
        lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 5, [2])(torch.ones(3, 4), torch.tensor([1, 2])),
        lambda: nn.Softmax2d()(torch.ones(2)), lambda: nn.CircularPad1d(1)(torch.ones(2)),
    )]


def figures(torch: Any) -> dict[str, Any]:
    """Everything in nn_behaviour.json."""
    found = {}
    for name, run in SCENARIOS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = json.loads(json.dumps(run(torch)))
    return found


if __name__ == "__main__":
    import torch

    place = Path(__file__).with_name("nn_behaviour.json")
    place.write_text(json.dumps(figures(torch), indent=1) + "\n")
