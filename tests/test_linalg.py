"""torch.linalg and its older names: identities, gradients, messages, and PyTorch side by side."""

from __future__ import annotations

import numpy as np
import pytest

import kkori
from kkori import linalg
from kkori.autograd import gradcheck, gradgradcheck

KINDS = ("float64", "complex128")


def numbers(*shape, kind="float64", seed=0):
    generator = np.random.default_rng(seed)
    found = generator.standard_normal(shape)
    return found + 1j * generator.standard_normal(shape) if kind == "complex128" else found


def matrix(*shape, kind="float64", seed=0):
    return kkori.tensor(numbers(*shape, kind=kind, seed=seed))


def definite(size, *batch, kind="float64"):
    a = numbers(*batch, size, size, kind=kind)
    return kkori.tensor(a @ a.conj().swapaxes(-1, -2) + np.eye(size))


def close(a, b, tolerance=1e-9):
    a, b = (x.numpy() if isinstance(x, kkori.Tensor) else np.asarray(x) for x in (a, b))
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, tolerance, tolerance)


def unit(size):
    return np.eye(size)


# What the results have to be.

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (2, 3, 3), (0, 0), (0, 2, 2)])
def test_inverse_and_solve(shape, kind):
    a = matrix(*shape, kind=kind)
    eye = np.broadcast_to(unit(shape[-1]), shape)
    close(a @ linalg.inv(a), eye + 0 * a.numpy())
    b = matrix(*shape[:-1], 2, kind=kind, seed=1)
    close(a @ linalg.solve(a, b), b)
    close(linalg.solve(a, b.mT, left=False) @ a, b.mT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5), (2, 4, 4), (40, 70), (70, 40), (0, 3),
                                   (2, 0, 0)])
def test_lu_multiplies_back(shape, kind):
    a = matrix(*shape, kind=kind)
    P, L, U = linalg.lu(a)
    close(P.to(a.dtype) @ L @ U, a)
    assert (L.numpy() == np.tril(L.numpy())).all() and (U.numpy() == np.triu(U.numpy())).all()
    P2, L2, U2 = kkori.lu_unpack(*linalg.lu_factor_ex(a)[:2])
    close(P2, P.numpy())
    close(L2 @ U2, L @ U)


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_lu_solve_in_all_directions(left, adjoint):
    a = matrix(2, 5, 5, kind="complex128")
    b = matrix(2, 5, 5, kind="complex128", seed=1)
    x = linalg.lu_solve(*linalg.lu_factor(a), b, left=left, adjoint=adjoint)
    system = a.mH if adjoint else a
    close(system @ x if left else x @ system, b)


@pytest.mark.parametrize("size", [3, 128, 200])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit_diagonal", [False, True])
def test_triangular_systems_small_and_in_halves(size, upper, unit_diagonal):
    a = numbers(size, size) / size + 3 * np.eye(size)
    b = numbers(size, 2, seed=1)
    x = linalg.solve_triangular(kkori.tensor(a), kkori.tensor(b), upper=upper,
                                unitriangular=unit_diagonal).numpy()
    triangle = np.triu(a, 1) if upper else np.tril(a, -1)
    triangle = triangle + (np.eye(size) if unit_diagonal else np.diag(np.diag(a)))
    close(triangle @ x, b)


def test_a_zero_on_the_diagonal_gives_infinities_not_an_error():
    a = kkori.tensor([[1.0, 2.0], [0.0, 0.0]])
    x = linalg.solve_triangular(a, kkori.ones(2, 1), upper=True)
    assert x[1, 0] == float("inf")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["reduced", "complete"])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 4, 3)])
def test_qr(shape, mode, kind):
    a = matrix(*shape, kind=kind)
    Q, R = linalg.qr(a, mode)
    close(Q @ R, a)
    close(Q.mH @ Q, np.broadcast_to(unit(Q.shape[-1]), (*shape[:-2], *2 * Q.shape[-1:])))
    close(linalg.qr(a, "r").R, linalg.qr(a).R)


