"""One step of an agent: encoder, GRU and head of a few rows, compiled by numba. Shapes: see ``gru_kernels``."""

import numpy as np
from numba import njit

from .layer_kernels import FAST, half, one, tanh, zero
from .matrix_kernels import pack, product


@njit(cache=True, nogil=True)
def times(weight, packed, rows):
    """``weight`` [O, I] times a packed matrix [I, rows], in new memory."""
    out = np.empty((len(weight), rows), np.float32)
    product(weight, packed, out)
    return out


@njit(cache=True, nogil=True)
def inputs(obs, last_actions, identities, members):
    """The inputs ``obs, last action, agent`` of some agents as columns [I, E * members]. Arguments: ``step``."""
    copies, size, actions = len(obs), obs.shape[2], last_actions.shape[2]
    x = np.zeros((size + actions + identities, copies * len(members)), np.float32)
    for e in range(copies):
        for i in range(len(members)):
            n, m = members[i], e * len(members) + i
            for k in range(size):
                x[k, m] = obs[e, n, k]
            for k in range(actions):
                x[size + k, m] = last_actions[e, n, k]
            if identities:
                x[size + actions + n, m] = np.float32(1.0)
    return x


@njit(cache=True, nogil=True)
def inputs_along(obs, actions, filled, n_actions, identities, members, x):
    """The inputs ``obs, last action, agent`` of some agents along B episodes.

    Args:
        obs, actions, filled: [B, T, N, O], [B, T, N, 1] and [B, T, 1]; an action of padding has no feature.
        n_actions: the size of a last action in the input; 0 for none.
        identities, members: see ``step``.
        x: the output [T, B * members, I], zeros.
    """
    size = obs.shape[3]
    for t in range(len(x)):
        for b in range(len(obs)):
            for i in range(len(members)):
                n = members[i]
                row = x[t, b * len(members) + i]
                for k in range(size):
                    row[k] = obs[b, t, n, k]
                if n_actions and t and filled[b, t - 1, 0]:
                    action = actions[b, t - 1, n, 0]
                    if action < 0 or action >= n_actions:
                        raise IndexError("an action of the batch does not exist")
                    row[size + action] = np.float32(1.0)
                if identities:
                    row[size + n_actions + n] = np.float32(1.0)


@njit(cache=True, nogil=True)
def columns_of(values, members):
    """[E, N, H] -> [H, E * members]."""
    copies, _, width = values.shape
    columns = np.empty((width, copies * len(members)), np.float32)
    for e in range(copies):
        for i in range(len(members)):
            row = values[e, members[i]]
            for j in range(width):
                columns[j, e * len(members) + i] = row[j]
    return columns


@njit(cache=True, nogil=True)
def write(columns, members, values):
    """The inverse of ``columns_of``."""
    for e in range(len(values)):
        for i in range(len(members)):
            row = values[e, members[i]]
            for j in range(len(columns)):
                row[j] = columns[j, e * len(members) + i]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gates(given, products, old, b_in, b_rec):
    """The new state [H, M] from both contributions to the gates [3H, M], which are overwritten, and the old state."""
    h, rows = old.shape
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
    return state


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def normalise(values, scale, shift, eps):
    """Layer normalisation (Ba et al. 2016) of columns [H, M], in place."""
    h, rows = values.shape
    mean, factor = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    for j in range(h):
        v = values[j]
        for m in range(rows):
            mean[m] = mean[m] + v[m]
    for m in range(rows):
        mean[m] = mean[m] / np.float32(h)
    for j in range(h):
        v = values[j]
        for m in range(rows):
            v[m] = v[m] - mean[m]
        for m in range(rows):
            factor[m] = factor[m] + v[m] * v[m]
    for m in range(rows):
        factor[m] = one / np.sqrt(factor[m] / np.float32(h) + eps)
    for j in range(h):
        v, a, b = values[j], scale[j], shift[j]
        for m in range(rows):
            v[m] = v[m] * factor[m] * a + b


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def encode(w, b, scale, shift, eps, packed, rows):
    """A linear layer, normalised unless ``scale`` is empty, with a rectifier: [H, M]. Other arguments: ``step``."""
    code = times(w, packed, rows)
    for j in range(code.shape[0]):
        row, add = code[j], b[j]
        for m in range(rows):
            row[m] = row[m] + add
    if scale.size:
        normalise(code, scale, shift, eps)
    for j in range(code.shape[0]):
        row = code[j]
        for m in range(rows):
            row[m] = zero if row[m] < zero else row[m]
    return code


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def step(
    obs, last_actions, identities, members, hidden, w_enc, b_enc, w_in, w_rec, b_in, b_rec, scale_1, shift_1, scale_2,
    shift_2, w_out, b_out, w_value, b_value, eps, after, out,
):  # fmt: skip
    """One step of the agents that share a network, in E copies, and the outputs of the network's head.

    Inside, arrays are [features, rows]: products with weights [outputs, inputs] then need no transposed copy of them.

    Args:
        obs, last_actions: [E, N, O] and [E, N, U]; without last actions in the input, the latter has size 0.
        identities: the number of agents if the input ends with the agent's one-hot index, else 0.
        members: the indices of these agents.
        hidden: [E, N, H].
        w_enc, ..., b_rec: as the layers store them; ``w_enc`` is not empty.
        scale_1, shift_1, scale_2, shift_2: layer normalisations before the rectifier and of the GRU's output; empty
            for none.
        w_out, b_out, w_value, b_value: the head, a linear layer [U, H]; with a layer [1, H] for values, advantages
            have mean 0 and the value is added. Empty for none.
        eps: of the normalisations.
        after, out: outputs, [E, N, H] and [E, N, U]; those of other agents are left as they are. Without a head U is
            H, and ``out`` what a head would read.
    """
    rows = len(obs) * len(members)
    x = pack(inputs(obs, last_actions, identities, members))
    code = encode(w_enc, b_enc, scale_1, shift_1, eps, x, rows)
    old = columns_of(hidden, members)
    given, products = times(w_in, pack(code), rows), times(w_rec, pack(old), rows)
    state = gates(given, products, old, b_in, b_rec)
    write(state, members, after)
    if scale_2.size:
        normalise(state, scale_2, shift_2, eps)
    if not w_out.size:
        write(state, members, out)
        return
    packed = pack(state)
    advantage = times(w_out, packed, rows)
    for j in range(advantage.shape[0]):
        advantage[j] += b_out[j]
    if w_value.size:
        advantage += (times(w_value, packed, rows) + b_value[0]) - advantage.sum(axis=0) / np.float32(
            advantage.shape[0]
        )
    write(advantage, members, out)
