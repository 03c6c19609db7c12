"""Losses as pure functions of tensors, without reduction over the batch unless the docstring states one.

Every function keeps the leading dimensions ``...`` (a batch of any shape) and states which of the last dimensions it
reduces and how. The KL weight has no meaning without the reductions: if the reconstruction loss is a *mean* over S
dimensions and the KL a *sum* over Z, then ``alpha`` equals a beta of ``alpha * S`` with summed losses.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

EXP_CLAMP = 10.0  # upper bound of exp(log_var) in ``kl_exp_clamped``
MIN_LOG_SIGMA = -6.0  # of the calibrated decoder: a perfect reconstruction must not divide by zero


def tanh_bound(raw: Tensor, limit: float) -> Tensor:
    """Log-variance kept inside (-limit, limit) with a gradient everywhere: ``limit * tanh(raw / limit)``.

    Use the bounded value for both the sample and the KL. Source: NVAE, Vahdat and Kautz 2020 (limit 5).
    """
    return limit * torch.tanh(raw / limit)


def clamp_bound(raw: Tensor, limit: float) -> Tensor:
    """Log-variance clamped to [-limit, limit]. Outside there is no gradient, so a latent may remain stuck there."""
    return raw.clamp(-limit, limit)


def softplus_bound(raw: Tensor) -> Tensor:
    """Log-variance for which the standard deviation is a softplus: ``2 log(softplus(raw ln 2) / ln 2)``.

    The standard deviation grows linearly instead of exponentially, and is 1 at raw = 0. Source:
    Efficient-VDVAE, Hazami, Mama and Thurairatnam 2022, section 4.
    """
    return 2.0 * torch.log(F.softplus(raw, beta=math.log(2.0)).clamp(min=1e-6))


def sample_gaussian(mu: Tensor, log_var: Tensor, noise: Tensor | None = None) -> Tensor:
    """Reparameterised sample ``mu + exp(log_var / 2) * noise``, noise standard normal (Kingma and Welling 2014)."""
    noise = torch.randn_like(mu) if noise is None else noise
    return mu + torch.exp(0.5 * log_var) * noise


def kl_standard_normal(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL( N(mu, exp(log_var)) || N(0, I) ) of each dimension, in nats: [..., Z] -> [..., Z].

    Sum over Z for the KL of the code. Closed form: Kingma and Welling 2014, appendix B.
    """
    return 0.5 * (mu.square() + log_var.exp() - 1.0 - log_var)


def kl_exp_clamped(mu: Tensor, log_var: Tensor) -> Tensor:
    """``kl_standard_normal`` with exp(log_var) clamped at 10, a variant that is often proposed; for comparison only.

    Above log_var = ln 10 the clamped term has no gradient and d KL / d log_var = -0.5. Gradient descent then
    *widens* the posterior without limit, and the value falls below zero (3.0 at log_var = 3, where the KL is 8.0;
    -0.5 at log_var = 10, where the KL is 11,008). Bound log_var itself instead.
    """
    return 0.5 * (mu.square() + log_var.exp().clamp(max=EXP_CLAMP) - 1.0 - log_var)


def kl_gaussians(mu_q: Tensor, log_var_q: Tensor, mu_p: Tensor, log_var_p: Tensor) -> Tensor:
    """KL( N(mu_q, exp(log_var_q)) || N(mu_p, exp(log_var_p)) ) of each dimension, in nats: [..., Z] -> [..., Z]."""
    spread = (log_var_q - log_var_p).exp()
    shift = (mu_q - mu_p).square() * (-log_var_p).exp()
    return 0.5 * (spread + shift - 1.0 + log_var_p - log_var_q)


def free_bits(kl: Tensor, nats: float) -> Tensor:
    """Each latent's KL, averaged over the batch and clamped from below at ``nats``: [M, Z] -> [Z].

    Below ``nats`` a latent receives no gradient from the KL. Source: Kingma et al. 2016 (IAF), equation 15.
    """
    return kl.mean(dim=0).clamp(min=nats)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error, *mean* over the last dimension: [..., S], [..., S] -> [...]."""
    return (prediction - target).square().mean(dim=-1)


def calibrated_nll(prediction: Tensor, target: Tensor) -> Tensor:
    """Gaussian negative log-likelihood whose variance is the batch's own mean squared error: [M, S] -> scalar.

    *Summed* over S, averaged over M, without the constant S/2 log(2 pi): ``S log sigma + S/2`` at the optimal
    ``sigma^2 = MSE``. It needs no KL weight other than 1. Source: sigma-VAE, Rybkin, Daniilidis and Levine 2021,
    equation 5; log sigma is softly bounded below at -6, as in the paper.
    """
    error = (prediction - target).square()
    log_sigma = 0.5 * error.mean().clamp(min=1e-20).log()
    log_sigma = MIN_LOG_SIGMA + F.softplus(log_sigma - MIN_LOG_SIGMA)
    return (0.5 * error * (-2.0 * log_sigma).exp() + log_sigma).sum(dim=-1).mean()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` is 1; 0 (not NaN) if the mask is empty."""
    return (values * mask).sum() / mask.sum().clamp(min=1.0)
