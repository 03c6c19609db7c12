import math

import pytest
import torch
from omarl.modules.losses import (
    bound_log_var,
    kl_standard_normal,
    masked_mean,
    sample_gaussian,
    squared_error,
)
from torch.distributions import Normal, kl_divergence


def test_kl_is_zero_at_the_prior_and_known_beside_it():
    assert kl_standard_normal(torch.zeros(3), torch.zeros(3)).tolist() == [0, 0, 0]
    # mu = 2: mu^2 / 2. log_var = 3: (e^3 - 1 - 3) / 2 = 8.04
    assert kl_standard_normal(torch.tensor(2.0), torch.tensor(0.0)).item() == pytest.approx(2.0)
    assert kl_standard_normal(torch.tensor(0.0), torch.tensor(3.0)).item() == pytest.approx((math.e**3 - 4) / 2)


def test_kl_agrees_with_torch_distributions():
    mu, log_var = torch.randn(50, 4), torch.randn(50, 4)
    reference = kl_divergence(Normal(mu, (0.5 * log_var).exp()), Normal(torch.tensor(0.0), torch.tensor(1.0)))
    torch.testing.assert_close(kl_standard_normal(mu, log_var), reference)


def test_bounded_log_var_never_loses_its_gradient_nor_its_bound():
    raw = torch.tensor([-1e4, -20.0, 0.0, 0.1, 12.0, 1e4], requires_grad=True)
    bounded = bound_log_var(raw, 5.0)
    assert bounded.abs().max() <= 5.0
    assert bounded[2] == 0
    assert bounded[3].item() == pytest.approx(0.1, abs=1e-4)  # nearly the identity around zero
    bounded.sum().backward()
    assert raw.grad is not None and (raw.grad[1:5] > 0).all() and torch.isfinite(raw.grad).all()


def test_kl_of_a_bounded_log_var_pulls_back_from_the_bound():
    """The clamp of exp(log_var) inside the KL alone would push outwards there (gradient -0.5)."""
    raw = torch.tensor(4.0, requires_grad=True)
    kl_standard_normal(torch.tensor(0.0), bound_log_var(raw, 5.0)).backward()
    assert raw.grad is not None and raw.grad.item() > 0


def test_sample_has_the_moments_it_names():
    torch.manual_seed(0)
    z = sample_gaussian(torch.full((200_000,), 1.5), torch.full((200_000,), math.log(0.25)))
    assert z.mean().item() == pytest.approx(1.5, abs=0.01)
    assert z.std().item() == pytest.approx(0.5, abs=0.01)
    assert sample_gaussian(torch.tensor(1.0), torch.tensor(0.0), noise=torch.tensor(-2.0)).item() == -1.0


def test_squared_error_is_a_mean_over_the_state():
    prediction, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 4.0], [3.0, 3.0]])
    assert squared_error(prediction, target).tolist() == [2.0, 9.0]


def test_masked_mean_counts_real_entries_alone():
    values, mask = torch.tensor([1.0, 3.0, 100.0]), torch.tensor([1.0, 1.0, 0.0])
    assert masked_mean(values, mask).item() == 2.0
    assert masked_mean(values, torch.zeros(3)).item() == 0.0
