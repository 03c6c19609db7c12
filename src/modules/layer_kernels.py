"""Layers of networks, forward and backward, compiled by numba: the parts of ``gru_kernels`` and others.

The compiler vectorises a loop only if division does not check for zero (``error_model``), the loop runs over views
that begin at its first index, and its body is a single operation.
"""

import numpy as np
from numba import njit

from .matrix_kernels import pack, product

zero, half, one = np.float32(0.0), np.float32(0.5), np.float32(1.0)

# tanh as a quotient of polynomials on [-7.9, 7.9], +-1 outside this interval. The error is at most 3e-7.
# Coefficients: Eigen's float tanh (MathFunctionsImpl.h).
EDGE = np.float32(7.9053111)
P13, P11, P9, P7, P5, P3, P1 = (np.float32(c) for c in (
    -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
    1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03,
))  # fmt: skip
Q6, Q4, Q2, Q0 = (np.float32(c) for c in (
    1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03,
))  # fmt: skip

# Fused multiplications and additions. LLVM's other fast-math flags save no time, and two of them drop NaN and Inf.
FAST = {"contract"}


@njit(cache=True, inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def tanh(x):
    """tanh of a float32."""
    s = x * x
    p = ((((((s * P13 + P11) * s + P9) * s + P7) * s + P5) * s + P3) * s + P1) * x
    y = p / (((s * Q6 + Q4) * s + Q2) * s + Q0)
    y = one if x > EDGE else y  # NaN remains NaN, because every comparison with it is false
    return -one if x < -EDGE else y


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add(into, values):
    """``into += values``, both [R, W]."""
    for m in range(into.shape[0]):
        a, b = into[m], values[m]
        for j in range(into.shape[1]):
            a[j] = a[j] + b[j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add_rows(into, values):
    """``into += values.sum(axis=0)`` for [W] and [R, W]."""
    for m in range(values.shape[0]):
        row = values[m]
        for j in range(into.shape[0]):
            into[j] = into[j] + row[j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def linear(x, packed, bias, out):
    """``out`` [rows, O] = x [rows, I] times the transpose of a weight [O, I] + ``bias`` [O].

    ``packed`` is ``pack(weight.T)``, see ``matrix_kernels``.
    """
    product(x, packed, out)
    for m in range(out.shape[0]):
        row = out[m]
        for j in range(out.shape[1]):
            row[j] = row[j] + bias[j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def rectify(values):
    """Sets negative values [rows, W] to 0; NaN remains NaN."""
    for m in range(values.shape[0]):
        row = values[m]
        for j in range(values.shape[1]):
            row[j] = zero if row[j] < zero else row[j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def linear_backward(grad, x, d_weight, d_bias):
    """Adds the gradients of ``linear``'s weight [O, I] and bias; ``grad`` [rows, O] is that of its output."""
    product(grad.T, pack(x), d_weight, True)
    add_rows(d_bias, grad)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def mask(d_encoded, encoded):
    """Sets the gradient to 0 where the rectifier was closed; both [rows, E]."""
    for m in range(encoded.shape[0]):
        d, e = d_encoded[m], encoded[m]
        for j in range(encoded.shape[1]):
            d[j] = zero if e[j] <= zero else d[j]
