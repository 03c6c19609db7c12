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
    """See ``PlaceMap``: probabilities [R, M, C], centres [M, C, 2], own [R, 2] -> out [R, M, nodes * nodes]."""
    rows, slots, places = probabilities.shape
    half = np.float32(nodes - 1) / np.float32(2)
    for r in range(rows):
        for m in range(slots):
            found = out[r, m]
            found[:] = zero
            for c in range(places):
                share = probabilities[r, m, c]
                at_x = half + half * _warped((centres[m, c, 0] - own[r, 0]) / length)
                at_y = half + half * _warped((centres[m, c, 1] - own[r, 1]) / length)
                x, y = min(int(at_x), nodes - 2), min(int(at_y), nodes - 2)
                to_x, to_y = at_x - np.float32(x), at_y - np.float32(y)
                first = x * nodes + y
                found[first] += share * (one - to_x) * (one - to_y)
                found[first + 1] += share * (one - to_x) * to_y
                found[first + nodes] += share * to_x * (one - to_y)
                found[first + nodes + 1] += share * to_x * to_y


@njit(cache=True, inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def _warped(away):
    """The square root of a distance, at most 1, with its sign."""
    root = min(np.sqrt(abs(away)), one)
    return root if away > zero else -root
