"""Traces of places and maps of places (``opponent_models/place_traces.py``, ``place_map.py``), compiled by numba."""

import numpy as np
from numba import njit

from .layer_kernels import FAST, one, zero


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def remember(encoded, now, begins, decays, scale, traces, out):
    """Moves traces on along T steps of R rows, and joins each observation with them.

    Args:
        encoded: observations [T, R, I].
        now: probabilities of the present places [T, R, P].
        begins: uint8 [T, R], 1 where the traces are empty before the step.
        decays, scale: [K], by which traces are multiplied at each step, and in ``out``.
        traces: [R, K, P]; those before the first step become those after the last.
        out: [T, R, I + K * P].
    """
    steps, rows, size = encoded.shape
    places = now.shape[2]
    for t in range(steps):
        for r in range(rows):
            seen, probabilities, row = encoded[t, r], now[t, r], out[t, r]
            for i in range(size):
                row[i] = seen[i]
            for k in range(len(decays)):
                kept, factor = zero if begins[t, r] else decays[k], scale[k]
                trace, written = traces[r, k], row[size + k * places : size + (k + 1) * places]
                for p in range(places):
                    trace[p] = kept * trace[p] + probabilities[p]
                    written[p] = factor * trace[p]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def spread(probabilities, centres, own, length, nodes, out):
    """See ``PlaceMap``: probabilities [R, M, C], centres [2, M, C], own [R, 2] -> out [R, M, nodes * nodes]."""
    rows, slots, places = probabilities.shape
    half = np.float32(nodes - 1) / np.float32(2)
    at_x, at_y = np.empty(places, np.float32), np.empty(places, np.float32)
    for r in range(rows):
        for m in range(slots):
            found, shares = out[r, m], probabilities[r, m]
            found[:] = zero
            _nodes(centres[0, m], own[r, 0], one / length, half, at_x)
            _nodes(centres[1, m], own[r, 1], one / length, half, at_y)
            for c in range(places):
                x = max(min(int(at_x[c]), nodes - 2), 0)  # 0 for NaN, which remains in the shares
                y = max(min(int(at_y[c]), nodes - 2), 0)
                to_x, to_y = at_x[c] - np.float32(x), at_y[c] - np.float32(y)
                far, first = shares[c] * to_x, x * nodes + y
                near = shares[c] - far
                found[first] += near - near * to_y
                found[first + 1] += near * to_y
                found[first + nodes] += far - far * to_y
                found[first + nodes + 1] += far * to_y


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _nodes(places, own, scale, half, out):
    """Where the displacements of ``places`` [C] are among the nodes of an axis, from 0 to 2 * half: ``out`` [C]."""
    for c in range(len(places)):
        away = (places[c] - own) * scale
        root = half * np.sqrt(one if abs(away) > one else abs(away))
        out[c] = half + (root if away > zero else -root)
