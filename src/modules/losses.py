"""Losses as pure functions of tensors: nothing is reduced over the batch here, the learner masks and means.

Every function keeps the leading dimensions ``...`` (a batch of any shape) and says which of the last ones it
reduces and how, because the KL weight means nothing without the reductions: a reconstruction that is a *mean*
over S dimensions beside a KL that is a *sum* over Z makes ``alpha`` an effective beta of ``alpha * S`` on the
summed scale.
"""

from __future__ import annotations

import torch
from torch import Tensor


def bound_log_var(raw: Tensor, limit: float) -> Tensor:
    """Log-variance kept inside (-limit, limit) with a gradient everywhere: ``limit * tanh(raw / limit)``.

    The bounded value serves the sample and the KL alike. (Clamping exp(log_var) inside the KL alone instead
    leaves d KL / d log_var = -0.5 above the clamp, which drives log_var up without end.)
    Source: NVAE, Vahdat and Kautz 2020, appendix; limit 5 there.
    """
    return limit * torch.tanh(raw / limit)


def sample_gaussian(mu: Tensor, log_var: Tensor, noise: Tensor | None = None) -> Tensor:
    """Reparameterised sample ``mu + exp(log_var / 2) * noise``, noise standard normal (Kingma and Welling 2014)."""
    noise = torch.randn_like(mu) if noise is None else noise
    return mu + torch.exp(0.5 * log_var) * noise


def kl_standard_normal(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL( N(mu, exp(log_var)) || N(0, I) ) of each dimension, in nats: [..., Z] -> [..., Z].

    Sum over Z for the KL of the code. Closed form: Kingma and Welling 2014, appendix B.
    """
    return 0.5 * (mu.square() + log_var.exp() - 1.0 - log_var)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error, *mean* over the last dimension: [..., S], [..., S] -> [...]."""
    return (prediction - target).square().mean(dim=-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` is 1; 0 where the mask is empty (rather than NaN)."""
    return (values * mask).sum() / mask.sum().clamp(min=1.0)
