"""Makes nn.json: what PyTorch's modules print, hold, begin with and compute.

Run as ``python tests/figures/make_nn_figures.py`` where PyTorch 2.13.0 is installed. A case is a
constructor and the shapes of its inputs; everything else is drawn from seeds.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

# An input is a shape (standard normal numbers) or (kind, shape[, limit]); see `make_input`.
X = (4, 6)
CASES: dict[str, tuple[Any, ...]] = {
    # activations
    "ReLU()": (X,), "ReLU(inplace=True)": (X,), "ReLU6()": (X,), "ReLU6(True)": (X,),
    "RReLU()": (X,), "RReLU(0.1, 0.4, inplace=True)": (X,), "LeakyReLU()": (X,),
    "LeakyReLU(0.2, inplace=True)": (X,), "Threshold(0.1, 20)": (X,),
    "Threshold(0.1, 20.0, True)": (X,), "Hardtanh()": (X,), "Hardtanh(-2, 0.5, True)": (X,),
    "Sigmoid()": (X,), "Tanh()": (X,), "SiLU()": (X,), "SiLU(True)": (X,), "Mish()": (X,),
    "Hardsigmoid()": (X,), "Hardsigmoid(True)": (X,), "Hardswish()": (X,), "ELU()": (X,),
    "ELU(0.5, True)": (X,), "CELU()": (X,), "CELU(2.0)": (X,), "SELU()": (X,),
    "SELU(inplace=True)": (X,), "GLU()": (X,), "GLU(0)": (X,), "GELU()": (X,),
    "GELU(approximate='tanh')": (X,), "Hardshrink()": (X,), "Hardshrink(0.1)": (X,),
    "LogSigmoid()": (X,), "Softplus()": (X,), "Softplus(2, threshold=1.0)": (X,),
    "Softshrink()": (X,), "Softshrink(0.1)": (X,), "PReLU()": (X,), "PReLU(6, 0.1)": (X,),
    "Softsign()": (X,), "Tanhshrink()": (X,), "Softmin(dim=1)": (X,), "Softmax(dim=0)": (X,),
    "Softmax2d()": ((2, 3, 2, 2),), "LogSoftmax(1)": (X,),
    # losses
    "L1Loss()": (X, X), "L1Loss(reduction='sum')": (X, X), "MSELoss()": (X, X),
    "MSELoss(reduction='none')": (X, X), "SmoothL1Loss()": (X, X),
    "SmoothL1Loss(beta=0.5)": (X, X), "HuberLoss()": (X, X), "HuberLoss('sum', 0.7)": (X, X),
    "NLLLoss()": (X, ("int", (4,), 6)),
    "CrossEntropyLoss()": (X, ("int", (4,), 6)),
    "CrossEntropyLoss(label_smoothing=0.1)": (X, ("int", (4,), 6)),
    "CrossEntropyLoss(weight=torch.arange(1.0, 7.0), reduction='sum')": (X, ("int", (4,), 6)),
    "CrossEntropyLoss(ignore_index=1)": ((2, 3, 4), ("int", (2, 4), 3)),
    "BCELoss()": (("unit", X), ("unit", X)),
    "BCEWithLogitsLoss(pos_weight=torch.ones(6) * 2)": (X, ("unit", X)),
    "KLDivLoss(reduction='batchmean')": (X, ("unit", X)),
    "KLDivLoss(reduction='sum', log_target=True)": (X, X),
    "PoissonNLLLoss()": (X, ("unit", X)), "PoissonNLLLoss(False, True)": (("unit", X), ("unit", X)),
    "GaussianNLLLoss()": (X, X, ("unit", X)), "GaussianNLLLoss(full=True)": (X, X, ("unit", X)),
    "HingeEmbeddingLoss()": (X, ("sign", X)), "SoftMarginLoss()": (X, ("sign", X)),
    "MultiLabelMarginLoss()": (X, ("int", X, 6)), "MultiLabelSoftMarginLoss()": (X, ("unit", X)),
    "MultiMarginLoss()": (X, ("int", (4,), 6)), "MultiMarginLoss(2, 0.5)": (X, ("int", (4,), 6)),
    "CosineEmbeddingLoss(0.2)": (X, X, ("sign", (4,))),
    "MarginRankingLoss(0.1)": ((4,), (4,), ("sign", (4,))), "TripletMarginLoss()": (X, X, X),
    "TripletMarginLoss(swap=True, p=1)": (X, X, X), "TripletMarginWithDistanceLoss()": (X, X, X),
    "CTCLoss()": ((5, 2, 5), ("range", (2, 2), 1), ("full", (2,), 5), ("full", (2,), 2)),
    # linear and shapes
    "Linear(6, 3)": (X,), "Linear(6, 3, bias=False)": ((2, 4, 6),), "Linear(6, 1)": ((6,),),
    "Bilinear(6, 5, 3)": (X, (4, 5)), "Bilinear(6, 5, 3, bias=False)": (X, (4, 5)),
    "Identity(54, unused=1)": (X,), "LazyLinear(3)": (X,), "LazyLinear(2, bias=False)": (X,),
    "Flatten()": ((2, 3, 4),), "Flatten(0, 1)": ((2, 3, 4),), "Unflatten(1, (2, 3))": (X,),
    "PixelShuffle(2)": ((1, 8, 2, 3),), "PixelUnshuffle(2)": ((1, 2, 4, 6),),
    "ChannelShuffle(2)": ((1, 4, 2, 2),), "Fold((4, 5), (2, 3))": ((1, 12, 9),),
    "Unfold((2, 3), padding=1)": ((1, 2, 4, 5),), "CosineSimilarity()": (X, X),
    "CosineSimilarity(dim=0)": (X, X), "PairwiseDistance()": (X, X),
    "PairwiseDistance(1.0, keepdim=True)": (X, X),
    "Upsample(scale_factor=2)": ((1, 2, 3, 3),),
    "Upsample(size=(5, 4), mode='bilinear')": ((1, 2, 3, 3),),
    "Upsample(scale_factor=(2, 3), mode='bicubic', align_corners=True)": ((1, 1, 4, 4),),
    "UpsamplingNearest2d(size=4)": ((1, 2, 3, 3),),
    "UpsamplingBilinear2d(scale_factor=2)": ((1, 2, 3, 3),),
    # embeddings
    "Embedding(7, 3)": (("int", (2, 4), 7),),
    "Embedding(7, 3, padding_idx=-2, scale_grad_by_freq=True)": (("int", (2, 4), 7),),
    "Embedding(7, 3, max_norm=1.0, norm_type=1.0)": (("int", (5,), 7),),
    "EmbeddingBag(7, 3)": (("int", (2, 4), 7),),
    "EmbeddingBag(7, 3, mode='sum', padding_idx=1)": (("int", (2, 4), 7),),
    "EmbeddingBag(7, 3, mode='max')": (("int", (2, 4), 7),),
    # dropout
    "Dropout()": (X,), "Dropout(0.2, inplace=True)": (X,), "Dropout1d(0.3)": ((2, 5, 3),),
    "Dropout2d(0.3)": ((2, 5, 3, 2),), "Dropout3d(0.3)": ((2, 5, 2, 2, 2),),
    "AlphaDropout(0.3)": (X,), "FeatureAlphaDropout(0.3)": ((2, 5, 3),),
    # normalisation
    "BatchNorm1d(6)": (X,), "BatchNorm1d(6, affine=False)": ((4, 6, 3),),
    "BatchNorm1d(6, momentum=None)": (X,), "BatchNorm1d(6, track_running_stats=False)": (X,),
    "BatchNorm1d(6, bias=False)": (X,), "BatchNorm2d(3, eps=1e-3)": ((2, 3, 4, 4),),
    "BatchNorm3d(3)": ((2, 3, 2, 2, 2),), "SyncBatchNorm(6)": (X,), "LazyBatchNorm1d()": (X,),
    "LazyBatchNorm2d(affine=False)": ((2, 3, 4, 4),), "LazyBatchNorm3d()": ((2, 3, 2, 2, 2),),
    "InstanceNorm1d(6)": ((2, 6, 3),), "InstanceNorm1d(4, affine=True)": ((4, 6),),
    "InstanceNorm2d(3, affine=True, track_running_stats=True)": ((2, 3, 4, 4),),
    "InstanceNorm3d(3)": ((2, 3, 2, 2, 2),), "LazyInstanceNorm1d(affine=True)": ((2, 6, 3),),
    "LazyInstanceNorm2d()": ((2, 3, 4, 4),), "LazyInstanceNorm3d()": ((2, 3, 2, 2, 2),),
    "LayerNorm(6)": (X,), "LayerNorm((4, 6), elementwise_affine=False)": (X,),
    "LayerNorm([6], bias=False)": (X,), "GroupNorm(2, 6)": ((3, 6, 4),),
    "GroupNorm(3, 6, affine=False)": ((3, 6),), "RMSNorm(6)": (X,),
    "RMSNorm((4, 6), eps=1e-3, elementwise_affine=False)": (X,),
    "LocalResponseNorm(2)": ((2, 5, 3),), "CrossMapLRN2d(2)": ((2, 5, 3, 3),),
    # convolutions
    "Conv1d(3, 4, 2)": ((2, 3, 7),), "Conv1d(4, 4, 3, 2, 1, groups=2, bias=False)": ((2, 4, 7),),
    "Conv1d(3, 4, 3, padding='same', dilation=2)": ((2, 3, 7),),
    "Conv1d(3, 4, 4, padding='same', padding_mode='circular')": ((2, 3, 7),),
    "Conv2d(3, 4, (2, 3))": ((2, 3, 5, 6),),
    "Conv2d(3, 4, 3, stride=2, padding=(1, 2), dilation=2)": ((2, 3, 9, 8),),
    "Conv2d(4, 8, 3, padding=1, groups=4, padding_mode='reflect')": ((4, 5, 5),),
    "Conv2d(1, 2, 3, padding='valid')": ((2, 1, 5, 5),),
    "Conv3d(2, 3, 2)": ((1, 2, 3, 4, 3),), "LazyConv1d(4, 2)": ((2, 3, 7),),
    "LazyConv2d(4, 2, bias=False)": ((2, 3, 5, 5),), "LazyConv3d(3, 2)": ((1, 2, 3, 4, 3),),
    "ConvTranspose1d(3, 4, 2, stride=2)": ((2, 3, 5),),
    "ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)": ((2, 3, 4, 3),),
    "ConvTranspose2d(4, 6, 3, groups=2, dilation=2)": ((1, 4, 4, 3),),
    "ConvTranspose3d(2, 3, 2)": ((1, 2, 3, 2, 2),), "LazyConvTranspose1d(4, 2)": ((2, 3, 5),),
    "LazyConvTranspose2d(4, 3)": ((2, 3, 4, 3),), "LazyConvTranspose3d(3, 2)": ((1, 2, 3, 2, 2),),
    # pooling
    "MaxPool1d(3)": ((2, 3, 8),), "MaxPool1d(2, 1, return_indices=True)": ((2, 3, 8),),
    "MaxPool2d(2)": ((1, 2, 5, 6),), "MaxPool2d((3, 2), (2, 1), (1, 0))": ((1, 2, 5, 6),),
    "MaxPool2d(2, ceil_mode=True)": ((2, 5, 5),), "MaxPool3d(2)": ((1, 2, 4, 4, 4),),
    "AvgPool1d(3, stride=2, padding=1)": ((2, 3, 8),), "AvgPool2d(2)": ((1, 2, 5, 6),),
    "AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)": ((1, 2, 6, 6),),
    "AvgPool3d(2, divisor_override=3)": ((1, 2, 4, 4, 4),),
    "MaxUnpool1d(2, stride=2)": ((1, 1, 3), ("range", (1, 1, 3), 1)),
    "MaxUnpool2d(2)": ((1, 1, 2, 2), ("range", (1, 1, 2, 2), 3)),
    "MaxUnpool3d((2, 1, 1))": ((1, 1, 2, 2, 2), ("range", (1, 1, 2, 2, 2), 0)),
    "FractionalMaxPool2d(2, output_size=3)": ((1, 2, 7, 7),),
    "FractionalMaxPool2d((2, 3), output_ratio=(0.5, 0.6))": ((1, 2, 7, 8),),
    "FractionalMaxPool3d(2, output_size=2)": ((1, 2, 5, 5, 5),),
    "LPPool1d(2, 3)": ((2, 3, 8),), "LPPool2d(2, (2, 3), stride=1)": ((1, 2, 5, 6),),
    "LPPool3d(2, 2)": ((1, 1, 4, 4, 4),), "AdaptiveMaxPool1d(3)": ((2, 3, 7),),
    "AdaptiveMaxPool2d((2, None))": ((1, 2, 5, 3),), "AdaptiveMaxPool3d(2)": ((1, 1, 5, 4, 3),),
    "AdaptiveAvgPool1d(3)": ((2, 3, 7),), "AdaptiveAvgPool2d((2, None))": ((1, 2, 5, 3),),
    "AdaptiveAvgPool3d((1, 2, 2))": ((1, 1, 5, 4, 3),),
    # padding
    "CircularPad1d(2)": ((1, 2, 4),), "CircularPad2d((1, 0, 2, 1))": ((1, 2, 4, 3),),
    "CircularPad3d(1)": ((1, 1, 2, 3, 2),), "ConstantPad1d((1, 2), 3.5)": ((1, 2, 4),),
    "ConstantPad2d(1, 0.5)": ((1, 2, 4, 3),), "ConstantPad3d(1, 2.0)": ((1, 1, 2, 3, 2),),
    "ReflectionPad1d(2)": ((1, 2, 4),), "ReflectionPad2d((1, 0, 2, 1))": ((1, 2, 4, 3),),
    "ReflectionPad3d(1)": ((1, 1, 2, 3, 2),), "ReplicationPad1d(2)": ((1, 2, 4),),
    "ReplicationPad2d((1, 0, 2, 1))": ((1, 2, 4, 3),), "ReplicationPad3d(1)": ((1, 1, 2, 3, 2),),
    "ZeroPad1d(2)": ((1, 2, 4),), "ZeroPad2d((1, 0, 2, -1))": ((1, 2, 4, 3),),
    "ZeroPad3d(1)": ((1, 1, 2, 3, 2),),
    # recurrent
    "RNN(3, 4)": ((5, 2, 3),), "RNN(3, 4, 2, 'relu', batch_first=True)": ((2, 5, 3), (2, 2, 4)),
    "RNN(3, 4, bias=False, bidirectional=True)": ((5, 3),),
    "LSTM(3, 4)": ((5, 2, 3),), "LSTM(3, 4, 2, bidirectional=True, proj_size=2)": ((5, 2, 3),),
    "LSTM(3, 4, num_layers=3, dropout=0.4, batch_first=True)": ((2, 5, 3),),
    "GRU(3, 4)": ((5, 2, 3),), "GRU(3, 4, 2, bidirectional=True, bias=False)": ((5, 2, 3),),
    "RNNCell(3, 4)": ((2, 3),), "RNNCell(3, 4, nonlinearity='relu')": ((2, 3), (2, 4)),
    "LSTMCell(3, 4)": ((2, 3),), "LSTMCell(3, 4, bias=False)": ((3,),),
    "GRUCell(3, 4)": ((2, 3), (2, 4)), "GRUCell(3, 4, False)": ((3,),),
    # attention
    "MultiheadAttention(6, 2)": ((4, 2, 6),) * 3,
    "MultiheadAttention(6, 3, batch_first=True, bias=False)": ((2, 4, 6),) * 3,
    "MultiheadAttention(6, 2, kdim=5, vdim=3)": ((4, 2, 6), (3, 2, 5), (3, 2, 3)),
    "MultiheadAttention(6, 2, add_bias_kv=True, add_zero_attn=True)": ((4, 6),) * 3,
    "TransformerEncoderLayer(6, 2, 8, dropout=0.0)": ((4, 2, 6),),
    "TransformerEncoderLayer(6, 2, 8, 0.0, 'gelu', norm_first=True, batch_first=True)":
        ((2, 4, 6),),
    "TransformerDecoderLayer(6, 2, 8, 0.0, nn.GELU(), bias=False)": ((4, 2, 6), (3, 2, 6)),
    "TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True), 2)":
        ((2, 4, 6),),
    "TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8, 0.0), 2, nn.LayerNorm(6))":
        ((4, 2, 6), (3, 2, 6)),
    "Transformer(6, 2, 1, 1, 8, 0.0)": ((4, 2, 6), (3, 2, 6)),
    "AdaptiveLogSoftmaxWithLoss(6, 9, [2, 5], div_value=2.0)": (X, ("int", (4,), 9)),
    # containers
    "Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 1))": (X,),
    "Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten())": ((2, 1, 4, 4),),
    "Sequential(nn.Sequential(nn.Linear(6, 3), nn.Tanh()), nn.Dropout(0.5))": (X,),
    "DataParallel(nn.Linear(6, 2))": (X,),
}
# Modules that are not called: only their printed form and their tensors.
STILL = [
    "Sequential()", "ModuleList()", "ModuleDict()", "ParameterList()", "ParameterDict()",
    "Module()", "ModuleList([nn.ReLU(), nn.ReLU(), nn.Linear(1, 2), nn.ReLU()])",
    "ModuleList([nn.Sequential(nn.Linear(1, 1), nn.ReLU()) for _ in range(3)])",
    "ModuleDict({'a': nn.Linear(1, 2), 'b': nn.Sequential(nn.ReLU())})",
    "ParameterList([torch.ones(2, 3), 5, nn.Parameter(torch.ones(()))])",
    "ParameterDict({'b': torch.ones(2), 'a': 'text'})", "LazyLinear(3)", "LazyConv2d(4, 2)",
    "LazyBatchNorm1d()", "LSTM(2, 3, 2)", "NLLLoss(weight=torch.ones(3))",
]
SILENT = "ignore:"  # warnings that both give are not what is compared here


def make_input(torch: Any, spec: Any, number: int) -> Any:
    """A tensor as the specification says, from NumPy's generator with the seed `number`."""
    generator = np.random.RandomState(100 + number)
    kind, shape, *limit = ("normal", spec) if not isinstance(spec[0], str) else spec
    if kind == "int":
        return torch.tensor(generator.randint(0, limit[0], shape))
    if kind == "range":  # different numbers, `limit` apart from 0
        size = int(np.prod(shape))
        return torch.arange(size).reshape(shape) + limit[0]
    if kind == "full":
        return torch.full(shape, limit[0])
    numbers = generator.standard_normal(shape)
    if kind == "sign":
        numbers = np.sign(numbers)
    if kind == "unit":
        numbers = 0.1 + 0.8 * generator.uniform(size=shape)
    return torch.tensor(numbers, dtype=torch.float32)


