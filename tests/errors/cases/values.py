"""Mistakes with dtypes, devices and values: each `case_` function raises or warns."""

from __future__ import annotations

import numpy as np

# --- dtypes and devices ---------------------------------------------------------------------------


def case_matmul_float_long(torch):
    return torch.tensor([[1.0, 0.0], [0.0, 1.0]]) @ torch.tensor([[1], [2]])


def case_matmul_long_float(torch):
    return torch.tensor([[1, 0], [0, 1]]) @ torch.tensor([[1.0], [2.0]])


def case_linear_long_input(torch):
    return torch.nn.Linear(2, 1)(torch.ones(3, 2, dtype=torch.int64))


def case_linear_double_input(torch):
    return torch.nn.Linear(2, 1)(torch.ones(3, 2, dtype=torch.float64))


def case_dot_dtypes(torch):
    return torch.dot(torch.ones(2), torch.ones(2).double())


def case_mean_of_long(torch):
    return torch.arange(3).mean()


def case_std_of_long(torch):
    return torch.arange(3).std()


def case_softmax_of_long(torch):
    return torch.softmax(torch.arange(3), 0)


def case_add_float_to_long_in_place(torch):
    x = torch.arange(3)
    x += 0.5
    return x


def case_divide_long_in_place(torch):
    x = torch.arange(3)
    x /= 2
    return x


def case_bitwise_of_float(torch):
    return torch.ones(2) & torch.ones(2)


def case_invert_float(torch):
    return ~torch.ones(2)


def case_subtract_bools(torch):
    return torch.tensor([True]) - torch.tensor([False])


def case_negate_bool(torch):
    return -torch.tensor([True])


def case_compare_complex(torch):
    return torch.tensor([1j]) < torch.tensor([2j])


def case_integer_negative_power(torch):
    return torch.arange(1, 3) ** -1


def case_randn_of_integers(torch):
    return torch.randn(3, dtype=torch.int64)


def case_normal_of_integers(torch):
    return torch.arange(3).normal_()


def case_out_dtype(torch):
    return torch.add(torch.ones(2), 1.5, out=torch.ones(2, dtype=torch.int64))


def case_two_devices_add(torch):
    return torch.ones(2) + torch.ones(2, device="meta")


def case_two_devices_linear(torch):
    return torch.nn.Linear(2, 1).to("meta")(torch.ones(3, 2))


def case_to_cuda(torch):
    return torch.ones(2).to("cuda")


def case_cuda_method(torch):
    return torch.nn.Linear(1, 1).cuda()


def case_create_on_cuda(torch):
    return torch.zeros(2, device="cuda")


def case_unknown_device(torch):
    return torch.device("gpu")


def case_malformed_device(torch):
    return torch.ones(2).to("cpu:x")


def case_meta_item(torch):
    return torch.ones((), device="meta").item()


def case_meta_numpy(torch):
    return torch.ones(2, device="meta").numpy()


def case_meta_to_cpu(torch):
    return torch.ones(2, device="meta").to("cpu")


def case_dtype_is_string(torch):
    return torch.ones(2, dtype="float32")


# --- making tensors and reading them --------------------------------------------------------------


def case_ragged_list(torch):
    return torch.tensor([[1, 2], [3]])


def case_list_of_strings(torch):
    return torch.tensor(["a", "b"])


def case_string(torch):
    return torch.tensor("a")


def case_tensor_of_none(torch):
    return torch.tensor([1, None])


def case_tensor_of_dict(torch):
    return torch.tensor({"a": 1})


def case_tensor_of_tensors(torch):
    return torch.tensor([torch.ones(2), torch.ones(2)])


def case_integer_overflow(torch):
    return torch.tensor([300], dtype=torch.uint8)


def case_integer_too_large(torch):
    return torch.tensor(2**64)


def case_tensor_of_no_arguments(torch):
    return torch.tensor()


def case_copy_of_tensor(torch):
    return torch.tensor(torch.ones(2))


def case_from_numpy_list(torch):
    return torch.from_numpy([1, 2])


def case_from_numpy_strings(torch):
    return torch.from_numpy(np.array(["a", "b"]))


def case_tensor_of_objects(torch):
    return torch.tensor(np.array([1, "a"], dtype=object))