def test_reflections_make_q():
    a = matrix(2, 5, 3, kind="complex128")
    packed, tau = kkori.geqrf(a)
    Q = linalg.householder_product(packed, tau)
    close(Q, linalg.qr(a).Q)
    c = matrix(2, 5, 4, kind="complex128", seed=2)
    full = kkori.ormqr(packed, tau, kkori.eye(5, dtype=kkori.complex128).expand(2, 5, 5))
    close(kkori.ormqr(packed, tau, c), full @ c)
    close(kkori.ormqr(packed, tau, c, transpose=True), full.mH @ c)
    close(kkori.ormqr(packed, tau, c.mT, left=False), c.mT @ full)
    close(kkori.ormqr(packed, tau, c.mT, left=False, transpose=True), c.mT @ full.mH)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_and_what_it_solves(upper, kind):
    a = definite(4, 2, kind=kind)
    L = linalg.cholesky(a, upper=upper)
    close(L.mH @ L if upper else L @ L.mH, a)
    close(a @ kkori.cholesky_inverse(L, upper), np.broadcast_to(unit(4), (2, 4, 4)))
    b = matrix(2, 4, 3, kind=kind)
    close(a @ kkori.cholesky_solve(b, L, upper), b)


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_ldl_of_indefinite_matrices(size, hermitian):
    a = numbers(3, size, size, kind="complex128")
    turned = a.swapaxes(-1, -2)
    a = a + (turned.conj() if hermitian else turned)
    if size > 1:
        a[0, 0, 0] = 0  # the first pivot has to be found elsewhere
    LD, pivots = linalg.ldl_factor(kkori.tensor(a), hermitian=hermitian)
    b = numbers(3, size, 2, kind="complex128", seed=4)
    x = linalg.ldl_solve(LD, pivots, kkori.tensor(b), hermitian=hermitian).numpy()
    close(a @ x, b)


@pytest.mark.parametrize("kind", KINDS)
def test_spectral_decompositions(kind):
    a, h = matrix(2, 4, 4, kind=kind), definite(4, 2, kind=kind)
    w, v = linalg.eig(a)
    close(a.to(kkori.complex128) @ v, v * w.unsqueeze(-2))
    w, v = linalg.eigh(h)
    close(h @ v, v * w.unsqueeze(-2))
    close(linalg.eigvalsh(h, "U"), w)
    t = matrix(2, 5, 3, kind=kind)
    for full in (False, True):
        U, S, Vh = linalg.svd(t, full)
        close((U[..., :3] * S.unsqueeze(-2)) @ Vh, t)
    U, S, V = kkori.svd(t)
    close((U * S.unsqueeze(-2)) @ V.mH, t)
    close(linalg.svdvals(t), S)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (2, 3, 5)])
def test_pseudoinverse_has_the_four_properties(shape, kind):
    a = matrix(*shape, kind=kind)
    a[..., 0] = a[..., 1]  # not of full rank
    p = linalg.pinv(a)
    close(a @ p @ a, a)
    close(p @ a @ p, p)
    close((a @ p).mH, a @ p)
    close((p @ a).mH, p @ a)
    assert (linalg.matrix_rank(a) == min(shape[-2:]) - (shape[-1] <= shape[-2])).all()


def test_least_squares():
    a, b = matrix(2, 6, 3), matrix(2, 6, 2, seed=1)
    for driver in (None, "gels", "gelsd", "gelss", "gelsy"):
        found = linalg.lstsq(a, b, driver=driver)
        close(a.mT @ (a @ found.solution - b), np.zeros((2, 3, 2)))
    close(linalg.lstsq(a, b, driver="gelsd").residuals,
          ((a @ found.solution - b) ** 2).sum(-2))
    assert linalg.lstsq(a, b, driver="gels").rank.numel() == 0


@pytest.mark.parametrize("scale", [1e-9, 0.3, 40.0])
def test_matrix_exp(scale):
    h = definite(4) * scale / 10
    w, v = np.linalg.eigh(h.numpy())
    close(linalg.matrix_exp(h), (v * np.exp(w)) @ v.T, 1e-9 * np.exp(w.max()))
    if w.max() < 10:
        close(linalg.matrix_exp(h) @ linalg.matrix_exp(-h), unit(4))


def test_powers_and_products():
    a = matrix(3, 3)
    close(linalg.matrix_power(a, 5), a @ a @ a @ a @ a)
    close(linalg.matrix_power(a, -2) @ a @ a, unit(3))
    close(linalg.matrix_power(a, 0), unit(3))
    parts = [matrix(2, 7), matrix(7, 3), matrix(3, 5), matrix(5)]
    close(linalg.multi_dot(parts), parts[0] @ parts[1] @ parts[2] @ parts[3])
    close(linalg.vander(kkori.tensor([2.0, 3.0]), N=4), [[1, 2, 4, 8], [1, 3, 9, 27]])
    x, y = matrix(2, 3), matrix(2, 3, seed=1)
    close((linalg.cross(x, y) * x).sum(-1), [0, 0])
    close(linalg.vecdot(x, y), (x * y).sum(-1))
    z = matrix(2, 3, 6)
    close(kkori.tensordot(z, linalg.tensorsolve(z, x), 1), x)
    close(kkori.tensordot(linalg.tensorinv(z.permute(2, 0, 1), 1),
                          z.permute(2, 0, 1), 1).reshape(6, 6), unit(6))


