"""A GRU along whole sequences, with or without a layer before and behind it, forward and backward, compiled by numba.

No step passes through Python or torch. The rows of a batch are processed in chunks, whose arrays of one step stay in
the processor's cache. Chunks belong to groups, which can run in different threads: the functions release the GIL.
Each group sums its own gradient of the weights, so the numbers do not depend on the number of threads.

Shapes: T steps, M rows, I inputs, E encoded inputs, H units. Gates are in torch's order: reset, update, new (Cho et
al. 2014, with the second bias where torch puts it).
"""

import numpy as np
from numba import njit

from .layer_kernels import FAST, add, half, linear, linear_backward, mask, one, rectify, tanh, zero
from .matrix_kernels import fill, packed_size, product

MOST, MAX_GROUPS = 32, 4  # the most rows of a chunk, and the most groups


@njit(cache=True, nogil=True)
def chunk_of(rows):
    """The rows of a chunk: an even number of chunks, so that two threads have equal work."""
    chunks = 2 * ((max(rows, 1) + 2 * MOST - 1) // (2 * MOST))
    return 4 * ((rows + 4 * chunks - 1) // (4 * chunks))


def groups_of(rows):
    """The number of groups."""
    return max(1, min(MAX_GROUPS, -(-rows // max(chunk_of(rows), 1))))


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gates_forward(gates, new, b_in, b_rec, before, after):
    """One step of a chunk of rows.

    Args:
        gates: [rows, 3H], without biases: the contributions of the input and of the state to the first two gates,
            and that of the input to the third. The gates replace them.
        new: [rows, H], the state's contribution to the third gate. Its bias is added, for ``gates_backward``.
        b_in, b_rec: [3H] and [H]; the biases of the first two gates are summed in ``b_in``.
        before, after: [rows, H], the old state and the output, the new state.
    """
    rows, h = before.shape
    for m in range(rows):
        gate = gates[m]
        for j in range(2 * h):
            gate[j] = half * (gate[j] + b_in[j])
        for j in range(2 * h):
            gate[j] = half * tanh(gate[j]) + half  # the logistic function
        r, z, n, q = gate[:h], gate[h : 2 * h], gate[2 * h :], new[m]
        b_new, old, state = b_in[2 * h :], before[m], after[m]
        for j in range(h):
            q[j] = q[j] + b_rec[j]
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
def erase(values, where):
    """Sets the rows ``where`` of values [rows, H] to 0, also from NaN."""
    for m in range(len(where)):
        if where[m]:
            values[m] = zero


@njit(cache=True, nogil=True)
def restarted(values, where, out):
    """A copy of values [rows, H] in ``out``, 0 in the rows ``where``; the values themselves if that is empty."""
    if not len(where):
        return values
    out[:] = values
    erase(out, where)
    return out


def packed(*matrices):
    """Packed copies of matrices, see ``matrix_kernels``."""
    copies = [np.empty(packed_size(*matrix.shape), np.float32) for matrix in matrices]
    for matrix, copy in zip(matrices, copies, strict=True):
        fill(matrix, copy)
    return copies


def pack_forward(w_enc, w_in, w_rec, w_out):
    """The weights as ``forward`` reads them."""
    h = w_rec.shape[1]
    return packed(w_enc.T, w_in.T, w_rec[: 2 * h].T, w_rec[2 * h :].T, w_out.T)


def pack_backward(w_enc, w_in, w_rec, w_out):
    """The weights as ``backward`` reads them."""
    return packed(w_enc, w_in, w_rec, w_out)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def forward(
    x, begins, w_enc, w_in, w_gates, w_new, w_out, b_enc, b_in, b_rec, b_out, hidden, out, encoded, gates, new,
    learns, group, groups,
):  # fmt: skip
    """Hidden states, and outputs of the head, of the rows of one group.

    Args:
        x: [T, M, I].
        begins: bool [T, M], true where an episode begins: the state before the step is zeros there. [T, 0]:
            nowhere.
        w_enc, b_enc: [E, I] and [E], a linear layer with a rectifier before the GRU; empty for none, and E is I then.
        w_in, w_gates, w_new: the GRU's weights [3H, E], and [2H, H] and [H, H] of the state.
        b_in, b_rec: see ``gates_forward``.
        w_out, b_out: [U, H] and [U], a linear layer that reads the states; empty for none.
        hidden: [T+1, M, H]; the first is given, the others are an output.
        out: the other output, [T, M, U].
        encoded, gates, new: outputs for ``backward``, [T * M * E], [T * M * 3H] and [T * M * H], stored chunk by
            chunk; not written if ``learns`` is False, and ``encoded`` only if there is a layer before the GRU.
        learns, group, groups: whether ``backward`` follows; which group, and how many groups there are.

    All weights are packed: ``pack_forward``.
    """
    steps, rows, h = x.shape[0], x.shape[1], hidden.shape[2]
    e, chunk = len(b_enc) if len(b_enc) else x.shape[2], chunk_of(rows)
    for first in range(group * chunk, rows, groups * chunk):
        last = min(first + chunk, rows)
        n, kept = last - first, steps if learns else 1
        gate, q = np.empty((kept, n, 3 * h), np.float32), np.empty((kept, n, h), np.float32)
        code = np.empty((kept if len(b_enc) else 0, n, e), np.float32)
        fresh = np.empty((n, h), np.float32)
        if learns:
            gate = gates[first * steps * 3 * h : last * steps * 3 * h].reshape(steps, n, 3 * h)
            q = new[first * steps * h : last * steps * h].reshape(steps, n, h)
            if len(b_enc):
                code = encoded[first * steps * e : last * steps * e].reshape(steps, n, e)
        for t in range(steps):
            # views by leading indices only: the compiler knows that they are contiguous
            i, before, after, given = t % kept, hidden[t][first:last], hidden[t + 1][first:last], x[t][first:last]
            before = restarted(before, begins[t][first:last], fresh)
            if len(b_enc):
                linear(given, w_enc, b_enc, code[i])
                rectify(code[i])
                given = code[i]
            product(given, w_in, gate[i])
            product(before, w_gates, gate[i][:, : 2 * h], True)
            product(before, w_new, q[i])
            gates_forward(gate[i], q[i], b_in, b_rec, before, after)
            if len(b_out):
                linear(after, w_out, b_out, out[t][first:last])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def backward(
    x, begins, w_enc, w_in, w_rec, w_out, hidden, encoded, gates, new, grad, d_out, d_x, d_first,
    d_w_enc, d_b_enc, d_w_in, d_b_in, d_w_rec, d_b_rec, d_w_out, d_b_out, group, groups,
):  # fmt: skip
    """Gradients of one group from those of the hidden states and of the head's outputs.

    Args:
        x, begins, hidden, encoded, gates, new: as in ``forward``.
        w_enc, w_in, w_rec, w_out: packed, ``pack_backward``.
        grad, d_out: [T, M, H] and [T, M, U]; empty: 0.
        d_x, d_first: outputs [T, M, I] and [M, H]; ``d_x`` is not written if it is empty.
        d_w_enc, ..., d_b_out: sums of the shapes of the parameters, to which this group adds.
        group, groups: as in ``forward``.
    """
    steps, rows, e, h = x.shape[0], x.shape[1], d_w_in.shape[1], hidden.shape[2]
    chunk = chunk_of(rows)
    for first in range(group * chunk, rows, groups * chunk):
        last = min(first + chunk, rows)
        n = last - first
        gate = gates[first * steps * 3 * h : last * steps * 3 * h].reshape(steps, n, 3 * h)
        q = new[first * steps * h : last * steps * h].reshape(steps, n, h)
        d_given, d_products = np.empty((n, 3 * h), np.float32), np.empty((n, 3 * h), np.float32)
        d_hidden, ahead = np.zeros((n, h), np.float32), np.empty((n, h), np.float32)
        d_code, fresh = np.empty((n, e), np.float32), np.empty((n, h), np.float32)
        for t in range(steps - 1, -1, -1):
            given, before = x[t][first:last], hidden[t][first:last]
            inputs = given
            before = restarted(before, begins[t][first:last], fresh)
            if d_w_enc.size:
                inputs = encoded[first * steps * e : last * steps * e].reshape(steps, n, e)[t]
            if grad.size:
                add(d_hidden, grad[t][first:last])
            if d_out.size:
                product(d_out[t][first:last], w_out, d_hidden, True)
                linear_backward(d_out[t][first:last], hidden[t + 1][first:last], d_w_out, d_b_out)
            gates_backward(d_hidden, before, gate[t], q[t], d_given, d_products, ahead)
            product(d_products, w_rec, ahead, True)
            erase(ahead, begins[t][first:last])
            d_hidden, ahead = ahead, d_hidden
            linear_backward(d_given, inputs, d_w_in, d_b_in)
            linear_backward(d_products, before, d_w_rec, d_b_rec)
            if d_w_enc.size:
                product(d_given, w_in, d_code)
                mask(d_code, inputs)
                linear_backward(d_code, given, d_w_enc, d_b_enc)
                if d_x.size:
                    product(d_code, w_enc, d_x[t][first:last])
            elif d_x.size:
                product(d_given, w_in, d_x[t][first:last])
        d_first[first:last] = d_hidden
