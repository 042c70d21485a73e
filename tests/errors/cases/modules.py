"""Mistakes with modules and layers: each `case_` function raises or warns."""

from __future__ import annotations


def case_no_parameters(torch):
    return next(torch.nn.ReLU().parameters())


def case_missing_super_init(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            self.layer = torch.nn.Linear(1, 1)

    return Net()


def case_missing_super_init_parameter(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            self.weight = torch.nn.Parameter(torch.ones(1))

    return Net()


def case_missing_super_init_call(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            self.width = 3

        def forward(self, x):
            return x

    return Net()(torch.ones(1))


def case_missing_forward(torch):
    class Net(torch.nn.Module):
        pass

    return Net()(torch.ones(1))


def case_misspelt_forward(torch):
    class Net(torch.nn.Module):
        def foward(self, x):
            return x

    return Net()(torch.ones(1))


def case_forward_arguments(torch):
    return torch.nn.Linear(1, 1)(torch.ones(1, 1), torch.ones(1, 1))


def case_module_attribute(torch):
    return torch.nn.Linear(1, 1).weights


def case_module_added(torch):
    return torch.nn.Linear(1, 1) + torch.nn.Linear(1, 1)


def case_parameter_replaced_by_tensor(torch):
    layer = torch.nn.Linear(2, 1)
    layer.weight = torch.ones(1, 2)


def case_module_replaced_by_tensor(torch):
    net = torch.nn.Sequential(torch.nn.Linear(2, 1))
    net.inner = torch.nn.ReLU()
    net.inner = torch.ones(2)


def case_buffer_replaced_by_number(torch):
    layer = torch.nn.BatchNorm1d(2)
    layer.running_mean = 1.0


def case_register_parameter_tensor(torch):
    torch.nn.Linear(1, 1).register_parameter("scale", torch.ones(1))


def case_register_buffer_number(torch):
    torch.nn.Linear(1, 1).register_buffer("scale", 1.0)


def case_register_buffer_dotted(torch):
    torch.nn.Linear(1, 1).register_buffer("a.b", torch.ones(1))


def case_register_buffer_taken(torch):
    torch.nn.Linear(1, 1).register_buffer("forward", torch.ones(1))


def case_add_module_wrong_type(torch):
    torch.nn.Sequential().add_module("layer", torch.nn.ReLU)


def case_sequential_of_functions(torch):
    return torch.nn.Sequential(len)


def case_sequential_of_classes(torch):
    return torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU)


def case_sequential_index(torch):
    return torch.nn.Sequential(torch.nn.ReLU())[1]


def case_sequential_two_inputs(torch):
    return torch.nn.Sequential(torch.nn.ReLU())(torch.ones(1), torch.ones(1))


def case_module_list_called(torch):
    return torch.nn.ModuleList([torch.nn.ReLU()])(torch.ones(1))


def case_module_list_index(torch):
    return torch.nn.ModuleList([torch.nn.ReLU()])[3]


def case_module_list_of_tensors(torch):
    return torch.nn.ModuleList([torch.ones(1)])


def case_module_dict_key(torch):
    return torch.nn.ModuleDict({"a": torch.nn.ReLU()})["b"]


def case_get_submodule(torch):
    return torch.nn.Sequential(torch.nn.ReLU()).get_submodule("1")


def case_parameter_of_integers(torch):
    return torch.nn.Parameter(torch.arange(3))


def case_load_missing_key(torch):
    torch.nn.Linear(2, 1).load_state_dict({"weight": torch.ones(1, 2)})


def case_load_unexpected_key(torch):
    layer = torch.nn.Linear(2, 1, bias=False)
    layer.load_state_dict({"weight": torch.ones(1, 2), "bias": torch.ones(1)})


def case_load_size(torch):
    state = torch.nn.Linear(3, 1).state_dict()
    torch.nn.Linear(2, 1).load_state_dict(state)


def case_load_everything_wrong(torch):
    state = {"0.weight": torch.ones(2, 2), "2.weight": torch.ones(1)}
    torch.nn.Sequential(torch.nn.Linear(3, 2)).load_state_dict(state)


def case_load_module(torch):
    torch.nn.Linear(2, 1).load_state_dict(torch.nn.Linear(2, 1))


def case_linear_bad_size(torch):
    return torch.nn.Linear(2.5, 1)


def case_embedding_index(torch):
    return torch.nn.Embedding(3, 2)(torch.tensor([0, 3]))


def case_embedding_float(torch):
    return torch.nn.Embedding(3, 2)(torch.tensor([0.0, 1.0]))


def case_embedding_padding(torch):
    return torch.nn.Embedding(3, 2, padding_idx=5)


def case_conv_channels(torch):
    return torch.nn.Conv2d(3, 8, 3)(torch.ones(1, 1, 28, 28))


def case_conv_rank(torch):
    return torch.nn.Conv2d(3, 8, 3)(torch.ones(28, 28))


def case_conv_small_input(torch):
    return torch.nn.Conv2d(1, 1, 5)(torch.ones(1, 1, 3, 3))


def case_conv_groups(torch):
    return torch.nn.Conv2d(3, 4, 3, groups=2)


def case_conv_dtype(torch):
    return torch.nn.Conv2d(1, 1, 3)(torch.ones(1, 1, 5, 5, dtype=torch.float64))


def case_conv1d_rank(torch):
    return torch.nn.Conv1d(1, 1, 3)(torch.ones(1, 1, 5, 5))


def case_pool_small_input(torch):
    return torch.nn.MaxPool2d(4)(torch.ones(1, 1, 3, 3))


def case_pool_padding(torch):
    return torch.nn.MaxPool2d(2, padding=2)(torch.ones(1, 1, 4, 4))


def case_batch_norm_one_value(torch):
    return torch.nn.BatchNorm1d(3)(torch.ones(1, 3))


def case_batch_norm_channels(torch):
    return torch.nn.BatchNorm1d(3)(torch.ones(4, 5))


def case_batch_norm_rank(torch):
    return torch.nn.BatchNorm2d(3)(torch.ones(4, 3))


def case_layer_norm_shape(torch):
    return torch.nn.LayerNorm(3)(torch.ones(2, 4))


def case_group_norm_groups(torch):
    return torch.nn.GroupNorm(2, 3)


def case_dropout_probability(torch):
    return torch.nn.Dropout(1.5)


def case_lstm_input_size(torch):
    return torch.nn.LSTM(3, 4)(torch.ones(5, 2, 7))


def case_lstm_rank(torch):
    return torch.nn.LSTM(3, 4)(torch.ones(3))


def case_rnn_hidden_size(torch):
    return torch.nn.RNN(3, 4)(torch.ones(5, 2, 3), torch.ones(1, 3, 4))


def case_rnn_nonlinearity(torch):
    return torch.nn.RNN(3, 4, nonlinearity="sigmoid")


def case_rnn_cell_size(torch):
    return torch.nn.RNNCell(3, 4)(torch.ones(2, 5))


def case_bilinear_size(torch):
    return torch.nn.Bilinear(2, 3, 1)(torch.ones(4, 2), torch.ones(4, 2))


def case_unflatten_size(torch):
    return torch.nn.Unflatten(1, (2, 5))(torch.ones(3, 8))


def case_pad_too_long(torch):
    return torch.nn.functional.pad(torch.ones(2), (1, 1, 1, 1))


def case_pad_reflect(torch):
    return torch.nn.functional.pad(torch.ones(1, 2), (3, 3), mode="reflect")


def case_prelu_channels(torch):
    return torch.nn.PReLU(3)(torch.ones(2, 4))


def case_init_fan(torch):
    return torch.nn.init.xavier_uniform_(torch.ones(3))


def case_init_gain(torch):
    return torch.nn.init.calculate_gain("swish")


def case_cosine_of_sizes(torch):
    return torch.nn.functional.cosine_similarity(torch.ones(2, 3), torch.ones(2, 4))
