"""Functions of action values, compiled by numba. Shapes: M rows, U actions."""

import numpy as np
from numba import njit


@njit(cache=True, inline="always")
def best(values, avail):
    """The index of the largest available value [U]; the first NaN counts as the largest, as in torch."""
    at, most = 0, -np.inf
    for u in range(len(values)):
        if avail[u] and not values[u] <= most:
            at, most = u, values[u]
            if most != most:
                break
    return at


@njit(cache=True)
def choose(values, avail, uniforms, epsilon, chosen):
    """Epsilon-greedy choices.

    Args:
        values, avail: [M, U]; actions whose ``avail`` is 0 are not chosen.
        uniforms: [M, U + 1] in [0, 1). The largest available one of the first U is a uniform choice; it is taken
            where the last one is below ``epsilon``.
        chosen: the output, [M].
    """
    for m in range(len(values)):
        scores = uniforms[m, :-1] if uniforms[m, -1] < epsilon else values[m]
        chosen[m] = best(scores, avail[m])
