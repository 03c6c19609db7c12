"""A GRU along whole sequences, with or without a layer before and behind it, forward and backward, compiled by numba.

No step passes through Python or torch. The rows of a batch are processed in chunks, whose arrays of one step stay in
the processor's cache. Chunks belong to groups, which can run in different threads: the functions release the GIL.
Each group sums its own gradient of the weights, so the numbers do not depend on the number of threads.

Shapes: T steps, M rows, I inputs, E encoded inputs, H units. Gates are in torch's order: reset, update, new (Cho et
al. 2014, with the second bias where torch puts it).
"""

import numpy as np
from llvmlite.binding import get_host_cpu_features
from numba import njit

from .layer_kernels import FAST, add, half, linear, linear_backward, mask, one, rectify, tanh

# OpenBLAS multiplies small matrices, of up to SMALL multiplications, without copying them, if there is AVX-512. Else
# it copies the weights at each step, which is cheaper for more rows.
COPIES = not get_host_cpu_features().get("avx512f", False)
SMALL, MAX_ROWS, MIN_ROWS, MAX_GROUPS = 1_000_000, 96 if COPIES else 48, 16, 4
BLOCK = 4  # steps whose inputs are multiplied at once


def chunks(rows, inputs, units):
    """The number of rows in a chunk, and the number of groups."""
    fitting = MAX_ROWS if COPIES else SMALL // (3 * units * max(inputs, units))
    chunk = min(MAX_ROWS, fitting) if fitting >= MIN_ROWS else MAX_ROWS
    return chunk, max(1, min(MAX_GROUPS, -(-rows // chunk)))


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gates_forward(gates, products, b_in, b_rec, new, before, after):
    """One step of a chunk of rows.

    Args:
        gates, products: [rows, 3H], the input's and the state's contribution to the gates, without biases. The gates
            themselves replace ``gates``.
        b_in, b_rec: [3H] and [H]; the biases of the first two gates are summed in ``b_in``.
        new: an output for ``gates_backward``, [rows, H]: the state's contribution to the third gate before the reset
            gate multiplies it.
        before, after: [rows, H], the old state and the output, the new state.
    """
    rows, h = before.shape
    for m in range(rows):
        gate, product = gates[m], products[m]
        for j in range(2 * h):
            gate[j] = half * (gate[j] + product[j] + b_in[j])
        for j in range(2 * h):
            gate[j] = half * tanh(gate[j]) + half  # the logistic function
        r, z, n, q = gate[:h], gate[h : 2 * h], gate[2 * h :], new[m]
        product_new, b_new, old, state = product[2 * h :], b_in[2 * h :], before[m], after[m]
        for j in range(h):
            q[j] = product_new[j] + b_rec[j]
        for j in range(h):
            n[j] = n[j] + b_new[j] + r[j] * q[j]
        for j in range(h):
            n[j] = tanh(n[j])
        for j in range(h):
            state[j] = n[j] + z[j] * (old[j] - n[j])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gates_backward(d_hidden, before, gates, new, d_given, d_products, kept):
    """Gradients of one step of a chunk with respect to both contributions to the gates, [rows, 3H] each.

    ``d_hidden`` [rows, H] is the gradient of the new state. The output ``kept`` [rows, H] is the part of the gradient
    that reaches ``before`` directly, not through the products.
    """
    rows, h = kept.shape
    for m in range(rows):
        d, old, q, rest = d_hidden[m], before[m], new[m], kept[m]
        r, z, n = gates[m, :h], gates[m, h : 2 * h], gates[m, 2 * h :]
        dr, dz, dn = d_given[m, :h], d_given[m, h : 2 * h], d_given[m, 2 * h :]
        pr, pz, pn = d_products[m, :h], d_products[m, h : 2 * h], d_products[m, 2 * h :]
        for j in range(h):
            dn[j] = d[j] * (one - z[j]) * (one - n[j] * n[j])
        for j in range(h):
            dz[j] = d[j] * (old[j] - n[j]) * z[j] * (one - z[j])
        for j in range(h):
            dr[j] = dn[j] * q[j] * r[j] * (one - r[j])
        for j in range(h):
            pn[j] = dn[j] * r[j]
        for j in range(h):
            pr[j] = dr[j]
        for j in range(h):
            pz[j] = dz[j]
        for j in range(h):
            rest[j] = d[j] * z[j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def encode(x, w_enc, b_enc, encoded):
    """``encoded`` [rows, E] = relu(linear(x)), or x if the weight is empty."""
    if w_enc.size:
        linear(x, w_enc, b_enc, encoded)
        rectify(encoded)
    else:
        encoded[:] = x


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def forward(
    x, w_enc, b_enc, w_in, w_rec, b_in, b_rec, w_out, b_out, hidden, out, encoded, gates, new, learns, chunk, group,
    groups,
):  # fmt: skip
    """Hidden states, and outputs of the head, of the rows of one group.

    Args:
        x: [T, M, I].
        w_enc, b_enc: [E, I] and [E], a linear layer with a rectifier before the GRU; empty for none, and E is I then.
        w_in, w_rec: [3H, E] and [3H, H].
        b_in, b_rec: see ``gates_forward``.
        w_out, b_out: [U, H] and [U], a linear layer that reads the states; empty for none.
        hidden: [T+1, M, H]; the first is given, the others are an output.
        out: the other output, [T, M, U].
        encoded, gates, new: outputs for ``backward``, [T * M * E], [T * M * 3H] and [T * M * H], stored chunk by
            chunk; not written if ``learns`` is False, and ``encoded`` only if there is a layer before the GRU.
        chunk, group, groups: rows of a chunk, which group, and how many groups there are.
    """
    steps, rows, e, h = x.shape[0], x.shape[1], w_in.shape[1], hidden.shape[2]
    for first in range(group * chunk, rows, groups * chunk):
        last = min(first + chunk, rows)
        n = last - first
        code = np.empty((BLOCK, n, e), np.float32)
        if learns:
            gate = gates[first * steps * 3 * h : last * steps * 3 * h].reshape(steps, n, 3 * h)
            q = new[first * steps * h : last * steps * h].reshape(steps, n, h)
            if w_enc.size:
                code = encoded[first * steps * e : last * steps * e].reshape(steps, n, e)
        else:
            gate, q = np.empty((BLOCK, n, 3 * h), np.float32), np.empty((BLOCK, n, h), np.float32)
        products = np.empty((n, 3 * h), np.float32)
        for start in range(0, steps, BLOCK):  # the input's contributions of several steps are one product
            end = min(start + BLOCK, steps)
            at, at_code = start if len(gate) == steps else 0, start if len(code) == steps else 0
            for t in range(start, end):
                # views by leading indices only: the compiler knows that they are contiguous
                encode(x[t][first:last], w_enc, b_enc, code[at_code + t - start])
            many = (end - start) * n
            np.dot(code[at_code : at_code + end - start].reshape(many, e), w_in.T,
                   gate[at : at + end - start].reshape(many, 3 * h))  # fmt: skip
            for t in range(start, end):
                before, after, i = hidden[t][first:last], hidden[t + 1][first:last], at + t - start
                np.dot(before, w_rec.T, products)
                gates_forward(gate[i], products, b_in, b_rec, q[i], before, after)
                if w_out.size:
                    linear(after, w_out, b_out, out[t][first:last])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def backward(
    x, w_enc, w_in, w_rec, w_out, hidden, encoded, gates, new, grad, d_out, d_x, d_first,
    d_w_enc, d_b_enc, d_w_in, d_b_in, d_w_rec, d_b_rec, d_w_out, d_b_out, chunk, group, groups,
):  # fmt: skip
    """Gradients of one group from those of the hidden states and of the head's outputs.

    Args:
        x, w_enc, w_in, w_rec, w_out, hidden, encoded, gates, new: as in ``forward``.
        grad, d_out: [T, M, H] and [T, M, U]; empty: 0.
        d_x, d_first: outputs [T, M, I] and [M, H]; ``d_x`` is not written if it is empty.
        d_w_enc, ..., d_b_out: sums of the shapes of the parameters, to which this group adds.
        chunk, group, groups: as in ``forward``.
    """
    steps, rows, e, h = x.shape[0], x.shape[1], w_in.shape[1], hidden.shape[2]
    by_x, by_inputs, by_states = np.empty_like(d_w_enc), np.empty_like(d_w_in), np.empty_like(d_w_rec)
    by_out = np.empty_like(d_w_out)
    for first in range(group * chunk, rows, groups * chunk):
        last = min(first + chunk, rows)
        n = last - first
        gate = gates[first * steps * 3 * h : last * steps * 3 * h].reshape(steps, n, 3 * h)
        q = new[first * steps * h : last * steps * h].reshape(steps, n, h)
        d_given, d_products = np.empty((n, 3 * h), np.float32), np.empty((n, 3 * h), np.float32)
        d_hidden, more = np.zeros((n, h), np.float32), np.empty((n, h), np.float32)
        d_code = np.empty((n, e), np.float32)
        for t in range(steps - 1, -1, -1):
            given, before = x[t][first:last], hidden[t][first:last]
            inputs = given
            if w_enc.size:
                inputs = encoded[first * steps * e : last * steps * e].reshape(steps, n, e)[t]
            if grad.size:
                add(d_hidden, grad[t][first:last])
            if d_out.size:
                np.dot(d_out[t][first:last], w_out, more)
                add(d_hidden, more)
                linear_backward(d_out[t][first:last], hidden[t + 1][first:last], by_out, d_w_out, d_b_out)
            gates_backward(d_hidden, before, gate[t], q[t], d_given, d_products, more)
            np.dot(d_products, w_rec, d_hidden)
            add(d_hidden, more)
            linear_backward(d_given, inputs, by_inputs, d_w_in, d_b_in)
            linear_backward(d_products, before, by_states, d_w_rec, d_b_rec)
            if w_enc.size:
                np.dot(d_given, w_in, d_code)
                mask(d_code, inputs)
                linear_backward(d_code, given, by_x, d_w_enc, d_b_enc)
                if d_x.size:
                    np.dot(d_code, w_enc, d_x[t][first:last])
            elif d_x.size:
                np.dot(d_given, w_in, d_x[t][first:last])
        d_first[first:last] = d_hidden
