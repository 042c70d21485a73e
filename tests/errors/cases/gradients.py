"""Mistakes with gradients and losses: each `case_` function raises or warns."""

from __future__ import annotations

# --- gradients ------------------------------------------------------------------------------------


def case_backward_twice(torch):
    x = torch.ones(2, requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    loss.backward()


def case_backward_of_vector(torch):
    x = torch.ones(2, requires_grad=True)
    (x * 2).backward()


def case_backward_of_constant(torch):
    torch.ones(2).sum().backward()


def case_backward_of_item(torch):
    loss = (torch.ones(2, requires_grad=True) * 2).sum()
    torch.tensor(loss.item()).backward()


def case_backward_of_float(torch):
    loss = (torch.ones(2, requires_grad=True) * 2).sum().item()
    loss.backward()


def case_backward_gradient_shape(torch):
    x = torch.ones(2, requires_grad=True)
    (x * 2).backward(torch.ones(3))


def case_backward_in_no_grad(torch):
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        loss = (x * 2).sum()
    loss.backward()


def case_grad_of_unused(torch):
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    torch.autograd.grad((x * 2).sum(), [x, y])


def case_grad_of_constant(torch):
    x = torch.ones(2)
    torch.autograd.grad((x * 2).sum(), x)


def case_grad_of_vector(torch):
    x = torch.ones(2, requires_grad=True)
    torch.autograd.grad(x * 2, x)


def case_grad_input_not_recorded(torch):
    x, y = torch.ones(2, requires_grad=True), torch.ones(2)
    torch.autograd.grad((x * y).sum(), y)


def case_leaf_in_place(torch):
    w = torch.ones(2, requires_grad=True)
    w -= 0.1


def case_leaf_method_in_place(torch):
    torch.ones(2, requires_grad=True).zero_()


def case_leaf_item_assigned(torch):
    w = torch.ones(2, requires_grad=True)
    w[0] = 3.0


def case_view_of_leaf_in_place(torch):
    w = torch.ones(4, requires_grad=True)
    w.view(2, 2).mul_(2)


def case_saved_modified(torch):
    x = torch.ones(2, requires_grad=True)
    y = x.exp()
    y += 1
    y.sum().backward()


def case_saved_input_modified(torch):
    x = torch.ones(2, requires_grad=True)
    scale = torch.ones(2)
    y = x * scale
    scale.mul_(2)
    y.sum().backward()


def case_weight_updated_before_backward(torch):
    w = torch.ones(2, requires_grad=True)
    loss = (w * w).sum()
    with torch.no_grad():
        w -= 0.1
    loss.backward()


def case_integers_require_grad(torch):
    return torch.ones(2, dtype=torch.int64, requires_grad=True)


def case_integers_require_grad_later(torch):
    return torch.arange(3).requires_grad_()


def case_integers_requires_grad_assigned(torch):
    x = torch.arange(3)
    x.requires_grad = True


def case_result_requires_grad_false(torch):
    y = torch.ones(2, requires_grad=True) * 2
    y.requires_grad = False


def case_grad_shape_assigned(torch):
    x = torch.ones(2, requires_grad=True)
    x.grad = torch.ones(3)


def case_grad_dtype_assigned(torch):
    x = torch.ones(2, requires_grad=True)
    x.grad = torch.ones(2, dtype=torch.float64)


def case_grad_not_tensor(torch):
    x = torch.ones(2, requires_grad=True)
    x.grad = 0


def case_grad_none_zeroed(torch):
    w = torch.ones(2, requires_grad=True)
    w.grad.zero_()


def case_grad_of_result_read(torch):
    y = torch.ones(2, requires_grad=True) * 2
    y.sum().backward()
    return y.grad


def case_deepcopy_of_result(torch):
    from copy import deepcopy

    return deepcopy(torch.ones(2, requires_grad=True) * 2)


def case_hook_on_constant(torch):
    return torch.ones(2).register_hook(print)


def case_retain_grad_of_constant(torch):
    return torch.ones(2).retain_grad()


def case_function_called(torch):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    return Double()(torch.ones(2))


def case_function_gradient_count(torch):
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, grad):
            return grad

    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    Product.apply(x, y).sum().backward()


