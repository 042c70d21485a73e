"""Mistakes with shapes, dimensions and indices: each `case_` function raises or warns."""

from __future__ import annotations

# --- shapes ---------------------------------------------------------------------------------------


def case_matmul_second_too_short(torch):
    return torch.ones(2, 2) @ torch.ones(1, 2)


def case_matmul_first_too_narrow(torch):
    return torch.ones(2, 1) @ torch.ones(2, 2)


def case_matmul_batched(torch):
    return torch.ones(3, 2, 4) @ torch.ones(3, 5, 2)


def case_matmul_batch_sizes(torch):
    return torch.ones(3, 2, 4) @ torch.ones(2, 4, 5)


def case_matmul_vectors(torch):
    return torch.ones(2) @ torch.ones(3)


def case_matmul_scalar(torch):
    return torch.tensor(2.0) @ torch.ones(3)


def case_matmul_matrix_vector(torch):
    return torch.ones(2, 3) @ torch.ones(2)


def case_mm_of_vector(torch):
    return torch.mm(torch.ones(2, 3), torch.ones(3))


def case_mm_shapes(torch):
    return torch.mm(torch.ones(2, 3), torch.ones(2, 3))


def case_bmm_of_matrix(torch):
    return torch.bmm(torch.ones(2, 3), torch.ones(3, 2))


def case_bmm_batch(torch):
    return torch.bmm(torch.ones(2, 3, 4), torch.ones(3, 4, 5))


def case_mv_shapes(torch):
    return torch.mv(torch.ones(2, 3), torch.ones(2))


def case_dot_lengths(torch):
    return torch.dot(torch.ones(2), torch.ones(3))


def case_dot_of_matrix(torch):
    return torch.dot(torch.ones(2, 2), torch.ones(2))


def case_addmm_shapes(torch):
    return torch.addmm(torch.ones(2, 2), torch.ones(2, 3), torch.ones(2, 2))


def case_linear_too_wide(torch):
    return torch.nn.Linear(10, 1)(torch.ones(4, 8))


def case_linear_vector(torch):
    return torch.nn.Linear(1, 1)(torch.ones(100))


def case_linear_in_sequential(torch):
    net = torch.nn.Sequential(torch.nn.Linear(2, 20), torch.nn.ReLU(), torch.nn.Linear(30, 1))
    return net(torch.ones(5, 2))


def case_broadcast_add(torch):
    return torch.ones(3) + torch.ones(4)


def case_broadcast_inner(torch):
    return torch.ones(2, 3, 4) * torch.ones(2, 4)


def case_broadcast_in_place(torch):
    x = torch.ones(3)
    x += torch.ones(2, 3)
    return x


def case_expand_mismatch(torch):
    return torch.ones(3).expand(4)


def case_expand_fewer(torch):
    return torch.ones(2, 3).expand(3)


def case_broadcast_to(torch):
    return torch.broadcast_to(torch.ones(2, 3), (2, 2))


def case_view_size(torch):
    return torch.arange(10).view(3, 4)


def case_view_inferred(torch):
    return torch.arange(10).view(-1, 3)


def case_view_two_inferred(torch):
    return torch.arange(12).view(-1, -1)


def case_view_of_transposed(torch):
    return torch.ones(2, 3).t().view(6)


def case_reshape_size(torch):
    return torch.arange(10).reshape(3, 4)


def case_reshape_negative(torch):
    return torch.arange(10).reshape(5, -2)


def case_cat_sizes(torch):
    return torch.cat([torch.ones(2, 3), torch.ones(2, 4)])


def case_cat_dims(torch):
    return torch.cat([torch.ones(2, 3), torch.ones(3)])


def case_cat_nothing(torch):
    return torch.cat([])


def case_cat_scalars(torch):
    return torch.cat([torch.tensor(1.0), torch.tensor(2.0)])


def case_cat_tensor_instead_of_list(torch):
    return torch.cat(torch.ones(2), torch.ones(2))


def case_stack_sizes(torch):
    return torch.stack([torch.ones(2), torch.ones(3)])


def case_stack_nothing(torch):
    return torch.stack([])


def case_split_sizes(torch):
    return torch.arange(10).split([3, 3])


def case_chunk_zero(torch):
    return torch.arange(10).chunk(0)


def case_permute_count(torch):
    return torch.ones(2, 3).permute(0)


def case_permute_twice(torch):
    return torch.ones(2, 3).permute(0, 0)


def case_t_of_three_dims(torch):
    return torch.ones(2, 3, 4).t()