def build(torch: Any, text: str) -> Any:
    """The module of a case, made under seed 1."""
    torch.manual_seed(1)
    return eval(f"nn.{text}", {"nn": torch.nn, "torch": torch})


def tensors_in(result: Any) -> list[Any]:
    """The tensors of a result, however nested."""
    if isinstance(result, (tuple, list)):
        return [tensor for each in result for tensor in tensors_in(each)]
    return [] if result is None else [result]


def start(torch: Any, text: str) -> dict[str, Any]:
    """Printed form and first values of a case."""
    module = build(torch, text)
    state = module.state_dict()
    lazy = "Lazy" in text
    return {"repr": repr(module), "keys": list(state), "draw": float(torch.rand(1)),
            "start": {} if lazy else {name: digest(value) for name, value in state.items()}}


def call(torch: Any, text: str) -> dict[str, list[Any]]:
    """Every tensor that a training call of a case gives: outputs, gradients, buffers."""
    module = build(torch, text)
    inputs = [make_input(torch, spec, i) for i, spec in enumerate(CASES[text])]
    leaves = [x.requires_grad_() for i, x in enumerate(inputs)
              if x.is_floating_point() and (i == 0 or "Loss" not in text)]
    inputs = [x * 1 if x.requires_grad else x for x in inputs]  # some modules work in place
    torch.manual_seed(2)
    outputs = tensors_in(module(*inputs))
    floating = [each for each in outputs if each.is_floating_point() and each.requires_grad]
    if floating:
        sum((each * weights_like(torch, each)).sum() for each in floating).backward()
    buffers = [each for each in module.buffers() if each is not None]
    gradients = [each.grad for each in [*leaves, *module.parameters()] if each.grad is not None]
    return {"outputs": outputs, "gradients": gradients, "buffers": buffers}


