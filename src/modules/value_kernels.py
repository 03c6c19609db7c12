"""Functions of action values, compiled by numba.

Shapes: B episodes of T transitions, E copies, N agents, U actions, M rows, K values of a transition (N, or 1 of the
team).
"""

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
        values, avail: [E, N, U]; actions whose ``avail`` is 0 are not chosen.
        uniforms: [E, N, U + 1] in [0, 1). The largest available one of the first U is a uniform choice; it is taken
            where the last one is below ``epsilon``.
        chosen: the output, [E, N].
    """
    for e in range(values.shape[0]):
        for n in range(values.shape[1]):
            scores = uniforms[e, n, :-1] if uniforms[e, n, -1] < epsilon else values[e, n]
            chosen[e, n] = best(scores, avail[e, n])


@njit(cache=True)
def one_hot(actions, features):
    """Writes the one-hot features [M, U] of actions [M]; returns whether all are in [0, U)."""
    features[:] = 0.0
    for m in range(len(actions)):
        if not 0 <= actions[m] < features.shape[1]:
            return False
        features[m, actions[m]] = 1.0
    return True


@njit(cache=True, error_model="numpy")
def taken_and_next(q, target_q, actions, avail, double_q, taken, next_values):
    """The values of the actions, and the target network's of the best next actions.

    Args:
        q, target_q: [B, T+1, N, U].
        actions, avail: [B, T+1, N, 1] and [B, T+1, N, U].
        double_q: whether ``q`` chooses the next actions, and not ``target_q``.
        taken, next_values: outputs, [B, T, N].
    """
    for b in range(taken.shape[0]):
        for t in range(taken.shape[1]):
            for n in range(taken.shape[2]):
                taken[b, t, n] = q[b, t, n, actions[b, t, n, 0]]
                chooser = q[b, t + 1, n] if double_q else target_q[b, t + 1, n]
                next_values[b, t, n] = target_q[b, t + 1, n, best(chooser, avail[b, t + 1, n])]


@njit(cache=True, error_model="numpy")
def scatter(d_taken, actions, d_q):
    """Writes the gradient [B, T, N] of the values of the actions into that of all values, which is 0."""
    for b in range(d_taken.shape[0]):
        for t in range(d_taken.shape[1]):
            for n in range(d_taken.shape[2]):
                d_q[b, t, n, actions[b, t, n, 0]] = d_taken[b, t, n]


@njit(cache=True, error_model="numpy")
def td_errors(values, next_values, reward, terminated, next_alive, mask, gamma, d_values, means):
    """The mean squared TD error and its gradient.

    Args:
        values, next_values, next_alive, mask: [B, T, K].
        reward, terminated: [B, T, K or 1] and [B, T, 1].
        gamma: float32.
        d_values: an output, [B, T, K].
        means: an output, float32 [4]: of the squared error, its absolute value, the values and the targets.
    """
    rewards = reward.shape[2]
    squares = sizes = of_values = of_targets = count = 0.0
    for b in range(values.shape[0]):
        for t in range(values.shape[1]):
            goes_on = gamma * (np.float32(1.0) - np.float32(terminated[b, t, 0]))
            for k in range(values.shape[2]):
                ahead = goes_on * next_alive[b, t, k] * next_values[b, t, k]
                target, weight = reward[b, t, k % rewards] + ahead, mask[b, t, k]
                error = values[b, t, k] - target
                d_values[b, t, k] = error * weight
                squares += error * error * weight
                sizes += abs(error) * weight
                of_values += values[b, t, k] * weight
                of_targets += target * weight
                count += weight
    count = max(count, 1.0)
    means[0], means[1], means[2], means[3] = squares / count, sizes / count, of_values / count, of_targets / count
    d_values *= np.float32(2.0 / count)