def case_transpose_dim(torch):
    return torch.ones(2, 3).transpose(0, 2)


def case_squeeze_dim(torch):
    return torch.ones(2, 3).squeeze(2)


def case_unsqueeze_dim(torch):
    return torch.ones(2, 3).unsqueeze(4)


def case_sum_dim(torch):
    return torch.ones(2, 3).sum(2)


def case_sum_dim_twice(torch):
    return torch.ones(2, 3).sum((0, 0))


def case_max_of_nothing(torch):
    return torch.empty(0).max()


def case_argmax_of_nothing(torch):
    return torch.empty(0).argmax()


def case_softmax_dim(torch):
    return torch.softmax(torch.ones(2, 3), 2)


def case_flatten_dims(torch):
    return torch.ones(2, 3, 4).flatten(2, 1)


def case_repeat_count(torch):
    return torch.ones(2, 3).repeat(2)


def case_negative_size(torch):
    return torch.zeros(-1)


def case_einsum_sizes(torch):
    return torch.einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(4, 5))


def case_einsum_operands(torch):
    return torch.einsum("ij,jk->ik", torch.ones(2, 3))


def case_einsum_rank(torch):
    return torch.einsum("ijk->i", torch.ones(2, 3))


def case_einsum_unknown_output(torch):
    return torch.einsum("ij->ik", torch.ones(2, 3))


# --- indices --------------------------------------------------------------------------------------


def case_index_out_of_range(torch):
    return torch.arange(3)[5]


def case_index_list_out_of_range(torch):
    return torch.arange(3)[[0, 7]]


def case_too_many_indices(torch):
    return torch.ones(2, 3)[0, 0, 0]


def case_index_scalar(torch):
    return torch.tensor(1.0)[0]


def case_index_float(torch):
    return torch.arange(3)[1.5]


def case_index_float_tensor(torch):
    return torch.arange(3)[torch.tensor([0.0, 1.0])]


def case_index_mask_shape(torch):
    return torch.arange(3)[torch.tensor([True, False])]


def case_index_shapes(torch):
    return torch.ones(4, 4)[[0, 1], [0, 1, 2]]


def case_slice_step(torch):
    return torch.arange(5)[::-1]


def case_assign_shape(torch):
    x = torch.zeros(3)
    x[:2] = torch.ones(3)


def case_assign_masked(torch):
    x = torch.zeros(4)
    x[x == 0] = torch.ones(3)


def case_gather_dtype(torch):
    return torch.ones(2, 2).gather(1, torch.tensor([[0.0], [1.0]]))


def case_gather_index(torch):
    return torch.ones(2, 2).gather(1, torch.tensor([[0], [2]]))


def case_gather_rank(torch):
    return torch.ones(2, 2).gather(1, torch.tensor([0, 1]))


def case_scatter_index(torch):
    return torch.zeros(2, 3).scatter_(1, torch.tensor([[0], [3]]), 1.0)


def case_scatter_dtype(torch):
    return torch.zeros(2, 3).scatter_(1, torch.tensor([[0], [1]]), torch.ones(2, 1).long())


def case_index_select_dtype(torch):
    return torch.ones(3).index_select(0, torch.tensor([0.0]))


def case_index_select_range(torch):
    return torch.ones(3).index_select(0, torch.tensor([3]))


def case_take_range(torch):
    return torch.take(torch.ones(3), torch.tensor([4]))


def case_masked_fill_dtype(torch):
    return torch.ones(3).masked_fill(torch.tensor([1, 0, 1]), 0.0)


def case_masked_select_dtype(torch):
    return torch.ones(3).masked_select(torch.tensor([1, 0, 1]))


def case_where_condition(torch):
    return torch.where(torch.tensor([1.0, 0.0]), torch.ones(2), torch.zeros(2))


def case_narrow_range(torch):
    return torch.arange(5).narrow(0, 3, 4)


def case_select_range(torch):
    return torch.ones(2, 3).select(1, 5)


def case_topk_range(torch):
    return torch.arange(3).topk(5)


def case_one_hot_negative(torch):
    return torch.nn.functional.one_hot(torch.tensor([0, -1]))


def case_one_hot_classes(torch):
    return torch.nn.functional.one_hot(torch.tensor([0, 3]), 3)


def case_one_hot_float(torch):
    return torch.nn.functional.one_hot(torch.tensor([0.0, 1.0]))


def case_bincount_float(torch):
    return torch.bincount(torch.tensor([0.0, 1.0]))


def case_bincount_negative(torch):
    return torch.bincount(torch.tensor([0, -1]))