def case_function_gradient_shape(torch):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return torch.ones(5)

    Double.apply(torch.ones(2, requires_grad=True)).sum().backward()


def case_function_without_backward(torch):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    Double.apply(torch.ones(2, requires_grad=True)).sum().backward()


def case_function_without_forward(torch):
    class Nothing(torch.autograd.Function):
        pass

    Nothing.apply(torch.ones(2))


def case_jacobian_of_non_tensor(torch):
    return torch.autograd.functional.jacobian(lambda x: 1.0, torch.ones(2))


# --- losses ---------------------------------------------------------------------------------------


def case_cross_entropy_class(torch):
    return torch.nn.functional.cross_entropy(torch.ones(2, 3), torch.tensor([0, 5]))


def case_cross_entropy_negative_class(torch):
    return torch.nn.functional.cross_entropy(torch.ones(2, 3), torch.tensor([0, -1]))


def case_cross_entropy_float_target(torch):
    return torch.nn.CrossEntropyLoss()(torch.ones(2, 3), torch.ones(2))


def case_cross_entropy_int_target(torch):
    return torch.nn.CrossEntropyLoss()(torch.ones(2, 3), torch.ones(2, dtype=torch.int32))


def case_cross_entropy_batch(torch):
    return torch.nn.CrossEntropyLoss()(torch.ones(2, 3), torch.tensor([0, 1, 2]))


def case_cross_entropy_column_target(torch):
    return torch.nn.CrossEntropyLoss()(torch.ones(2, 3), torch.tensor([[0], [1]]))


def case_cross_entropy_weight(torch):
    loss = torch.nn.CrossEntropyLoss(weight=torch.ones(2))
    return loss(torch.ones(2, 3), torch.tensor([0, 1]))


def case_cross_entropy_long_scores(torch):
    return torch.nn.CrossEntropyLoss()(torch.ones(2, 3).long(), torch.tensor([0, 1]))


def case_nll_batch(torch):
    return torch.nn.functional.nll_loss(torch.ones(2, 3), torch.tensor([0, 1, 2]))


def case_nll_scalar(torch):
    return torch.nn.functional.nll_loss(torch.tensor(1.0), torch.tensor(0))


def case_nll_class(torch):
    return torch.nn.NLLLoss()(torch.ones(2, 3), torch.tensor([0, 3]))


def case_bce_sizes(torch):
    return torch.nn.BCELoss()(torch.full((4, 1), 0.5), torch.ones(4))


def case_bce_input_outside(torch):
    return torch.nn.BCELoss()(torch.tensor([1.5]), torch.tensor([1.0]))


def case_bce_target_outside(torch):
    return torch.nn.BCELoss()(torch.tensor([0.5]), torch.tensor([2.0]))


def case_bce_long_target(torch):
    return torch.nn.BCELoss()(torch.tensor([0.5]), torch.tensor([1]))


def case_bce_logits_sizes(torch):
    return torch.nn.BCEWithLogitsLoss()(torch.ones(4, 1), torch.ones(4))


def case_mse_broadcast(torch):
    return torch.nn.MSELoss()(torch.ones(3, 1), torch.ones(3))


def case_l1_broadcast(torch):
    return torch.nn.functional.l1_loss(torch.ones(3, 1), torch.ones(3))


def case_mse_sizes(torch):
    return torch.nn.MSELoss()(torch.ones(3), torch.ones(4))


def case_loss_reduction(torch):
    return torch.nn.MSELoss(reduction="average")(torch.ones(2), torch.ones(2))


def case_loss_without_instance(torch):
    return torch.nn.MSELoss(torch.ones(2), torch.zeros(2)).backward()


def case_softmax_without_dim(torch):
    return torch.nn.Softmax()(torch.ones(2, 3))


def case_kl_mean(torch):
    return torch.nn.functional.kl_div(torch.ones(2, 2), torch.ones(2, 2))