def case_from_numpy_negative_strides(torch):
    return torch.from_numpy(np.arange(3)[::-1])


def case_item_of_many(torch):
    return torch.ones(3).item()


def case_float_of_many(torch):
    return float(torch.ones(3))


def case_bool_of_many(torch):
    return bool(torch.ones(3) > 0)


def case_bool_of_none(torch):
    return bool(torch.empty(0))


def case_if_many(torch):
    return 1 if torch.tensor([1, 2]) == torch.tensor([1, 2]) else 0


def case_len_of_scalar(torch):
    return len(torch.tensor(1.0))


def case_iterate_scalar(torch):
    return list(torch.tensor(1.0))


def case_int_of_complex(torch):
    return int(torch.tensor(1j))


def case_index_by_float_scalar(torch):
    return [1, 2, 3][torch.tensor(1.0)]


def case_numpy_of_recorded(torch):
    return torch.ones(2, requires_grad=True).numpy()


def case_numpy_of_result(torch):
    return (torch.ones(2, requires_grad=True) * 2).numpy()


def case_tensor_plus_string(torch):
    return torch.ones(2) + "a"


def case_tensor_plus_list(torch):
    return torch.ones(2) + [1, 2]


def case_tensor_plus_none(torch):
    return torch.ones(2) + None


def case_add_of_strings(torch):
    return torch.add("a", "b")


def case_exp_of_number(torch):
    return torch.exp(1.0)


def case_unknown_attribute(torch):
    return torch.ones(2).shap


def case_unknown_function(torch):
    return torch.onse(2)


def case_unknown_keyword(torch):
    return torch.argmax(torch.ones(2), dimension=0)


def case_zeros_of_float(torch):
    return torch.zeros(2.5)


def case_arange_step_zero(torch):
    return torch.arange(0, 3, 0)


def case_arange_wrong_sign(torch):
    return torch.arange(0, 3, -1)


def case_linspace_negative(torch):
    return torch.linspace(0, 1, -1)


def case_full_without_value(torch):
    return torch.full((2,))


def case_clamp_without_bounds(torch):
    return torch.ones(2).clamp()


def case_multinomial_too_many(torch):
    return torch.multinomial(torch.ones(2), 3)


def case_multinomial_negative(torch):
    return torch.multinomial(torch.tensor([-1.0, 1.0]), 1)


def case_bernoulli_probability(torch):
    return torch.bernoulli(torch.tensor([1.5]))


def case_normal_negative_std(torch):
    return torch.normal(0.0, -1.0, (2,))


def case_randint_empty(torch):
    return torch.randint(3, 3, (2,))


def case_randperm_negative(torch):
    return torch.randperm(-1)


def case_manual_seed_string(torch):
    return torch.manual_seed("a")


def case_set_rng_state(torch):
    return torch.set_rng_state(torch.zeros(3, dtype=torch.uint8))


# --- linear algebra -------------------------------------------------------------------------------


def case_inverse_singular(torch):
    return torch.linalg.inv(torch.ones(2, 2))


def case_inverse_not_square(torch):
    return torch.linalg.inv(torch.ones(2, 3))


def case_inverse_of_integers(torch):
    return torch.linalg.inv(torch.tensor([[1, 0], [0, 1]]))


def case_inverse_vector(torch):
    return torch.inverse(torch.ones(3))


def case_cholesky_indefinite(torch):
    return torch.linalg.cholesky(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))


def case_solve_singular(torch):
    return torch.linalg.solve(torch.zeros(2, 2), torch.ones(2))


def case_solve_sizes(torch):
    return torch.linalg.solve(torch.eye(2), torch.ones(3, 1))


def case_det_not_square(torch):
    return torch.det(torch.ones(2, 3))


def case_eigh_not_square(torch):
    return torch.linalg.eigh(torch.ones(2, 3))


def case_diag_rank(torch):
    return torch.diag(torch.ones(2, 2, 2))


def case_trace_rank(torch):
    return torch.trace(torch.ones(3))


def case_cross_sizes(torch):
    return torch.linalg.cross(torch.ones(2), torch.ones(2))


def case_norm_order(torch):
    return torch.linalg.norm(torch.ones(2, 2), ord="abc")


def case_matrix_power_not_square(torch):
    return torch.linalg.matrix_power(torch.ones(2, 3), 2)