def weights_like(torch: Any, tensor: Any) -> Any:
    """Fixed numbers of a tensor's shape, so that a sum has a gradient that is not all ones."""
    count = max(tensor.numel(), 1)
    numbers = np.cos(np.arange(count, dtype=np.float64)).reshape(tuple(tensor.shape))
    return torch.tensor(numbers, dtype=tensor.dtype)


def digest(tensor: Any) -> list[Any]:
    """Shape, type, and three sums that tell most tensors apart."""
    numbers = tensor.detach().numpy().astype(np.float64)
    weights = np.cos(np.arange(numbers.size, dtype=np.float64)).reshape(numbers.shape)
    sums = [numbers.sum(), np.abs(numbers).sum(), (numbers * weights).sum()]
    return [list(numbers.shape), str(tensor.dtype), [float(f"{each:.6g}") for each in sums]]


def figures(torch: Any) -> dict[str, Any]:
    """Everything in nn.json."""
    found: dict[str, Any] = {"start": {}, "call": {}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for text in [*CASES, *STILL]:
            found["start"][text] = start(torch, text)
        for text in CASES:
            found["call"][text] = {what: [digest(each) for each in tensors]
                                   for what, tensors in call(torch, text).items()}
    return found


if __name__ == "__main__":
    import torch

    place = Path(__file__).with_name("nn.json")
    place.write_text(json.dumps(figures(torch), indent=0) + "\n")
