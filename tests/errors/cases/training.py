"""Mistakes with optimizers, data and files: each `case_` function raises or warns."""

from __future__ import annotations

# --- optimizers -----------------------------------------------------------------------------------


def case_optimizer_empty(torch):
    return torch.optim.SGD([], lr=0.1)


def case_optimizer_of_tensor(torch):
    return torch.optim.SGD(torch.ones(2, requires_grad=True), lr=0.1)


def case_optimizer_of_numbers(torch):
    return torch.optim.SGD([1.0], lr=0.1)


def case_optimizer_of_module(torch):
    return torch.optim.SGD(torch.nn.Linear(1, 1), lr=0.1)


def case_optimizer_of_method(torch):
    return torch.optim.SGD(torch.nn.Linear(1, 1).parameters, lr=0.1)


def case_optimizer_non_leaf(torch):
    return torch.optim.SGD([torch.ones(2, requires_grad=True) * 2], lr=0.1)


def case_optimizer_lr(torch):
    return torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=-0.1)


def case_adam_lr(torch):
    return torch.optim.Adam(torch.nn.Linear(1, 1).parameters(), lr=-1)


def case_adam_betas(torch):
    return torch.optim.Adam(torch.nn.Linear(1, 1).parameters(), betas=(0.9, 1.0))


def case_adam_eps(torch):
    return torch.optim.Adam(torch.nn.Linear(1, 1).parameters(), eps=-1e-8)


def case_sgd_momentum(torch):
    return torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1, momentum=-1)


def case_sgd_weight_decay(torch):
    return torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1, weight_decay=-1)


def case_sgd_nesterov(torch):
    return torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1, nesterov=True)


def case_sgd_unknown_option(torch):
    return torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), learning_rate=0.1)


def case_rmsprop_alpha(torch):
    return torch.optim.RMSprop(torch.nn.Linear(1, 1).parameters(), alpha=-1)


def case_optimizer_same_parameter(torch):
    layer = torch.nn.Linear(1, 1)
    return torch.optim.SGD([{"params": layer.parameters()}, {"params": layer.weight}], lr=0.1)


def case_optimizer_duplicates(torch):
    w = torch.ones(2, requires_grad=True)
    return torch.optim.SGD([w, w], lr=0.1)


def case_optimizer_state(torch):
    one = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    two = [torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)]
    torch.optim.SGD(two, lr=0.1).load_state_dict(one.state_dict())


def case_optimizer_state_groups(torch):
    one = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    two = [{"params": [torch.ones(1, requires_grad=True)]} for _ in range(2)]
    torch.optim.SGD(two, lr=0.1).load_state_dict(one.state_dict())


def case_lbfgs_without_closure(torch):
    torch.optim.LBFGS([torch.ones(1, requires_grad=True)]).step()


def case_lbfgs_groups(torch):
    groups = [{"params": [torch.ones(1, requires_grad=True)]} for _ in range(2)]
    return torch.optim.LBFGS(groups)


def case_scheduler_of_module(torch):
    return torch.optim.lr_scheduler.StepLR(torch.nn.Linear(1, 1), 1)


def case_scheduler_before_optimizer(torch):
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scheduler.step()


def case_scheduler_lambdas(torch):
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, [abs, abs])


def case_plateau_without_metric(torch):
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer).step()


def case_plateau_mode(torch):
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="less")


def case_plateau_factor(torch):
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=1.0)


def case_cyclic_without_momentum(torch):
    optimizer = torch.optim.Adagrad([torch.ones(1, requires_grad=True)], lr=0.1)
    return torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 1.0)


def case_one_cycle_without_steps(torch):
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1)


def case_one_cycle_too_long(torch):
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=2)
    for _ in range(3):
        optimizer.step()
        scheduler.step()


def case_clip_norm_nonfinite(torch):
    w = torch.ones(2, requires_grad=True)
    (w * float("nan")).sum().backward()
    torch.nn.utils.clip_grad_norm_([w], 1.0, error_if_nonfinite=True)


# --- data -----------------------------------------------------------------------------------------


def case_loader_batch_size(torch):
    data = torch.utils.data.TensorDataset(torch.ones(3))
    return torch.utils.data.DataLoader(data, batch_size=0)


def case_loader_batch_size_float(torch):
    data = torch.utils.data.TensorDataset(torch.ones(3))
    return torch.utils.data.DataLoader(data, batch_size=1.5)


def case_loader_workers(torch):
    data = torch.utils.data.TensorDataset(torch.ones(3))
    return torch.utils.data.DataLoader(data, num_workers=-1)


def case_loader_sampler_and_shuffle(torch):
    data = torch.utils.data.TensorDataset(torch.ones(3))
    sampler = torch.utils.data.SequentialSampler(data)
    return torch.utils.data.DataLoader(data, sampler=sampler, shuffle=True)


def case_loader_batch_sampler(torch):
    data = torch.utils.data.TensorDataset(torch.ones(3))
    batches = torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(data), 2, False)
    return torch.utils.data.DataLoader(data, batch_sampler=batches, batch_size=2)


def case_loader_empty_shuffled(torch):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(0)), shuffle=True)


def case_loader_unequal_sizes(torch):
    return next(iter(torch.utils.data.DataLoader([torch.ones(2), torch.ones(3)], batch_size=2)))


def case_loader_unknown_type(torch):
    return next(iter(torch.utils.data.DataLoader([object(), object()], batch_size=2)))


def case_loader_dataset_without_getitem(torch):
    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 2

    return next(iter(torch.utils.data.DataLoader(Data())))


def case_loader_dataset_without_len(torch):
    class Data(torch.utils.data.Dataset):
        def __getitem__(self, index):
            return index

    return len(torch.utils.data.DataLoader(Data()))


def case_loader_attribute(torch):
    return torch.utils.data.DataLoader([1]).batches


def case_loader_indexed(torch):
    return torch.utils.data.DataLoader([1, 2])[0]


def case_dataset_sizes(torch):
    return torch.utils.data.TensorDataset(torch.ones(3), torch.ones(4))


def case_random_split_lengths(torch):
    return torch.utils.data.random_split(range(10), [3, 3])


def case_random_split_fractions(torch):
    return torch.utils.data.random_split(range(10), [0.5, 0.6])


def case_random_split_empty(torch):
    return torch.utils.data.random_split(range(2), [0.9, 0.1])


def case_subset_index(torch):
    return torch.utils.data.Subset([1, 2, 3], [0, 1])[2]


def case_concat_nothing(torch):
    return torch.utils.data.ConcatDataset([])


def case_concat_index(torch):
    return torch.utils.data.ConcatDataset([[1, 2]])[-3]


def case_sampler_samples(torch):
    return torch.utils.data.RandomSampler([1, 2], num_samples=0)


def case_weighted_sampler(torch):
    return torch.utils.data.WeightedRandomSampler([[1.0]], 1)


# --- files ----------------------------------------------------------------------------------------


def case_load_no_file(torch):
    return torch.load("there-is-no-such-file.pt")


def case_save_nowhere(torch):
    return torch.save(torch.ones(1), "there-is-no-such-folder/a.pt")
