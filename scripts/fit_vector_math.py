"""Fit the polynomials of kkori/codegen/vector_math.py and write kkori/codegen/coefficients.py.

Each function is first reduced to a short interval on which one polynomial is enough; `FITS` says
which. Coefficients solve a weighted least-squares problem on Chebyshev nodes (within a factor of
two of the best polynomial for functions this smooth), in 60 digits. They are then rounded to the
format one after the other, lowest power first, and the remaining ones are fitted anew each time, so
that the later ones make up for the rounding of the earlier ones.

Needs mpmath.   usage: python scripts/fit_vector_math.py [--check]
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import mpmath
from mpmath import mp, mpf

mp.dps = 60
OUTPUT = Path(__file__).parent.parent / "kkori" / "codegen" / "coefficients.py"
FORMATS = ("float", "middle", "double")  # middle: doubles that are to be right to about 40 bits
NODES = 160

SQRT2, PI, LN2 = mpmath.sqrt(2), mpmath.pi, mpmath.log(2)
EDGE_ERF = {"float": mpf("0.925"), "double": mpf("0.875")}
LAST_ERF = {"float": mpf(4), "double": mpf(6)}


def series(t, first, ratio):
    """A power series near 0, where the closed form would cancel."""
    term, total, number = mpf(first), mpf(0), 0
    while abs(term) > mpf(10) ** -58 and number < 200:
        total += term
        number += 1
        term *= ratio(number) * t
    return total


def exp_rest(t):
    return series(t, mpf(1) / 2, lambda n: mpf(1) / (n + 2))


def exp2_rest(t):
    return series(t * LN2, 1, lambda n: mpf(1) / (n + 1)) * LN2


def log_rest(t):
    total = mpf(0)
    if abs(t) > mpf("0.01"):
        return (mpmath.log1p(t) - t + t * t / 2) / t**3
    for n in range(3, 60):
        total += mpf(-1) ** (n + 1) * t ** (n - 3) / n
    return total


def atanh_rest(z):
    """(log((1+s)/(1-s)) - 2s) / s^3 as a function of z = s*s."""
    return sum(2 * z**n / (2 * n + 3) for n in range(80))


def sin_rest(z):
    return series(z, mpf(-1) / 6, lambda n: mpf(-1) / ((2 * n + 2) * (2 * n + 3)))


def cos_rest(z):
    return series(z, mpf(1) / 24, lambda n: mpf(-1) / ((2 * n + 3) * (2 * n + 4)))


def erf_rest(z):
    x = mpmath.sqrt(z)
    return (mpmath.erf(x) / x if z else 2 / mpmath.sqrt(PI)) - 1


def atan_rest(z):
    return sum(mpf(-1) ** (n + 1) * z**n / (2 * n + 3) for n in range(120))


def asin_rest(z):
    """(asin(s) / s - 1) / z with z = s*s."""
    term, total = mpf(1) / 6, mpf(0)
    for n in range(1, 140):
        total += term
        term *= z * (2 * n + 1) ** 2 / mpf((2 * n + 2) * (2 * n + 3))
    return total


def tail_of(form):
    """-log(erfc(x)) over the middle of erf's range, from its edge: no large terms cancel there."""
    return lambda t: -mpmath.log(mpmath.erfc(EDGE_ERF[form] + t))


def tail_weight(form):
    return lambda t: mpmath.erfc(EDGE_ERF[form] + t)