@pytest.mark.parametrize("ord", ["fro", "nuc", 1, -1, 2, -2, float("inf"), -float("inf")])
def test_matrix_norms_are_those_of_numpy(ord):
    a = numbers(4, 3)
    close(linalg.matrix_norm(kkori.tensor(a), ord), np.linalg.norm(a, ord))
    three = np.stack([a, 2 * a], 1)
    close(linalg.norm(kkori.tensor(three), ord, dim=(0, 2)),
          np.linalg.norm(a, ord) * np.array([1, 2]))
    assert linalg.matrix_norm(kkori.tensor(three), ord, (0, 2), True).shape == (1, 2, 1)


def test_determinants_agree():
    a = matrix(3, 4, 4)
    sign, logarithm = linalg.slogdet(a)
    close(linalg.det(a), sign * logarithm.exp())
    close(a.det(), np.linalg.det(a.numpy()))
    close(kkori.logdet(definite(3)), linalg.det(definite(3)).log())


@pytest.mark.parametrize("shape", [(30, 8), (2, 7, 20)])
def test_low_rank_is_found_by_random_projection(shape):
    a = matrix(*shape[:-1], 3) @ matrix(*shape[:-2], 3, shape[-1], seed=1)
    U, S, V = kkori.svd_lowrank(a, q=4)
    close((U * S.unsqueeze(-2)) @ V.mH, a)
    close(S[..., :3], linalg.svdvals(a)[..., :3])
    centered = a - a.mean(-2, True)
    U, S, V = kkori.pca_lowrank(a, q=3)
    close((U * S.unsqueeze(-2)) @ V.mH, centered)
    with pytest.raises(ValueError, match="must be non-negative integer and not greater than"):
        kkori.pca_lowrank(a, q=9)


# Gradients.

GAUGE_FREE = {
    "eigh": lambda a: (lambda w, v: (w, v.abs()))(*linalg.eigh(a + a.mH)),
    "eig": lambda a: (lambda w, v: (w, v.abs()))(*linalg.eig(a)),
    "svd": lambda a: (lambda U, S, Vh: (U.abs(), S, Vh.abs()))(*linalg.svd(a, False)),
}
SQUARE = {
    "inv": linalg.inv, "det": linalg.det, "slogdet": lambda a: linalg.slogdet(a)[1],
    "logabsdet of a definite one": lambda a: kkori.logdet(a @ a.mH),
    "cholesky": lambda a: linalg.cholesky(a @ a.mH),
    "upper cholesky": lambda a: linalg.cholesky(a @ a.mH, upper=True),
    "lu": lambda a: linalg.lu(a)[1:], "lu_factor": lambda a: linalg.lu_factor(a).LU,
    "qr": lambda a: tuple(linalg.qr(a)), "matrix_exp": linalg.matrix_exp,
    "matrix_power": lambda a: linalg.matrix_power(a, -2), "eigh": GAUGE_FREE["eigh"],
    "eig": GAUGE_FREE["eig"], "eigvals": linalg.eigvals,
    "eigvalsh": lambda a: linalg.eigvalsh(a + a.mH), "pinv": linalg.pinv,
    "cond": linalg.cond, "cond 1": lambda a: linalg.cond(a, 1),
    "cholesky_inverse": lambda a: kkori.cholesky_inverse(linalg.cholesky(a @ a.mH)),
    "tensorinv": lambda a: linalg.tensorinv(a.reshape(3, 1, 3), 1),
}
OBLONG = {
    "svd": GAUGE_FREE["svd"], "svdvals": linalg.svdvals, "pinv": linalg.pinv,
    "nuc": lambda a: linalg.matrix_norm(a, "nuc"), "spectral": lambda a: linalg.norm(a, 2),
    "lu": lambda a: linalg.lu(a)[1:], "qr": lambda a: tuple(linalg.qr(a)),
    "vector_norm": lambda a: linalg.vector_norm(a, 3, -1),
    "lstsq": lambda a: linalg.lstsq(a, a[..., :2] ** 2).solution,
}


def differentiable(shape, kind):
    return kkori.tensor(numbers(*shape, kind=kind, seed=3)).requires_grad_(True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SQUARE)
