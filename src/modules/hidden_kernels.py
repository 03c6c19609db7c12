"""A hidden layer, also with normalisation and a linear layer behind it, forward and backward, compiled by numba.

No operation on all rows writes an array that the next one has to read from memory: rows are processed in chunks that
stay in the processor's cache. Chunks belong to groups, as in ``gru_kernels``.

Shapes: M rows, I inputs, H units, U outputs.
"""

import numpy as np
from numba import njit

from .layer_kernels import FAST, linear, linear_backward, mask, one, rectify, zero
from .matrix_kernels import pack, product

CHUNK, GROUP, MAX_GROUPS = 64, 384, 4  # the rows of a chunk, the least of a group, and the most groups

# Also sums in another order, so that those of a row are vectorised. NaN and Inf remain.
SUMS = FAST | {"reassoc"}


def groups_of(rows):
    """The number of groups."""
    return max(1, min(MAX_GROUPS, rows // GROUP))


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def normalise(values, bias, eps, inverse):
    """Adds ``bias`` to ``values`` [rows, H], and gives each row mean 0 and variance 1 - about, because of ``eps``.

    ``inverse`` [rows] is an output, what the centred rows are multiplied by.
    """
    rows, h = values.shape
    for m in range(rows):
        row, total, squares = values[m], zero, zero
        for j in range(h):
            row[j] = row[j] + bias[j]
        for j in range(h):
            total += row[j]
        mean = total / np.float32(h)
        for j in range(h):
            row[j] = row[j] - mean
        for j in range(h):
            squares += row[j] * row[j]
        factor = one / np.sqrt(squares / np.float32(h) + eps)
        for j in range(h):
            row[j] = row[j] * factor
        inverse[m] = factor


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def rescale(unit, scale, shift, out):
    """``out = relu(unit * scale + shift)``; unit and out [rows, H]. NaN remains NaN."""
    for m in range(unit.shape[0]):
        row, u = out[m], unit[m]
        for j in range(unit.shape[1]):
            v = u[j] * scale[j] + shift[j]
            row[j] = zero if v < zero else v


@njit(cache=True, nogil=True, fastmath=SUMS, error_model="numpy")
def normalise_backward(grad, unit, inverse, scale, d_scale, d_shift):
    """Replaces the gradient [rows, H] of ``rescale``'s output by that of the input of ``normalise``.

    Adds the gradients of scale and shift.
    """
    rows, h = grad.shape
    for m in range(rows):
        d, u, factor = grad[m], unit[m], inverse[m]
        for j in range(h):
            d_scale[j] = d_scale[j] + d[j] * u[j]
        for j in range(h):
            d_shift[j] = d_shift[j] + d[j]
        total, along = zero, zero
        for j in range(h):
            d[j] = d[j] * scale[j]
        for j in range(h):
            total += d[j]
        for j in range(h):
            along += d[j] * u[j]
        total, along = total / np.float32(h), along / np.float32(h)
        for j in range(h):
            d[j] = factor * (d[j] - total - u[j] * along)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def forward(x, weight, bias, scale, shift, w_out, b_out, eps, hidden, unit, inverse, out, group, groups):
    """The hidden layer, and the outputs of the layer behind it, of the rows of one group.

    Args:
        x: [M, I].
        weight, bias: the layer's, [H, I] and [H].
        scale, shift: of the normalisation, [H] each; empty for none.
        w_out, b_out: of the linear layer behind, [U, H] and [U]; empty for none.
        eps: see ``normalise``.
        hidden, unit, inverse: outputs, the hidden layer [M, H] and, for ``backward``, what ``normalise`` gives,
            [M, H] and [M]. Where they are empty, nothing is kept.
        out: [M, U], the other output; not written if there is no layer behind.
        group, groups: which group, and how many there are.
    """
    rows, h, w_packed, w_behind = x.shape[0], len(bias), pack(weight.T), pack(w_out.T)
    spare, factors = np.empty((CHUNK, h), np.float32), np.empty(CHUNK, np.float32)
    other = np.empty((CHUNK if len(scale) else 0, h), np.float32)
    for first in range(group * CHUNK, rows, groups * CHUNK):
        last = min(first + CHUNK, rows)
        code = hidden[first:last] if hidden.size else spare[: last - first]
        if len(scale):
            z, factor = other[: last - first], factors[: last - first]
            if unit.size:
                z, factor = unit[first:last], inverse[first:last]
            product(x[first:last], w_packed, z)
            normalise(z, bias, eps, factor)
            rescale(z, scale, shift, code)
        else:
            linear(x[first:last], w_packed, bias, code)
            rectify(code)
        if len(b_out):
            linear(code, w_behind, b_out, out[first:last])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def backward(x, weight, scale, w_out, hidden, unit, inverse, grad, d_x, sums, group, groups):
    """Gradients of one group.

    Args:
        x, weight, scale, w_out, hidden, unit, inverse, group, groups: as in ``forward``.
        grad: of the outputs [M, U]; if there is no layer behind the hidden one, of that, [M, H].
        d_x: output [M, I], not written if it is empty.
        sums: one behind the other, the gradients of weight, bias, scale, shift, w_out and b_out, to which this group
            adds.
    """
    (rows, h), inputs, outputs, normalised = hidden.shape, x.shape[1], w_out.shape[0], len(scale)
    d_weight, at = sums[: h * inputs].reshape(h, inputs), h * inputs
    d_bias, d_scale, at = sums[at : at + h], sums[at + h : at + h + normalised], at + h + normalised
    d_shift, at = sums[at : at + normalised], at + normalised
    d_w_out = sums[at : at + outputs * w_out.shape[1]].reshape(outputs, w_out.shape[1])
    d_b_out = sums[len(sums) - outputs :]
    w_packed, w_behind = pack(weight if d_x.size else weight[:0]), pack(w_out)
    spare = np.empty((CHUNK, h), np.float32)
    for first in range(group * CHUNK, rows, groups * CHUNK):
        last = min(first + CHUNK, rows)
        d, code, given = spare[: last - first], hidden[first:last], x[first:last]
        if outputs:
            product(grad[first:last], w_behind, d)
            linear_backward(grad[first:last], code, d_w_out, d_b_out)
        else:
            d[:] = grad[first:last]
        mask(d, code)
        if len(scale):
            normalise_backward(d, unit[first:last], inverse[first:last], scale, d_scale, d_shift)
        linear_backward(d, given, d_weight, d_bias)
        if d_x.size:
            product(d, w_packed, d_x[first:last])
