"""A GRU's gates as compiled loops that the compiler turns into vector instructions.

Division must not check for zero (``error_model``), or else it does not.
"""

from __future__ import annotations

import numpy as np
from numba import njit

one, half = np.float32(1.0), np.float32(0.5)

# tanh as a quotient of polynomials on [-7.9, 7.9], beyond which it is 1 in float32; within 2 units in the last
# place. Coefficients: Eigen's float tanh (MathFunctionsImpl.h).
EDGE = np.float32(7.9053111)
P13, P11, P9, P7, P5, P3, P1 = (np.float32(c) for c in (
    -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
    1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03,
))  # fmt: skip
Q6, Q4, Q2, Q0 = (np.float32(c) for c in (
    1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03,
))  # fmt: skip


@njit(cache=True, inline="always", fastmath=True, error_model="numpy")
def tanh(x):
    """tanh of a float32."""
    x = x if x < EDGE else EDGE
    x = x if x > -EDGE else -EDGE
    s = x * x
    p = ((((((s * P13 + P11) * s + P9) * s + P7) * s + P5) * s + P3) * s + P1) * x
    return p / (((s * Q6 + Q4) * s + Q2) * s + Q0)


@njit(cache=True, fastmath=True, error_model="numpy")
def forward(t, inputs, products, bias, gates, new, hidden):
    """Step ``t``: from inputs[t] and products = hidden[t] W' to gates[t], new[t] (not yet gated) and hidden[t+1]."""
    rows, width = products.shape
    h = width // 3
    for m in range(rows):
        for j in range(2 * h):
            gates[t, m, j] = half * (inputs[t, m, j] + products[m, j] + bias[j])
        for j in range(h):
            new[t, m, j] = products[m, 2 * h + j] + bias[2 * h + j]
    for m in range(rows):
        for j in range(2 * h):
            gates[t, m, j] = half * tanh(gates[t, m, j]) + half  # the logistic function
    for m in range(rows):
        for j in range(h):
            gates[t, m, 2 * h + j] = inputs[t, m, 2 * h + j] + gates[t, m, j] * new[t, m, j]
    for m in range(rows):
        for j in range(2 * h, width):
            gates[t, m, j] = tanh(gates[t, m, j])
    for m in range(rows):
        for j in range(h):
            n = gates[t, m, 2 * h + j]
            hidden[t + 1, m, j] = n + gates[t, m, h + j] * (hidden[t, m, j] - n)


@njit(cache=True, fastmath=True, error_model="numpy")
def backward(t, grad, hidden, gates, new, d_hidden, d_inputs, d_products, kept):
    """Step ``t``: gradients of its gates; ``kept`` is what passes to hidden[t] beside the products."""
    rows, h = kept.shape
    for m in range(rows):
        for j in range(h):
            r, z, n = gates[t, m, j], gates[t, m, h + j], gates[t, m, 2 * h + j]
            d = d_hidden[m, j] + grad[t, m, j]
            dn = d * (one - z) * (one - n * n)
            dr = dn * new[t, m, j] * r * (one - r)
            dz = d * (hidden[t, m, j] - n) * z * (one - z)
            d_products[t, m, j] = dr
            d_products[t, m, h + j] = dz
            d_products[t, m, 2 * h + j] = dn * r
            d_inputs[t, m, j] = dr
            d_inputs[t, m, h + j] = dz
            d_inputs[t, m, 2 * h + j] = dn
            kept[m, j] = d * z