def test_gradients_of_square_matrices(name, kind):
    a = differentiable((3, 3), kind)
    assert gradcheck(SQUARE[name], (a,))
    if kind == "float64":
        assert gradgradcheck(SQUARE[name], (a,), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 2), (2, 4)])
@pytest.mark.parametrize("name", OBLONG)
def test_gradients_of_oblong_matrices(name, shape, kind):
    a = differentiable(shape, kind)
    assert gradcheck(OBLONG[name], (a,))
    if kind == "float64" and shape == (4, 2):
        assert gradgradcheck(OBLONG[name], (a,), rtol=1e-3, atol=1e-4)


PAIRS = {
    "solve": linalg.solve, "triangular": lambda a, b: linalg.solve_triangular(a, b, upper=True),
    "unit triangular": lambda a, b: linalg.solve_triangular(
        a, b.mT, upper=False, left=False, unitriangular=True),
    "lu_solve": lambda a, b: linalg.lu_solve(*linalg.lu_factor(a), b),
    "cholesky_solve": lambda a, b: kkori.cholesky_solve(b, linalg.cholesky(a @ a.mH)),
    "householder": lambda a, b: linalg.householder_product(a, b[:, 0]),
    "ormqr": lambda a, b: kkori.ormqr(a[:, :2], b[:2, 0], b, transpose=True),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PAIRS)
def test_gradients_of_systems(name, kind):
    a, b = differentiable((3, 3), kind), differentiable((3, 2), kind)
    assert gradcheck(PAIRS[name], (a, b))
    if kind == "float64":
        assert gradgradcheck(PAIRS[name], (a, b), rtol=1e-3, atol=1e-4)


def test_determinant_of_a_singular_matrix_has_a_gradient():
    a = kkori.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=kkori.float64).requires_grad_(True)
    linalg.det(a).backward()
    close(a.grad, [[4, -2], [-2, 1]])


# What is refused, and how.

ZERO, ONES = kkori.zeros(3, 3), kkori.ones(2, 3)
BATCH = kkori.stack([kkori.eye(3), ZERO])
WRONG = [
    (lambda: linalg.inv(ZERO), linalg.LinAlgError,
     "linalg.inv: The diagonal element 1 is zero, the inversion could not be completed because "
     "the input matrix is singular."),
    (lambda: linalg.inv(BATCH), linalg.LinAlgError,
     "linalg.inv: (Batch element 1): The diagonal element 1 is zero, the inversion could not be "
     "completed because the input matrix is singular."),
    (lambda: linalg.inv(ONES), RuntimeError,
     "linalg.inv: A must be batches of square matrices, but they are 2 by 3 matrices"),
    (lambda: linalg.inv(kkori.ones(3)), RuntimeError,
     "linalg.inv: The input tensor A must have at least 2 dimensions."),
    (lambda: linalg.inv(ZERO.long()), RuntimeError,
     "linalg.inv: Expected a floating point or complex tensor as input. Got Long"),
    (lambda: linalg.inv(ZERO.half()), RuntimeError,
     "linalg.inv: Low precision dtypes not supported. Got Half"),
    (lambda: linalg.inv(), TypeError,
     'linalg_inv() missing 1 required positional arguments: "A"'),
    (lambda: linalg.inv(1), TypeError,
     "linalg_inv(): argument 'A' (position 1) must be Tensor, not int"),
    (lambda: linalg.solve(BATCH, BATCH), linalg.LinAlgError,
     "torch.linalg.solve: (Batch element 1): The solver failed because the input matrix is "
     "singular."),
    (lambda: linalg.solve(kkori.eye(3), kkori.ones(4)), RuntimeError,
     "linalg.solve: Incompatible shapes of A and B for the equation AX = B (3x3 and 4x1)"),
    (lambda: linalg.solve(kkori.eye(3), kkori.ones(3).double()), RuntimeError,
     "linalg.solve: Expected A and B to have the same dtype, but found A of type Float and B of "
     "type Double instead"),
    (lambda: linalg.cholesky(-kkori.eye(2)), linalg.LinAlgError,
     "linalg.cholesky: The factorization could not be completed because the input is not "
     "positive-definite (the leading minor of order 1 is not positive-definite)."),
    (lambda: kkori.cholesky(BATCH), linalg.LinAlgError,
     "cholesky: (Batch element 1): The factorization could not be completed because the input "
     "is not positive-definite (the leading minor of order 1 is not positive-definite)."),
    (lambda: linalg.svd(kkori.full((2, 2), float("nan"))), linalg.LinAlgError,
     "linalg.svd: The algorithm failed to converge because the input matrix contained "
     "non-finite values."),
    (lambda: linalg.cholesky(kkori.full((2, 2), float("nan"))), linalg.LinAlgError,
     "linalg.cholesky: The factorization could not be completed because the input is not "
     "positive-definite (the leading minor of order 1 is not positive-definite)."),
    (lambda: linalg.eigh(kkori.full((3, 3), float("nan"))), linalg.LinAlgError,
     "linalg.eigh: The algorithm failed to converge because the input matrix is ill-conditioned "
     "or has too many repeated eigenvalues (error code: 2)."),
    (lambda: linalg.lu_factor(ZERO), RuntimeError,
     "torch.linalg.lu_factor: U[1,1] is zero and using it on lu_solve would result in a division "
     "by zero. If you still want to perform the factorization, consider calling linalg.lu(A, "
     "pivot) or linalg.lu_factor_ex(A, pivot)"),
    (lambda: linalg.eigh(ZERO, "X"), RuntimeError,
     "Expected UPLO argument to be 'L' or 'U', but got X"),
    (lambda: linalg.qr(ONES, "bad"), RuntimeError,
     "qr received unrecognized mode 'bad' but expected one of 'reduced' (default), 'r', or "
     "'complete'"),
    (lambda: linalg.norm(kkori.ones(2, 2, 2), 2), RuntimeError,
     "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got 3D."),
    (lambda: linalg.matrix_norm(ONES, 5), RuntimeError,
     "linalg.matrix_norm: Order 5 not supported."),
    (lambda: linalg.multi_dot([ONES, kkori.ones(2, 2)]), RuntimeError,
     "multi_dot(): tensors 0 and 1 with shapes [2, 3] and [2, 2] cannot be multiplied"),
    (lambda: linalg.tensorinv(kkori.zeros(6, 2, 3), ind=1), linalg.LinAlgError,
     "inv: The diagonal element 1 is zero, the inversion could not be completed because the "
     "input matrix is singular."),
    (lambda: linalg.lstsq(ONES, kkori.ones(3, 2)), RuntimeError,
     "torch.linalg.lstsq: input.size(-2) should match other.size(-2)"),
]


