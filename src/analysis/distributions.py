"""Tail probabilities of two tests, in closed form: to import SciPy takes longer than to compare or diagnose runs.

Sources: Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.4.4 and 26.4.5 (chi-square with whole
degrees of freedom); Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than
the other", 1947, with the usual correction of the variance for ties.
"""

import math

import numpy as np
from numpy.typing import NDArray

MOST_EXACT = 8  # above it, in both samples, U is close enough to a normal variable


def chi_square_tail(freedom: int, x: float) -> float:
    """The probability that a chi-square variable exceeds ``x``, for whole degrees of ``freedom`` >= 1."""
    half = x / 2
    if half <= 0 or math.isinf(half):
        return float(half <= 0)
    power = np.arange(freedom // 2) + 0.5 * (freedom % 2)  # terms e^-half half^power / (power)!
    total = math.erfc(math.sqrt(half)) if freedom % 2 else 0.0
    if len(power):
        first = power[0] * math.log(half) - half - math.lgamma(power[0] + 1)
        logs = first + np.concatenate(([0.0], np.cumsum(np.log(half / power[1:]))))
        total += float(np.exp(logs).sum())
    return min(total, 1.0)


def mann_whitney_p(u: float, x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Two-sided p-value of the samples ``x`` [n] and ``y`` [m], whose statistic is ``u``, from 0 to n m.

    Exact if one sample is small and no values are equal; otherwise normal, with corrections for continuity and ties.
    """
    n, m = len(x), len(y)
    largest = max(u, n * m - u)
    ties = np.unique(np.concatenate((x, y)), return_counts=True)[1]
    if min(n, m) <= MOST_EXACT and ties.max() == 1:
        orders = _orders_by_u(min(n, m), max(n, m))
        return min(1.0, 2 * sum(orders[round(largest) :]) / math.comb(n + m, n))
    equal = float((ties**3.0 - ties).sum()) / ((n + m) * (n + m - 1))
    variance = n * m / 12 * (n + m + 1 - equal)
    if variance <= 0:  # all values are equal
        return 1.0
    return min(1.0, math.erfc((largest - n * m / 2 - 0.5) / math.sqrt(2 * variance)))


def _orders_by_u(n: int, m: int) -> list[int]:
    """In how many of the orders of n and m different values U is 0, 1, ..., n m.

    They are the coefficients of the product of (1 - q^(m+i)) / (1 - q^i) over i = 1 ... n.
    """
    orders = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for u in range(n * m, m + i - 1, -1):
            orders[u] -= orders[u - m - i]
        for u in range(i, n * m + 1):
            orders[u] += orders[u - i]
    return orders
