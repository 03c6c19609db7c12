"""One step of an agent: encoder, GRU and head of a few rows, compiled by numba. Shapes: see ``gru_kernels``."""

import numpy as np
from numba import njit

from .layer_kernels import FAST, half, tanh, zero
from .matrix_kernels import pack, product


@njit(cache=True, nogil=True)
def times(weight, packed, rows):
    """``weight`` [O, I] times a packed matrix [I, rows], in new memory."""
    out = np.empty((len(weight), rows), np.float32)
    product(weight, packed, out)
    return out


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def step(x, hidden, w_enc, b_enc, w_in, w_rec, b_in, b_rec, w_out, b_out, w_value, b_value, after, out):
    """One step of all rows, and the outputs of the agent's head.

    Inside, arrays are [features, rows]: products with weights [outputs, inputs] then need no transposed copy of them.

    Args:
        x, hidden: [M, I] and [M, H].
        w_enc, ..., b_rec: as the layers store them; ``w_enc`` is not empty.
        w_out, b_out, w_value, b_value: the head, a linear layer [U, H]; with a layer [1, H] for values, advantages
            have mean 0 and the value is added. Empty for none.
        after, out: outputs, [M, H] and [M, U].
    """
    rows, h = hidden.shape
    code = times(w_enc, pack(x.T), rows)
    for j in range(code.shape[0]):
        row, shift = code[j], b_enc[j]
        for m in range(rows):
            v = row[m] + shift
            row[m] = zero if v < zero else v
    old = np.ascontiguousarray(hidden.T)
    given, products = times(w_in, pack(code), rows), times(w_rec, pack(old), rows)
    state = np.empty((h, rows), np.float32)
    for j in range(2 * h):
        g, p, shift = given[j], products[j], b_in[j] + b_rec[j]
        for m in range(rows):
            g[m] = half * (g[m] + p[m] + shift)
        for m in range(rows):
            g[m] = half * tanh(g[m]) + half
    for j in range(h):
        r, z, n, p, b, s = given[j], given[h + j], given[2 * h + j], products[2 * h + j], old[j], state[j]
        shift_in, shift_rec = b_in[2 * h + j], b_rec[2 * h + j]
        for m in range(rows):
            n[m] = n[m] + shift_in + r[m] * (p[m] + shift_rec)
        for m in range(rows):
            n[m] = tanh(n[m])
        for m in range(rows):
            s[m] = n[m] + z[m] * (b[m] - n[m])
    after[:] = state.T
    if not w_out.size:
        return
    packed = pack(state)
    advantage = times(w_out, packed, rows)
    for j in range(advantage.shape[0]):
        advantage[j] += b_out[j]
    if w_value.size:
        advantage += (times(w_value, packed, rows) + b_value[0]) - advantage.sum(axis=0) / np.float32(
            advantage.shape[0]
        )
    out[:] = advantage.T