@pytest.mark.parametrize(("call", "kind", "text"), WRONG)
def test_messages(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).splitlines()[0] == text
    assert type(caught.value) is kind


def test_the_ex_functions_report_instead_of_raising():
    assert linalg.inv_ex(BATCH).info.tolist() == [0, 1]
    assert linalg.cholesky_ex(BATCH).info.tolist() == [0, 1]
    assert linalg.lu_factor_ex(BATCH).info.tolist() == [0, 1]
    assert linalg.solve_ex(BATCH, BATCH).info.tolist() == [0, 1]
    assert linalg.solve_ex(BATCH, BATCH).result[0].equal(kkori.eye(3))
    with pytest.raises(linalg.LinAlgError):
        linalg.inv_ex(BATCH, check_errors=True)


def test_results_have_names():
    found = linalg.slogdet(kkori.eye(2))
    assert repr(found) == ("torch.return_types.linalg_slogdet(\nsign=tensor(1.),\n"
                           "logabsdet=tensor(0.))")
    assert repr(linalg.LinAlgError) == "<class 'torch._C._LinAlgError'>"
    assert kkori.slogdet(kkori.eye(2)).__class__.__name__ == "slogdet"


def test_shapes_without_numbers():
    a = kkori.empty(2, 4, 3, device="meta")
    assert [tuple(part.shape) for part in linalg.svd(a, False)] == [(2, 4, 3), (2, 3), (2, 3, 3)]
    square = kkori.empty(5, 5, device="meta")
    assert linalg.inv(square).shape == (5, 5)
    assert [part.device.type for part in linalg.lu(square)] == ["meta"] * 3
    assert linalg.matrix_rank(a).device.type == "meta"
    assert linalg.lu_solve(*linalg.lu_factor(square), square).shape == (5, 5)


def test_geqrf_says_that_it_has_no_gradient():
    packed, _ = kkori.geqrf(kkori.eye(2).requires_grad_(True))
    with pytest.raises(NotImplementedError, match="the derivative for 'geqrf' is not implemented"):
        packed.sum().backward()