def fits():
    """Rows: name, format, function, interval, weight of its error, degree."""
    third = LN2 / 2 * mpf("1.001")
    quarter = (PI / 4 * mpf("1.001")) ** 2
    low, high = 1 / SQRT2 - 1, SQRT2 - 1
    s2 = ((SQRT2 - 1) / (SQRT2 + 1)) ** 2
    tan2 = (SQRT2 - 1) ** 2
    for form, degree in (("float", 4), ("double", 9)):
        yield "exp", form, exp_rest, -third, third, lambda t: t, degree
    for form, degree in (("float", 5), ("middle", 8), ("double", 11)):
        yield "exp2", form, exp2_rest, -mpf("0.501"), mpf("0.501"), lambda t: t, degree
    yield "log", "float", log_rest, low, high, lambda t: t * t, 8
    for form, degree in (("middle", 4), ("double", 7)):
        yield "atanh", form, atanh_rest, mpf(0), s2, lambda z: z, degree
    for form, degree in (("float", 3), ("double", 6)):
        yield "sin", form, sin_rest, mpf(0), quarter, lambda z: z, degree
        yield "cos", form, cos_rest, mpf(0), quarter, lambda z: z * z, degree
    for form, degree in (("float", 6), ("double", 12)):
        yield "erf", form, erf_rest, mpf(0), EDGE_ERF[form] ** 2, lambda z: 1, degree
    for form, degree in (("float", 9), ("double", 22)):
        end = LAST_ERF[form] - EDGE_ERF[form]
        yield "erf_tail", form, tail_of(form), mpf(0), end, tail_weight(form), degree
    for form, degree in (("float", 4), ("double", 11)):
        yield "atan", form, atan_rest, mpf(0), tan2, lambda z: z, degree
    for form, degree in (("float", 4), ("double", 11)):
        yield "asin", form, asin_rest, mpf(0), mpf("0.25"), lambda z: z, degree


def rounded(value, form):
    number = float(value)
    return struct.unpack("<f", struct.pack("<f", number))[0] if form == "float" else number


def solve(nodes, wanted, weights, powers):
    rows = len(nodes)
    matrix = mpmath.matrix(rows, len(powers))
    right = mpmath.matrix(rows, 1)
    for row in range(rows):
        for column, power in enumerate(powers):
            matrix[row, column] = weights[row] * nodes[row] ** power
        right[row] = weights[row] * wanted[row]
    return list(mpmath.lu_solve(matrix.T * matrix, matrix.T * right))


def fit(form, function, low, high, weight, degree):
    nodes = [(low + high) / 2 + (high - low) / 2 * mpmath.cos(PI * (2 * k + 1) / (2 * NODES))
             for k in range(NODES)]
    wanted = [function(t) for t in nodes]
    weights = [weight(t) for t in nodes]
    rest, chosen = list(wanted), []
    for power in range(degree + 1):
        chosen.append(rounded(solve(nodes, rest, weights, range(power, degree + 1))[0], form))
        rest = [value - mpf(chosen[-1]) * t**power for value, t in zip(rest, nodes, strict=True)]
    worst = max(abs(w * value) for w, value in zip(weights, rest, strict=True))
    return chosen, mpmath.log(worst, 2)


def spelled(value, form):
    if form != "float":
        return repr(value)
    digits = next(d for d in range(1, 12) if rounded(float(f"{value:.{d}g}"), form) == value)
    return repr(float(f"{value:.{digits}g}"))


def text():
    lines = ['"""Coefficients of the vector math, lowest power first.',
             "",
             "Written by scripts/fit_vector_math.py, which also says what each approximates.",
             "The number after a row: log2 of the polynomial's own largest weighted error.",
             '"""', "", "from __future__ import annotations", "",
             'POLYNOMIALS: dict[tuple[str, str], tuple[float, ...]] = {']
    for name, form, *how in fits():
        chosen, worst = fit(form, *how)
        print(f"{name:10} {form:7} degree {how[-1]:2}  2^{float(worst):.1f}", file=sys.stderr)
        lines.append(f'    ("{name}", "{form}"): (  # {float(worst):.1f}')
        lines += [f"        {spelled(value, form)}," for value in chosen]
        lines.append("    ),")
    lines += ["}", "", "# erf: |x| below which it is a polynomial, and from which it is 1.",
              f"ERF_EDGE = {{{', '.join(f'{k!r}: {float(v)}' for k, v in EDGE_ERF.items())}}}",
              f"ERF_LAST = {{{', '.join(f'{k!r}: {float(v)}' for k, v in LAST_ERF.items())}}}", ""]
    return "\n".join(lines).replace("'", '"')


def main():
    new = text()
    if "--check" in sys.argv[1:]:
        sys.exit(new != OUTPUT.read_text(encoding="utf-8"))
    OUTPUT.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
