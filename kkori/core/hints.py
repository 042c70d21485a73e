"""What to do about an error, found by its first line: one fix, as code where code can say it.

Read only when an error has been raised without a fix of its own. A row is a pattern for the
beginning of the line, and the fix, in which `{1}` stands for the pattern's first group.
"""

from __future__ import annotations

import re

__all__ = ["hint_for"]

HINTS = {
    # Shapes
    r"Dimension out of range \(expected to be in range of \[(-?\d+), (-?\d+)\]":
        "dim={2} is the last dimension of this tensor; any from {1} to {2} exists",
    r"both arguments to matmul need to be at least 1D": "a * b, where one of them is a number",
    r"(self|mat\d?) must be a matrix": "a @ b takes vectors, matrices and batches",
    r"batch(\d) must be a 3D tensor": "a @ b multiplies matrices and batches of them",
    r"1D tensors expected, but got": "a @ b for matrices, (a * b).sum() for any equal shapes",
    r"inconsistent tensor size, expected tensor": "two vectors of one length: a[:len(b)] @ b",
    r"Expected size for first two dimensions of batch2 tensor to be: \[(\d+), (\d+)\]":
        "the second batch needs shape ({1}, {2}, n): b.transpose(1, 2) exchanges its last two",
    r"The expanded size of the tensor": "lengths of 1 stretch, others do not: x.unsqueeze(0)",
    r"expand\(torch": "x.expand(n, *x.shape) puts dimensions in front",
    r"only one dimension can be inferred": "x.view(-1, x.shape[-1]): one -1, the others counted",
    r"view size is not compatible": "x.reshape(...), or x.contiguous().view(...)",
    r"Tensors must have same number of dimensions": "x.unsqueeze(0) adds a dimension",
    r"torch\.cat\(\): expected a non-empty": "if parts: torch.cat(parts)",
    r"zero-dimensional tensor": "torch.stack(numbers) makes a vector of 0-dim tensors",
    r"stack expects a non-empty": "if parts: torch.stack(parts)",
    r"stack expects each tensor to be equal size":
        "torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), or torch.cat(tensors)",
    r"split_with_sizes expects split_sizes to sum exactly to (\d+)":
        "sizes that add up to {1}, or one size: x.split(2)",
    r"chunk expects `chunks`": "x.chunk(2)",
    r"permute\(sparse_coo\)": "name every dimension once: x.permute(1, 0)",
    r"permute\(\): duplicate dims": "name every dimension once: x.permute(1, 0)",
    r"t\(\) expects a tensor with <= 2": "x.transpose(-2, -1), or x.mT",
    r"dim (\d+) appears multiple times": "name every dimension once: x.sum((0, 1))",
    r"flatten\(\) has invalid args": "x.flatten(start_dim=1)",
    r"(Number of dimensions of repeat dims)": "one count a dimension: x.repeat(2, 1)",
    r"(max|min|argmax|argmin)\(\): Expected reduction dim": "if x.numel(): x.{1}()",
    r"(zeros: Dimension size|Trying to create tensor with negative)": "torch.zeros(max(n, 0))",
    r"Padding length should be less": "two numbers a dimension, from the last: F.pad(x, (1, 1))",
    r"einsum\(\)": 'one letter a dimension, commas between operands: "ij,jk->ik"',
    r"unflatten: Provided sizes .* dim (\d+) \((\d+)\)": "sizes whose product is {2}",
    r"diag\(\): Supports": "torch.diagonal(x, dim1=-2, dim2=-1)",
    r"trace: expected a matrix": "x.diagonal(dim1=-2, dim2=-1).sum(-1)",
    r"linalg\.cross: inputs dimension": "vectors of three numbers",
    # Indices
    r"too many indices for tensor of dimension (\d+)":
        "at most {1} indices; x.unsqueeze(0) adds a dimension",
    r"invalid index of a 0-dim tensor": "x.item()",
    r"only integers, slices": "x[int(i)]",
    r"The shape of the mask": "a mask of the tensor's own shape: x[x > 0]",
    r"step must be greater than zero": "x.flip(0) for the reverse order",
    r"shape mismatch: value tensor": "as many values as places, or one number: x[mask] = 0",
    r"Index tensor must have the same number": "index.unsqueeze(1)",
    r"start \((\d+)\) \+ length": "x[{1}:] takes what there is",
    r"select\(\): index": "x.shape tells the length of every dimension",
    r"(index out of range in self|out of range: tried)": "index.max() < x.shape[0] must hold",
    r"selected index k out of range": "x.topk(min(k, x.shape[-1]))",
    r"Class values must be non-negative": "labels.unique() shows them; they count from 0",
    r"Class values must be smaller": "one_hot(labels, int(labels.max()) + 1)",
    r"one_hot is only applicable": "one_hot(labels.long())",
    r"bincount only supports": "x.long().flatten(), without negative numbers",
    # Types, values, devices
    r"dot : expected both vectors": "a.to(b.dtype) @ b",
    r"(std and var only|mean\(\): could not infer)": "x.float()",
    r"Subtraction, the `-` operator": "a ^ b for two masks, ~a for one",
    r"Integers to negative integer powers": "x.float() ** -1",
    r"Torch not compiled with CUDA": 'device = "cuda" if torch.cuda.is_available() else "cpu"',
    r"(Expected one of cpu|Invalid device string)": 'torch.device("cpu")',
    r"(Tensor\.item\(\) cannot be called on meta|Cannot copy out of meta)":
        "torch.empty_like(x, device='cpu'): meta tensors have a shape and no numbers",
    r"can't convert meta device": "torch.empty_like(x, device='cpu').numpy()",
    r"new\(\): invalid data type 'str'": "turn text into numbers first: [float(s) for s in x]",
    r"Could not infer dtype of NoneType": "[0.0 if v is None else v for v in values]",
    r"Could not infer dtype of dict": "torch.tensor(list(values.values()))",
    r"Overflow when unpacking long long": "torch.tensor(float(n)): int64 ends at 2**63 - 1",
    r"expected np\.ndarray \(got list": "torch.tensor(values)",
    r"can't convert np\.ndarray of type": "array.astype(float), or frame.select_dtypes('number')",
    r"At least one stride": "torch.from_numpy(array.copy())",
    r"(len\(\) of|iteration over) a 0-d": "x.item(), or x.reshape(1)",
    r"torch\.clamp: At least one": "x.clamp(min=0)",
    r"(step must be nonzero|upper bound and lower)": "torch.arange(0, 3, 1)",
    r"number of steps must be": "torch.linspace(0, 1, 5)",
    r"cannot sample n_sample": "replacement=True, or at most as many as there are",
    r"probability tensor contains": "probabilities.clamp(min=0), without NaN and infinity",
    r"normal expects": "a standard deviation of 0 or more",
    r"Expected a CPUGeneratorImplState": "torch.set_rng_state(torch.get_rng_state())",
    r"linalg\.(\w+): A must be batches of square": "torch.linalg.lstsq(A, B), or pinv(A)",
    r"linalg\.(\w+): Expected a floating": "A.float()",
    r".*the input matrix is singular": "torch.linalg.pinv(A), or torch.linalg.lstsq",
    r"linalg\.cholesky: The factorization": "A + 1e-6 * torch.eye(len(A))",
    # Gradients
    r"you can only change requires_grad flags of leaf": "y.detach()",
    r"assigned grad expected": "x.grad = None, or a tensor of x's shape",
    r"Only Tensors created explicitly": "copy.deepcopy(y.detach())",
    r"cannot register a hook": "x.requires_grad_() first",
    r"can't retain_grad": "x.requires_grad_() first",
    r"Legacy autograd function": "Double.apply(x), with @staticmethod on forward and backward",
    r"You must implement (either the backward|the forward)": "@staticmethod def backward(ctx, g)",
    # Modules
    r"cannot assign .* before Module\.__init__": "super().__init__() first, in __init__",
    r"cannot assign '.*' as parameter": "torch.nn.Parameter(tensor)",
    r"cannot assign '.*' object to parameter": "torch.nn.Parameter(tensor)",
    r"cannot assign '.*' as child module": "del net.name first, or choose another name",
    r"cannot assign '.*' (as|object to) buffer": "torch.tensor(value)",
    r"(.*) is not a Module subclass": "an object with forward: torch.nn.ReLU(), with its brackets",
    r"index (-?\d+) is out of range": "len(modules) tells how many there are",
    r"Padding_idx must be within": "padding_idx=0",
    r"in_channels must be divisible": "groups=1, or a divisor of both channel counts",
    r"num_channels \((\d+)\) must be divisible": "a divisor of {1} as num_groups: 1 always is",
    r"dropout probability has to be": "p=0.5",
    r"Fan in and fan out can not be computed": "torch.nn.init.normal_(tensor) for vectors",
    r"Unsupported nonlinearity": 'calculate_gain("relu")',
    # Optimizers and data
    r"Invalid beta parameter": "betas=(0.9, 0.999)",
    r"Invalid (epsilon|eps) value": "eps=1e-8",
    r"Invalid momentum value": "momentum=0.9",
    r"Invalid weight_decay value": "weight_decay=0.01",
    r"Invalid alpha value": "alpha=0.99",
    r"Nesterov momentum requires": "momentum=0.9, nesterov=True",
    r"LBFGS doesn't support": "one group: LBFGS(net.parameters())",
    r"(\w+) is not an Optimizer": "StepLR(optimizer, 10): the optimizer, not the module",
    r"Expected (\d+) lr_lambdas": "one function, or one for each of the {1} parameter groups",
    r"mode \w+ is unknown": 'mode="min" or "max"',
    r"Factor should be < 1": "factor=0.1",
    r"optimizer must support momentum": "cycle_momentum=False",
    r"You must define either total_steps": "total_steps=epochs * len(loader)",
    r"Tried to step \d+ times": "scheduler.step() once a batch, total_steps=epochs * len(loader)",
    r"The total norm of order": "find the NaN first: torch.isfinite(loss)",
    r"batch_size should be a positive": "batch_size=32",
    r"num_workers option should be": "num_workers=0",
    r"num_samples should be a positive": "len(dataset) must be above 0",
    r"datasets should not be an empty": "[dataset, ...] with at least one in it",
    r"absolute value of index": "index from -len(dataset) to len(dataset) - 1",
    r"weights should be a 1d": "one weight an example: weights.flatten()",
    # Layers and losses
    r"Module \[\w+\] is missing the required": "def forward(self, x): spelt just so, in the class",
    r"Sequential\.forward\(\) takes": "one tensor in, one out: join inputs with torch.cat first",
    r"(\w+\.)?forward\(\) takes": "call the module with the arguments that its forward names",
    r"Expected 3D \(unbatched\) or 4D": "x.reshape(-1, channels, height, width)",
    r"Expected 2D \(unbatched\) or 3D": "x.reshape(-1, channels, length)",
    r"Calculated padded input size": "a smaller kernel, or padding=1",
    r"pad should be at most half": "padding=kernel_size // 2 at most",
    r"Given input size: .* Output size is too small": "a smaller kernel, or fewer pooling layers",
    r"running_mean should contain (\d+) elements": "BatchNorm1d({1})",
    r"expected (\d)D input \(got (\d)D": "x.unsqueeze adds a dimension; BatchNorm1d takes (N, C)",
    r"Given normalized_shape=": "LayerNorm(x.shape[-1])",
    r"input\.size\(-1\) must be equal to input_size\. Expected (\d+), got (\d+)":
        "a layer with input_size={2}, or x with {1} numbers a step",
    r"input has inconsistent input_size: got (\d+)": "a cell with input_size={1}",
    r"Expected hidden size \(([\d, ]+)\)": "torch.zeros({1})",
    r"\w+: Expected input to be 2D or 3D": "x of shape (steps, batch, features)",
    r"bilinear\(\): input(\d) size does not match weight size: got (\d+)":
        "in{1}_features={2} in the layer",
    r"Mismatch of parameter numbers and input channel size\..* channel size = (\d+)":
        "PReLU({1}), or PReLU() with one slope for all",
    r"Argument #4: Padding size": "padding smaller than the dimension, or mode='replicate'",
    r"Expected more than 1 value per channel": "net.eval(), or drop_last=True in the DataLoader",
    r"(average|\w+) is not a valid value for reduction": 'reduction="mean", "sum" or "none"',
    r"all elements of target should be": "targets from 0 to 1; labels 1, 2: target - 1",
    r"Expected input batch_size \((\d+)\)": "one label a row: target of shape ({1},)",
    r"weight tensor should be defined either for all (\d+)": "weight=torch.ones({1})",
    r"Expected 1 or more dimensions": "scores.unsqueeze(0), target.unsqueeze(0)",
}


def hint_for(line: str) -> str:
    """The fix for an error that begins with `line`; empty where the table has none."""
    for pattern, fix in HINTS.items():
        found = re.match(pattern, line)
        if found is not None:
            return fix.format(line, *found.groups())
    return ""
