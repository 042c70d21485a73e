"""The Tensor: what people hold. Its operations are bound to it by the op table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kkori.core import device as devices
from kkori.core import dtype as types
from kkori.core import errors
from kkori.core.dtype import dtype
from kkori.core.layout import strided
from kkori.core.meta import MetaArray
from kkori.core.promise import owed, settle
from kkori.core.size import Size
from kkori.core.storage import Storage, offset_of

__all__ = ["Tensor"]

_new = object.__new__

if TYPE_CHECKING:
    from kkori.core.bound import Bound
else:
    Bound = object  # operations are bound when the package is loaded


class Tensor(Bound):
    """An array with a memory of where it came from.

    ``_array`` is the buffer and its layout in one (a NumPy array; type and device follow from
    it). It has no class default on purpose: a tensor whose numbers are promised, not yet there,
    is one without ``_array``, and is completed when somebody first asks.
    """

    _array: Any
    _storage: Storage | None = None  # made when first shared or written to
    _node: Any = None  # how it was computed: the tail that backward() follows
    _output_nr = 0  # which output of that node it is
    _requires_grad = False
    _grad: Tensor | None = None
    _added_to = False  # compiled rounds may add to `_grad`; see run/sums.py
    _base: Tensor | None = None  # the tensor it is a view of
    _origin: Any = None  # the base's node when this view's own node was made
    _hooks: Any = None
    _leaf: Tensor | None = None  # whose ``.data`` it is; see run/by_hand.py
    _keeps_grad = False  # retain_grad() was called
    __array_priority__ = 1000  # NumPy's operators leave mixed expressions to ours
    __module__ = "torch"

    def __new__(cls, *data: Any, **options: Any) -> Any:
        from kkori.ops.create import legacy_tensor
        return legacy_tensor(cls, types.get_default_dtype(), *data, **options)

    # What it is

    @property
    def shape(self) -> Size:
        """The lengths of the dimensions."""
        return Size(self._array.shape)

    @property
    def dtype(self) -> dtype:
        """The type of the elements."""
        return types.of(self._array.dtype)

    @property
    def device(self) -> devices.device:
        """Where the elements are."""
        return devices.META if isinstance(self._array, MetaArray) else devices.CPU

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return int(self._array.ndim)

    @property
    def layout(self) -> Any:
        return strided

    @property
    def itemsize(self) -> int:
        """Bytes an element takes."""
        return int(self._array.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes all elements take."""
        return int(self._array.size * self._array.itemsize)

    def dim(self) -> int:
        """How many dimensions it has."""
        return int(self._array.ndim)

    ndimension = dim

    def numel(self) -> int:
        """How many elements it has."""
        return int(self._array.size)

    nelement = numel

    def element_size(self) -> int:
        """Bytes an element takes."""
        return int(self._array.itemsize)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of dimension `dim`."""
        if dim is None:
            return Size(self._array.shape)
        return self._array.shape[dimension(dim, self._array.ndim)]

    def stride(self, dim: int | None = None) -> Any:
        """Steps in elements between neighbours along each dimension, or along `dim`."""
        width = self._array.itemsize
        steps = tuple(step // width for step in self._array.strides)
        return steps if dim is None else steps[dimension(dim, len(steps))]

    def storage_offset(self) -> int:
        """Where its first element stands in the storage, in elements."""
        storage = self.untyped_storage()
        return offset_of(self._array, storage)

    def untyped_storage(self) -> Storage:
        """The buffer it shares with its views."""
        settle(self)  # it may get another one by what is pending
        return self.shared_storage()

    storage = untyped_storage

    def data_ptr(self) -> int:
        """Address of the first element (0 where there is none)."""
        return int(self._array.__array_interface__["data"][0]) if self._array.size else 0

    def shared_storage(self) -> Storage:
        """Its Storage, made now if nobody has needed it yet."""
        if self._storage is None:
            settle(self)
            if self._storage is None:  # what was promised may have got one now
                self._storage = Storage(self._array)
        return self._storage

    @property
    def _version(self) -> int:
        if self._base is not None:
            settle(self)
        if self._storage is None:
            return getattr(self._array, "version", 0)  # of a promise
        return self._storage.version

    is_sparse = is_quantized = is_mkldnn = is_nested = is_cuda = is_mps = is_xpu = False
    is_sparse_csr = is_xla = is_ipu = is_vulkan = is_maia = is_mtia = False
    names: Any = property(lambda self: (None,) * self.ndim)

    @property
    def is_cpu(self) -> bool:
        return not isinstance(self._array, MetaArray)

    @property
    def is_meta(self) -> bool:
        return isinstance(self._array, MetaArray)

    def get_device(self) -> int:
        """Number of its CUDA device, -1 for the CPU."""
        return -1

    def is_floating_point(self) -> bool:
        """Whether elements are float16, bfloat16, float32 or float64."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether elements are complex."""
        return self.dtype.is_complex

    def is_signed(self) -> bool:
        """Whether the type can hold negative numbers."""
        return self.dtype.is_signed

    def is_inference(self) -> bool:
        return False

    def is_pinned(self, device: Any = None) -> bool:
        return False

    def is_shared(self) -> bool:
        return False

    def is_conj(self) -> bool:
        return False

    is_neg = is_conj

    # Gradients

    @property
    def requires_grad(self) -> bool:
        """Whether ``backward()`` brings a gradient here."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted and self.dtype.kind < types.FLOATING:
            raise errors.no_gradient_of_integers(self, "only Tensors of floating point and complex")
        self.requires_grad_(wanted)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Turn gradients on or off for a leaf; RuntimeError for integers and for results."""
        if self._requires_grad is not bool(requires_grad):
            before_leaf(self, requires_grad)
        if self._node is not None and not requires_grad:
            raise RuntimeError(errors.message(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."))
        if requires_grad and self.dtype.kind < types.FLOATING:
            raise errors.no_gradient_of_integers(self, "only Tensors of floating point")
        self._requires_grad = bool(requires_grad)
        return self

    @property
    def grad_fn(self) -> Any:
        """The node that made it; None for leaves."""
        settle(self)
        if self._base is not None:
            from kkori.autograd.views import refresh
            refresh(self)
        return self._node

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user, not computed from what requires gradients."""
        return self._node is None

    @property
    def output_nr(self) -> int:
        return self._output_nr

    @property
    def retains_grad(self) -> bool:
        return self._keeps_grad and self._node is not None

    @property
    def grad(self) -> Tensor | None:
        """What ``backward()`` has brought so far: a tensor of this shape, or None."""
        if self._grad is None:
            if self._node is not None and not self._keeps_grad:
                import warnings
                warnings.warn(NON_LEAF_GRAD, UserWarning, stacklevel=2)
            if owed:
                hand_out_gradients(self)
        elif self._added_to:
            hand_out_gradients(self)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            _check_gradient(self, value)
        if owed:
            hand_out_gradients(self)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        if owed:
            hand_out_gradients(self)
        self._grad = None

    @property
    def data(self) -> Tensor:
        """The same elements, without the tail; writing to them writes here."""
        return Tensor.detach(self)

    @data.setter
    def data(self, new: Tensor) -> None:
        if not isinstance(new, Tensor):
            raise TypeError(errors.message(
                f"Variable data has to be a tensor, but got {type(new).__name__}"))
        if new._array is self._array and new._storage is self._storage:
            return  # as after ``w.data -= 1``
        if is_rebound(self, new):
            return
        storage = new.shared_storage()
        before_write(self)
        before_write(new)  # it shares its memory from now on
        self._storage, self._array = storage, new._array

    def detach(self) -> Tensor:
        """The same elements as a tensor that does not require gradients."""
        for ask in asked_first:
            found = ask(self)
            if found is not None:
                return found
        return share(self)

    def detach_(self) -> Tensor:
        """Cut this tensor from what it was computed from."""
        settle(self)
        before_write(self)
        if self._base is not None:
            raise RuntimeError(errors.message(
                "Can't detach views in-place. Use detach() instead. If you are using DistributedD"
                "ataParallel (DDP) for training, and gradient_as_bucket_view is set as True, "
                "gradients are views of DDP buckets, and hence detach_() cannot be called on "
                "these gradients. To fix this error, please refer to the Optimizer.zero_grad() "
                "function in torch/optim/optimizer.py as a solution."))
        self._node, self._requires_grad, self._output_nr = None, False, 0
        return self

    # Python's own protocols

    def __len__(self) -> int:
        if not self._array.ndim:
            raise TypeError(errors.message("len() of a 0-d tensor"))
        return int(self._array.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if not self._array.ndim:
            raise TypeError(errors.message("iteration over a 0-d tensor"))
        return iter(self.unbind(0))

    __hash__ = object.__hash__  # by identity: == compares element by element

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from kkori.show.printing import tensor_repr
        return tensor_repr(self, tensor_contents=tensor_contents)

    def __format__(self, spec: str) -> str:
        if self.__class__ is Tensor and not self._array.ndim and not self.is_meta:
            return format(self._array.item(), spec)
        return object.__format__(self, spec)

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if not name.isdigit()]


NON_LEAF_GRAD = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad "
    "attribute won't be populated during autograd.backward(). If you indeed want the .grad field "
    "to be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. If you "
    "access the non-leaf Tensor by mistake, make sure you access the leaf Tensor instead. See "
    "github.com/pytorch/pytorch/pull/30531 for more information.")


def before_write(tensor: Tensor) -> None:
    """What is pending and depends on `tensor` is computed before it is changed."""
    from kkori.autograd import mode
    mode.before_write(tensor)


def is_rebound(tensor: Tensor, new: Tensor) -> bool:
    """Whether a round that is recorded or replayed sees to ``tensor.data = new``."""
    from kkori.autograd import mode
    return mode.switch.tape is not None and mode.switch.tape.rebind(tensor, new)


def before_leaf(tensor: Tensor, wanted: bool) -> None:
    """The same where `tensor` is about to require gradients, or not to, if it is a result."""
    from kkori.autograd import mode
    tape = mode.switch.tape
    if tape is None or not (wanted and tensor.dtype.kind >= types.FLOATING) or (
            not tape.becomes_input(tensor)):
        mode.before_write(tensor)


def hand_out_gradients(leaf: Tensor) -> None:
    """What a compiled round has in store for ``.grad`` is put there."""
    from kkori.autograd import mode
    mode.hand_out_gradients((leaf,))


def followed(tensor: Tensor) -> Tensor:
    """A tensor just made with ``requires_grad=True``; RuntimeError for integers."""
    if tensor.dtype.kind < types.FLOATING:
        raise errors.no_gradient_of_integers(tensor, "Only Tensors of floating point and complex")
    tensor._requires_grad = True
    return tensor


def wrap(array: Any) -> Tensor:
    """A tensor of `array` itself (nothing is copied)."""
    tensor = _new(Tensor)
    tensor._array = array
    return tensor


asked_first: list[Any] = []  # by detach(): what knows of hot loops, once there are some


def share(tensor: Tensor) -> Tensor:
    """Another tensor on the same storage, without a tail."""
    settle(tensor)
    other = _new(Tensor)
    other._array = tensor._array
    other._storage = tensor._storage or tensor.shared_storage()
    if tensor._node is None and tensor._base is None:
        other._leaf = tensor
    return other


def dimension(dim: int, ndim: int) -> int:
    """`dim` counted from the front; IndexError in PyTorch's words where there is none."""
    if -ndim <= dim < ndim:
        return dim % ndim
    if not ndim and dim in (-1, 0):
        return 0
    raise errors.bad_dimension(dim, ndim)


def _check_gradient(tensor: Tensor, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(errors.message(
            f"assigned grad expected to be a Tensor or None but got grad of type "
            f"{type(value).__name__}"))
    if value is tensor:
        raise RuntimeError(errors.message("can't assign Variable as its own grad"))
    if value._array.dtype != tensor._array.dtype:
        raise errors.gradient_of_other_type(value.dtype, tensor.dtype)
    if value.device != tensor.device:
        raise RuntimeError(errors.message(
            f"attempting to assign a gradient with device type '{value.device.type}' to a tensor "
            f"with device type '{tensor.device.type}'. Please ensure that the gradient and the "
            "tensor are on the same device"))
    if value._array.shape != tensor._array.shape:
        raise RuntimeError(errors.message(
            f"attempting to assign a gradient of size '{errors.of_shape(value._array.shape)}' to "
            f"a tensor of size '{errors.of_shape(tensor._array.shape)}'. Please ensure that the "
            "gradient and the tensor are the same size",
            fix="x.grad = torch.zeros_like(x)"))