@pytest.mark.parametrize(("call", "text"), [
    (lambda a: linalg.eigh(a + a.mH)[1].imag.sum(),
     "linalg_eigh_backward: The eigenvectors in the complex case are specified up to "
     "multiplication by e^{i phi}. The specified loss function depends on this quantity, so it "
     "is ill-defined."),
    (lambda a: linalg.eig(a)[1].imag.sum(),
     "linalg_eig_backward: The eigenvectors in the complex case are specified up to "
     "multiplication by e^{i phi}. The specified loss function depends on this quantity, so it "
     "is ill-defined."),
    (lambda a: linalg.svd(a)[0].imag.sum(),
     "svd_backward: The singular vectors in the complex case are specified up to multiplication "
     "by e^{i phi}. The specified loss function depends on this phase term, making it "
     "ill-defined."),
    (lambda a: linalg.qr(a[:, :2], "complete")[0].abs().sum(),
     "The QR decomposition is not differentiable when mode='complete' and nrows > ncols."),
    (lambda a: linalg.qr(a, "r")[1].abs().sum(),
     "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
     "linalg.qr(A, mode='reduced') if you are going to differentiate through linalg.qr."),
    (lambda a: linalg.ldl_factor(a + a.mT)[0].abs().sum(),
     "derivative for aten::linalg_ldl_factor_ex is not implemented"),
])
def test_losses_that_have_no_gradient(call, text):
    a = differentiable((3, 3), "complex128")
    with pytest.raises(RuntimeError) as caught:
        call(a).backward()
    assert str(caught.value).splitlines()[0] == text


def test_out_is_filled():
    out = kkori.empty(0)
    assert linalg.inv(kkori.eye(2) * 2, out=out) is out
    assert out.tolist() == [[0.5, 0], [0, 0.5]]


# PyTorch side by side: values, types and gradients.

SIDE_BY_SIDE = {
    **{name: (name, (3, 4, 4), {}) for name in (
        "linalg.inv", "linalg.det", "linalg.slogdet", "linalg.matrix_exp", "linalg.eigvals",
        "linalg.svdvals", "linalg.pinv", "linalg.cond", "linalg.matrix_rank", "logdet",
        "linalg.lu", "linalg.lu_factor", "linalg.qr", "geqrf", "inverse", "pinverse")},
    **{f"{name} {shape}": (name, shape, {}) for name in ("linalg.lu", "linalg.qr", "geqrf",
                                                         "linalg.svdvals", "linalg.pinv")
       for shape in ((5, 3), (2, 3, 5))},
    **{f"norm {order} {dim}": ("linalg.norm", (3, 4, 5), {"ord": order, "dim": dim})
       for order in (None, 0, 0.5, 1, 2, 3, float("inf"), -float("inf")) for dim in (1, (0, 2))
       if not (order in (0, 0.5, 3) and dim != 1)},
    "power": ("linalg.matrix_power", (3, 3), {"n": -3}),
    "rank with bounds": ("linalg.matrix_rank", (4, 5), {"atol": 0.5, "rtol": 0.2}),
}


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("case", SIDE_BY_SIDE)
def test_like_pytorch(case, kind):
    torch = pytest.importorskip("torch")
    name, shape, options = SIDE_BY_SIDE[case]
    wide = "complex128" if kind.startswith("complex") else "float64"
    values = numbers(*shape, kind=wide, seed=7).astype(kind)
    results = []
    for library in (torch, kkori):
        function = library
        for part in name.split("."):
            function = getattr(function, part)
        a = library.tensor(values).requires_grad_(name != "geqrf")  # it has no gradient
        found = function(a, **options)
        parts = [found] if isinstance(found, library.Tensor) else list(found)
        results.append(([part.detach().resolve_conj().numpy() for part in parts],
                        slope(library, a, parts)))
    (theirs, their_slope), (ours, our_slope) = results
    loose = 2e-3 if kind in ("float32", "complex64") else 1e-7
    for one, two in zip([*theirs, their_slope], [*ours, our_slope], strict=True):
        if one is not None and two is not None:
            assert one.dtype == two.dtype
            np.testing.assert_allclose(two, one, loose, loose * max(np.abs(one).max(), 1))


def slope(library, a, parts):
    """The gradient of a weighted sum of what is differentiable."""
    parts = [part for part in parts if part.requires_grad]
    if not parts or parts[0].grad_fn is None:
        return None
    total = sum((part * part).sum() for part in parts)
    if total.is_complex():
        total = total.real
    (found,) = library.autograd.grad(total, a, allow_unused=True)
    if found is None:
        return None
    return (found + 0).resolve_conj().numpy()
