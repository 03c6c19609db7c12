"""A GRU along whole sequences, with or without a layer before it, forward and backward, compiled by numba.

No step passes through Python or torch. The rows of a batch are processed in chunks. A chunk's arrays of one step stay
in the processor's cache. All products of a step, also those for the weights' gradients, are small enough for
OpenBLAS's code for small matrices: with up to ``SMALL`` multiplications it is up to half as fast again. Chunks belong
to groups, which can run in different threads: the functions release the GIL. Each group sums its own gradient of the
weights, so the numbers do not depend on the number of threads.

The compiler vectorises a loop only if division does not check for zero (``error_model``), the loop runs over views
that begin at its first index, and its body is a single operation.

Shapes: T steps, M rows, I inputs, E encoded inputs, H units. Gates are in torch's order: reset, update, new (Cho et
al. 2014, with the second bias where torch puts it).
"""

import numpy as np
from numba import njit

SMALL = 1_000_000  # multiplications of a product
MAX_ROWS, MIN_ROWS, MAX_GROUPS = 48, 16, 4

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


def chunks(rows, inputs, units):
    """The number of rows in a chunk, and the number of groups."""
    fitting = SMALL // (3 * units * max(inputs, units))
    chunk = min(MAX_ROWS, fitting) if fitting >= MIN_ROWS else MAX_ROWS
    return chunk, max(1, min(MAX_GROUPS, -(-rows // chunk)))


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gates_forward(given, products, b_in, b_rec, gates, new, before, after):
    """One step of a chunk of rows.

    Args:
        given, products: [rows, 3H], the input's and the state's contribution to the gates, without biases.
        b_in, b_rec: [3H] and [H]; the biases of the first two gates are summed in ``b_in``.
        gates, new: outputs for ``gates_backward``, [rows, 3H] and [rows, H]; ``new`` is the state's contribution to
            the third gate before the reset gate multiplies it.
        before, after: [rows, H], the old state and the output, the new state.
    """
    rows, h = before.shape
    for m in range(rows):
        gate, x, product = gates[m], given[m], products[m]
        for j in range(2 * h):
            gate[j] = half * (x[j] + product[j] + b_in[j])
        for j in range(2 * h):
            gate[j] = half * tanh(gate[j]) + half  # the logistic function
        r, z, n, q = gate[:h], gate[h : 2 * h], gate[2 * h :], new[m]
        x_new, product_new, b_new, old, state = x[2 * h :], product[2 * h :], b_in[2 * h :], before[m], after[m]
        for j in range(h):
            q[j] = product_new[j] + b_rec[j]
        for j in range(h):
            n[j] = x_new[j] + b_new[j] + r[j] * q[j]
        for j in range(h):
            n[j] = tanh(n[j])
        for j in range(h):
            state[j] = n[j] + z[j] * (old[j] - n[j])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gates_backward(grad, before, gates, new, d_hidden, d_given, d_products, kept):
    """Gradients of one step of a chunk with respect to ``given`` and ``products``, both [rows, 3H].

    ``grad`` [rows, H] is the gradient from the outputs and ``d_hidden`` [rows, H] the gradient from the next step,
    to which ``grad`` is added. The output ``kept`` [rows, H] is the part of the gradient that reaches ``before``
    directly, not through the products.
    """
    rows, h = kept.shape
    for m in range(rows):
        d, g, old, q, rest = d_hidden[m], grad[m], before[m], new[m], kept[m]
        r, z, n = gates[m, :h], gates[m, h : 2 * h], gates[m, 2 * h :]
        dr, dz, dn = d_given[m, :h], d_given[m, h : 2 * h], d_given[m, 2 * h :]
        pr, pz, pn = d_products[m, :h], d_products[m, h : 2 * h], d_products[m, 2 * h :]
        for j in range(h):
            d[j] = d[j] + g[j]
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
def encode(x, w_enc, b_enc, encoded):
    """``encoded`` [rows, E] = relu(x [rows, I] times w_enc [I, E] + b_enc)."""
    np.dot(x, w_enc, encoded)
    for m in range(encoded.shape[0]):
        row = encoded[m]
        for j in range(encoded.shape[1]):
            v = row[j] + b_enc[j]
            row[j] = zero if v < zero else v  # NaN remains NaN


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def mask(d_encoded, encoded):
    """Sets the gradient to 0 where the rectifier was closed; both [rows, E]."""
    for m in range(encoded.shape[0]):
        d, e = d_encoded[m], encoded[m]
        for j in range(encoded.shape[1]):
            d[j] = zero if e[j] <= zero else d[j]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def forward(x, w_enc, b_enc, w_in, w_rec, b_in, b_rec, hidden, encoded, gates, new, learns, chunk, group, groups):
    """Hidden states of the rows of one group.

    Args:
        x: [T, M, I].
        w_enc, b_enc: [I, E] and [E], a linear layer with a rectifier before the GRU; empty for none, and E is I then.
        w_in, w_rec: [E, 3H] and [H, 3H].
        b_in, b_rec: see ``gates_forward``.
        hidden: [T+1, M, H]; the first is given, the others are the output.
        encoded, gates, new: outputs for ``backward``, [T * M * E], [T * M * 3H] and [T * M * H], stored chunk by
            chunk; not written if ``learns`` is False, and ``encoded`` only if there is a layer before the GRU.
        chunk, group, groups: rows of a chunk, which group, and how many groups there are.
    """
    steps, rows, e, h = x.shape[0], x.shape[1], w_in.shape[0], hidden.shape[2]
    for first in range(group * chunk, rows, groups * chunk):
        last = min(first + chunk, rows)
        n, kept = last - first, steps if learns else 1
        code = np.empty((kept, n, e), np.float32)
        if learns:
            gate = gates[first * steps * 3 * h : last * steps * 3 * h].reshape(kept, n, 3 * h)
            q = new[first * steps * h : last * steps * h].reshape(kept, n, h)
            if w_enc.size:
                code = encoded[first * steps * e : last * steps * e].reshape(kept, n, e)
        else:
            gate, q = np.empty((kept, n, 3 * h), np.float32), np.empty((kept, n, h), np.float32)
        given, products = np.empty((n, 3 * h), np.float32), np.empty((n, 3 * h), np.float32)
        for t in range(steps):
            # views by leading indices only: the compiler knows that they are contiguous
            before, after, at = hidden[t][first:last], hidden[t + 1][first:last], t if learns else 0
            inputs = x[t][first:last]
            if w_enc.size:
                encode(inputs, w_enc, b_enc, code[at])
                inputs = code[at]
            np.dot(inputs, w_in, given)
            np.dot(before, w_rec, products)
            gates_forward(given, products, b_in, b_rec, gate[at], q[at], before, after)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def backward(
    x, w_enc, w_in, w_rec, hidden, encoded, gates, new, grad, d_x, d_first,
    d_w_enc, d_b_enc, d_w_in, d_w_rec, d_b_in, d_b_rec, chunk, group, groups,
):  # fmt: skip
    """Gradients of one group from ``grad`` [T, M, H], that of the hidden states.

    Args:
        x, hidden, encoded, gates, new: as in ``forward``.
        w_enc, w_in, w_rec: [E, I] or empty, [3H, E] and [3H, H].
        d_x, d_first: outputs [T, M, I] and [M, H]; ``d_x`` is not written if it is empty.
        d_w_enc, d_b_enc, d_w_in, d_w_rec, d_b_in, d_b_rec: sums of the shapes of the parameters, to which this group
            adds.
        chunk, group, groups: as in ``forward``.
    """
    steps, rows, e, h = x.shape[0], x.shape[1], w_in.shape[1], hidden.shape[2]
    by_x, by_inputs, by_states = np.empty_like(d_w_enc), np.empty_like(d_w_in), np.empty_like(d_w_rec)
    for first in range(group * chunk, rows, groups * chunk):
        last = min(first + chunk, rows)
        n = last - first
        gate = gates[first * steps * 3 * h : last * steps * 3 * h].reshape(steps, n, 3 * h)
        q = new[first * steps * h : last * steps * h].reshape(steps, n, h)
        d_given, d_products = np.empty((n, 3 * h), np.float32), np.empty((n, 3 * h), np.float32)
        d_hidden, kept = np.zeros((n, h), np.float32), np.empty((n, h), np.float32)
        d_code = np.empty((n, e), np.float32)
        for t in range(steps - 1, -1, -1):
            given, before = x[t][first:last], hidden[t][first:last]
            inputs = given
            if w_enc.size:
                inputs = encoded[first * steps * e : last * steps * e].reshape(steps, n, e)[t]
            gates_backward(grad[t][first:last], before, gate[t], q[t], d_hidden, d_given, d_products, kept)
            np.dot(d_products, w_rec, d_hidden)
            add(d_hidden, kept)
            np.dot(d_given.T, inputs, by_inputs)
            add(d_w_in, by_inputs)
            np.dot(d_products.T, before, by_states)
            add(d_w_rec, by_states)
            add_rows(d_b_in, d_given)
            add_rows(d_b_rec, d_products)
            if w_enc.size:
                np.dot(d_given, w_in, d_code)
                mask(d_code, inputs)
                np.dot(d_code.T, given, by_x)
                add(d_w_enc, by_x)
                add_rows(d_b_enc, d_code)
                if d_x.size:
                    np.dot(d_code, w_enc, d_x[t][first:last])
            elif d_x.size:
                np.dot(d_given, w_in, d_x[t][first:last])
        d_first[first:last] = d_hidden


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
    code = np.dot(w_enc, np.ascontiguousarray(x.T))
    for j in range(code.shape[0]):
        row, shift = code[j], b_enc[j]
        for m in range(rows):
            v = row[m] + shift
            row[m] = zero if v < zero else v
    old = np.ascontiguousarray(hidden.T)
    given, products, state = np.dot(w_in, code), np.dot(w_rec, old), np.empty((h, rows), np.float32)
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
    advantage = np.dot(w_out, state)
    for j in range(advantage.shape[0]):
        advantage[j] += b_out[j]
    if w_value.size:
        advantage += (np.dot(w_value, state) + b_value[0]) - advantage.sum(axis=0) / np.float32(advantage.shape[0])
    out[:] = advantage.T
