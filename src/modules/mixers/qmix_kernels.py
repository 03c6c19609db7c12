"""QMIX's mixing network and its gradient, compiled by numba.

Shapes: R rows, S numbers of a state, N agents, K units of the mixing network, W units of the hypernetworks.
"""

import numpy as np
from numba import njit

from ..layer_kernels import FAST, half, linear, linear_backward, mask, one, rectify, tanh, zero
from ..matrix_kernels import pack, product

CHUNK = 100  # rows, whose arrays stay in the processor's cache
GROUP, MAX_GROUPS = 4 * CHUNK, 4  # rows of a group of chunks, at least, and the most groups
two = np.float32(2.0)


def groups_of(rows):
    """The number of groups of rows, which can run in different threads: see ``gru_kernels``."""
    return max(1, min(MAX_GROUPS, rows // GROUP))


@njit(cache=True, fastmath=FAST, error_model="numpy")
def elu(values):
    """``x`` where it is positive, else ``exp(x) - 1``, in place; [R, K]."""
    for r in range(values.shape[0]):
        row = values[r]
        for k in range(values.shape[1]):
            t = tanh(half * row[k])  # exp(x) - 1 without cancellation
            row[k] = row[k] if row[k] > zero else two * t / (one - t)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def forward(values, state, a_w, a_b, w1_w, w1_b, c_w, c_b, w2_w, w2_b, b1_w, b1_b, d_w, d_b, b2_w, b2_b,
            total, a, w1, c, w2, hidden, d, group, groups):  # fmt: skip
    """The team's values ``total`` [R, 1] of the rows of one group.

    Args:
        values, state: [R, N] and [R, S].
        a_w, ..., b2_b: weights and biases of linear layers: the two of the hypernetwork of the first weights, the two
            of that of the second weights, that of the first bias, and the two of that of the second bias.
        a, c, d: outputs for ``backward``: the hypernetworks' hidden layers, [R, W], [R, W] and [R, K].
        w1, w2: the same: weights before their absolute value, [R, N * K] and [R, K].
        hidden: the same: the mixing network's hidden layer, [R, K].
        group, groups: which group, and how many there are.
    """
    n, k = values.shape[1], hidden.shape[1]
    a_p, c_p, d_p, b1_p = pack(a_w.T), pack(c_w.T), pack(d_w.T), pack(b1_w.T)
    w1_p, w2_p, b2_p = pack(w1_w.T), pack(w2_w.T), pack(b2_w.T)
    for first in range(group * CHUNK, len(values), groups * CHUNK):
        rows = slice(first, first + CHUNK)
        x = state[rows]
        for weight, bias, code in ((a_p, a_b, a[rows]), (c_p, c_b, c[rows]), (d_p, d_b, d[rows])):
            linear(x, weight, bias, code)
            rectify(code)
        linear(a[rows], w1_p, w1_b, w1[rows])
        linear(c[rows], w2_p, w2_b, w2[rows])
        linear(x, b1_p, b1_b, hidden[rows])
        linear(d[rows], b2_p, b2_b, total[rows])
        for r in range(first, min(first + CHUNK, len(values))):
            h, weights = hidden[r], w1[r]
            for i in range(n):
                value, own = values[r, i], weights[i * k : (i + 1) * k]
                for j in range(k):
                    h[j] = h[j] + value * abs(own[j])
        elu(hidden[rows])
        for r in range(first, min(first + CHUNK, len(values))):
            h, weights, mixed = hidden[r], w2[r], zero
            for j in range(k):
                mixed += h[j] * abs(weights[j])
            total[r, 0] += mixed


@njit(cache=True, inline="always", fastmath=FAST, error_model="numpy")
def signed(grad, weight):
    """The gradient of a number whose absolute value has the gradient ``grad``."""
    return grad if weight > zero else (-grad if weight < zero else grad * weight)  # NaN where torch has it


@njit(cache=True, fastmath=FAST, error_model="numpy")
def through_the_mixing(grad, values, w1, w2, hidden, d_values, d_w1, d_w2, d_hidden):
    """Gradients of one row's agents' values [N], of both weights [N * K], [K], and before the hidden layer's ``elu``.

    ``grad`` is the gradient of the team's value.
    """
    k = len(hidden)
    for j in range(k):
        d_w2[j] = signed(grad * hidden[j], w2[j])
    for j in range(k):
        slope = one if hidden[j] > zero else hidden[j] + one
        d_hidden[j] = grad * abs(w2[j]) * slope
    for i in range(len(values)):
        value, own, d_own, total = values[i], w1[i * k : (i + 1) * k], d_w1[i * k : (i + 1) * k], zero
        for j in range(k):
            d_own[j] = signed(d_hidden[j] * value, own[j])
        for j in range(k):
            total += d_hidden[j] * abs(own[j])
        d_values[i] = total


@njit(cache=True, fastmath=FAST, error_model="numpy")
def through_two_layers(grad, x, code, packed, d_weight, d_bias, d_first_weight, d_first_bias):
    """Adds the gradients of a hypernetwork's two layers; ``grad`` [R, O] is that of its outputs.

    ``packed`` is ``pack`` of the second layer's weight.
    """
    linear_backward(grad, code, d_weight, d_bias)
    d_code = np.empty(code.shape, np.float32)
    product(grad, packed, d_code)
    mask(d_code, code)
    linear_backward(d_code, x, d_first_weight, d_first_bias)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def backward(grad, values, state, w1_w, w2_w, b2_w, a, w1, c, w2, hidden, d, d_values, d_a_w, d_a_b, d_w1_w, d_w1_b,
             d_c_w, d_c_b, d_w2_w, d_w2_b, d_b1_w, d_b1_b, d_d_w, d_d_b, d_b2_w, d_b2_b, group, groups):  # fmt: skip
    """Gradients of one group from that of the team's values, ``grad`` [R, 1].

    Args:
        values, ..., d: as in ``forward``.
        d_values: an output, [R, N].
        d_a_w, ..., d_b2_b: sums of the shapes of the parameters, to which this group adds.
        group, groups: as in ``forward``.
    """
    rows, w1_p, w2_p, b2_p = min(CHUNK, len(values)), pack(w1_w), pack(w2_w), pack(b2_w)
    d_w1, d_w2 = np.empty((rows, w1.shape[1]), np.float32), np.empty((rows, w2.shape[1]), np.float32)
    d_hidden = np.empty((rows, hidden.shape[1]), np.float32)
    for first in range(group * CHUNK, len(values), groups * CHUNK):
        last = min(first + CHUNK, len(values))
        n, x = last - first, state[first:last]
        for r in range(first, last):
            i = r - first
            through_the_mixing(
                grad[r, 0], values[r], w1[r], w2[r], hidden[r], d_values[r], d_w1[i], d_w2[i], d_hidden[i]
            )
        linear_backward(d_hidden[:n], x, d_b1_w, d_b1_b)
        through_two_layers(d_w1[:n], x, a[first:last], w1_p, d_w1_w, d_w1_b, d_a_w, d_a_b)
        through_two_layers(d_w2[:n], x, c[first:last], w2_p, d_w2_w, d_w2_b, d_c_w, d_c_b)
        through_two_layers(grad[first:last], x, d[first:last], b2_p, d_b2_w, d_b2_b, d_d_w, d_d_b)
