"""The check of discrete actions, compiled by numba."""

from numba import njit


@njit(cache=True)
def admit(actions, acting, avail, admitted):
    """Writes the actions, 0 for agents that do not act, into ``admitted``; returns whether all are available.

    ``actions``, ``acting`` and ``admitted`` are [E, N], ``avail`` [E, N, U].
    """
    for e in range(actions.shape[0]):
        for n in range(actions.shape[1]):
            action = actions[e, n] if acting[e, n] else 0
            if action < 0 or action >= avail.shape[2] or not avail[e, n, action]:
                return False
            admitted[e, n] = action
    return True
