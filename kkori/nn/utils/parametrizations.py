"""Ready-made parametrizations: weight norm, spectral norm, orthogonal matrices."""

from __future__ import annotations

from typing import Any

from kkori.autograd.mode import no_grad
from kkori.nn import functional as F
from kkori.nn.module import Module
from kkori.nn.utils.parametrize import register_parametrization
from kkori.nn.utils.spectral_norm import as_matrix, output_dim
from kkori.nn.utils.weight_norm import norm_except_dim, scaled_to
from kkori.tensor import Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return scaled_to(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """A weight as length (``original0``) times direction (``original1``)."""
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def from_old_names(state_dict: Any, prefix: str, *_: Any) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state_dict for key in old):
            for number, key in enumerate(old):
                new = f"{prefix}parametrizations.{name}.original{number}"
                state_dict[new] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(from_old_names)
    return module


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0,
                 eps: float = 1e-12) -> None:
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexError("Dimension out of range (expected to be in range of "
                             f"[-{ndim}, {ndim - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError("Expected n_power_iterations to be positive, but got "
                             f"n_power_iterations={n_power_iterations}")
        self.dim, self.eps = dim % ndim, eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = as_matrix(weight, self.dim)
            u, v = (matrix.new_empty(size).normal_(0, 1) for size in matrix.size())
            self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._power_method(matrix, 15)

    @no_grad()
    def _power_method(self, weight_mat: Tensor, n_power_iterations: int) -> None:
        for _ in range(n_power_iterations):
            self._u.copy_(F.normalize(weight_mat.mv(self._v), dim=0, eps=self.eps))
            self._v.copy_(F.normalize(weight_mat.t().mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()
        return weight / u.dot(matrix.mv(v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def _weight_of(module: Any, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


def spectral_norm(module: Any, name: str = "weight", n_power_iterations: int = 1,
                  eps: float = 1e-12, dim: int | None = None) -> Any:
    """A weight divided by its largest singular value (Miyato et al. 2018)."""
    weight = _weight_of(module, name)
    norm = _SpectralNorm(weight, n_power_iterations, output_dim(module, dim), eps)
    register_parametrization(module, name, norm)
    return module


MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """A matrix with orthonormal columns (or rows, where it is wide) from any matrix."""

    def __init__(self, weight: Tensor, orthogonal_map: str, *,
                 use_trivialization: bool = True) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        wide = X.size(-2) < X.size(-1)
        X = X.mT if wide else X
        if self.orthogonal_map == "householder":
            Q = _from_reflections(X)
        else:
            Q = _from_skew(X, self.orthogonal_map)
        if hasattr(self, "base"):
            Q = self.base @ Q
        return Q.mT if wide else Q

    @no_grad()
    def right_inverse(self, Q: Tensor) -> Tensor:
        if Q.shape != self.shape:
            raise ValueError(f"Expected a matrix or batch of matrices of shape {self.shape}. Got a "
                             f"tensor of shape {Q.shape}.")
        wide = Q.size(-2) < Q.size(-1)
        given, Q = Q, Q.mT if wide else Q
        if not hasattr(self, "base"):
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley "
                    "parametrizations when use_trivialization=False.")
            A = _reflections_of(Q)
            return A.mT if wide else A
        self.base = _completed(Q)
        negative = given.new_zeros(given.shape)
        negative.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return negative


def _from_skew(X: Tensor, how: str) -> Tensor:
    """exp(A), or Cayley's (I + A/2)⁻¹-like map, of the skew A made of X's lower triangle."""
    from kkori.ops.create import eye
    from kkori.ops.linalg_more import matrix_exp
    from kkori.ops.linalg_public import solve
    from kkori.ops.move import cat
    n, k = X.size(-2), X.size(-1)
    X = X.tril()
    if n != k:
        X = cat([X, X.new_zeros((*X.shape[:-1], n - k))], -1)
    A = X - X.mH
    if how == "matrix_exp":
        Q = matrix_exp(A)
    else:
        identity = eye(n, dtype=A.dtype, device=A.device)
        Q = solve(identity - A * 0.5, identity + A * 0.5)
    return Q[..., :k]


def _from_reflections(X: Tensor) -> Tensor:
    """The product of the Householder reflections in X's columns."""
    from kkori.ops.linalg_more import householder_product
    A = X.tril(diagonal=-1)
    tau = 2.0 / (1.0 + (A * A).sum(dim=-2))
    Q = householder_product(A, tau)
    return Q * X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)


def _reflections_of(Q: Tensor) -> Tensor:
    from kkori.ops.linalg_legacy import geqrf
    A, tau = geqrf(Q)
    diagonal = A.diagonal(dim1=-2, dim2=-1)
    diagonal.sign_()
    diagonal[tau == 0.0] *= -1
    return A


def _completed(Q: Tensor) -> Tensor:
    """A square orthogonal matrix that begins with Q (made orthogonal if it is not)."""
    from kkori.ops.move import cat
    from kkori.ops.random import randn
    n, k = Q.size(-2), Q.size(-1)
    if n == k:
        return Q.clone() if _is_orthogonal(Q) else _make_orthogonal(Q)
    more = randn((*Q.shape[:-2], n, n - k), dtype=Q.dtype, device=Q.device)
    return _make_orthogonal(cat([Q, more], -1))


def _is_orthogonal(Q: Tensor) -> bool:
    from kkori.core.dtype import finfo
    from kkori.ops.create import eye
    identity = eye(Q.size(-1), dtype=Q.dtype, device=Q.device)
    return bool(((Q.mH @ Q - identity).abs() <= 10.0 * Q.size(-2) * finfo(Q.dtype).eps).all())


def _make_orthogonal(A: Tensor) -> Tensor:
    from kkori.ops.linalg_public import qr
    Q, R = qr(A)
    return Q * R.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


def orthogonal(module: Any, name: str = "weight", orthogonal_map: str | None = None, *,
               use_trivialization: bool = True) -> Any:
    """Keep a weight orthogonal: `orthogonal_map` is "matrix_exp", "cayley" or "householder"."""
    weight = _weight_of(module, name)
    if weight.ndim < 2:
        raise ValueError("Expected a matrix or batch of matrices. Got a tensor of "
                         f"{weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.size(-2) == weight.size(-1)
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in MAPS:
        raise ValueError('orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
                         f"Got: {orthogonal_map}")
    made = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    register_parametrization(module, name, made, unsafe=True)
    return module
