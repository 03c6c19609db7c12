"""Traces of places (``opponent_models/place_traces.py``), compiled by numba."""

from numba import njit

from .layer_kernels import FAST, zero


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def remember(encoded, now, begins, decays, scale, least, traces, out):
    """Moves traces on along T steps of R rows, and joins each observation with them.

    Args:
        encoded: observations [T, R, I].
        now: probabilities of the present places [T, R, P].
        begins: uint8 [T, R], 1 where the traces are empty before the step.
        decays, scale: [K], by which traces are multiplied at each step, and in ``out``.
        least: a smaller trace becomes 0.
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
                    moved = kept * trace[p] + probabilities[p]
                    trace[p] = zero if moved < least else moved
                for p in range(places):
                    written[p] = factor * trace[p]
