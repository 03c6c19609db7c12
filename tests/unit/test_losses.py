import math

import pytest
import torch
from omarl.modules.losses import (
    calibrated_nll,
    clamp_bound,
    free_bits,
    kl_exp_clamped,
    kl_gaussians,
    kl_standard_normal,
    masked_mean,
    sample_gaussian,
    softplus_bound,
    squared_error,
    tanh_bound,
)
from torch.distributions import Normal, kl_divergence


def test_kl_is_zero_at_the_prior_and_matches_hand_computed_values():
    assert kl_standard_normal(torch.zeros(3), torch.zeros(3)).tolist() == [0, 0, 0]
    # mu = 2: mu^2 / 2. log_var = 3: (e^3 - 1 - 3) / 2 = 8.04
    assert kl_standard_normal(torch.tensor(2.0), torch.tensor(0.0)).item() == pytest.approx(2.0)
    assert kl_standard_normal(torch.tensor(0.0), torch.tensor(3.0)).item() == pytest.approx((math.e**3 - 4) / 2)


def test_kl_agrees_with_torch_distributions():
    mu, log_var = torch.randn(50, 4), torch.randn(50, 4)
    reference = kl_divergence(Normal(mu, (0.5 * log_var).exp()), Normal(torch.tensor(0.0), torch.tensor(1.0)))
    torch.testing.assert_close(kl_standard_normal(mu, log_var), reference)


def test_tanh_bound_keeps_the_limit_and_a_non_zero_gradient():
    raw = torch.tensor([-1e4, -20.0, 0.0, 0.1, 12.0, 1e4], requires_grad=True)
    bounded = tanh_bound(raw, 5.0)
    assert bounded.abs().max() <= 5.0
    assert bounded[2] == 0
    assert bounded[3].item() == pytest.approx(0.1, abs=1e-4)  # nearly the identity around zero
    bounded.sum().backward()
    assert raw.grad is not None and (raw.grad[1:5] > 0).all() and torch.isfinite(raw.grad).all()


def test_kl_gradient_of_a_bounded_log_var_points_away_from_the_bound():
    """With exp(log_var) clamped inside the KL, the gradient would point outwards there (-0.5)."""
    raw = torch.tensor(4.0, requires_grad=True)
    kl_standard_normal(torch.tensor(0.0), tanh_bound(raw, 5.0)).backward()
    assert raw.grad is not None and raw.grad.item() > 0


def test_gaussian_samples_have_the_given_mean_and_variance():
    torch.manual_seed(0)
    z = sample_gaussian(torch.full((200_000,), 1.5), torch.full((200_000,), math.log(0.25)))
    assert z.mean().item() == pytest.approx(1.5, abs=0.01)
    assert z.std().item() == pytest.approx(0.5, abs=0.01)
    assert sample_gaussian(torch.tensor(1.0), torch.tensor(0.0), noise=torch.tensor(-2.0)).item() == -1.0


def test_squared_error_is_a_mean_over_the_state():
    prediction, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 4.0], [3.0, 3.0]])
    assert squared_error(prediction, target).tolist() == [2.0, 9.0]


def test_masked_mean_counts_only_entries_with_mask_one():
    values, mask = torch.tensor([1.0, 3.0, 100.0]), torch.tensor([1.0, 1.0, 0.0])
    assert masked_mean(values, mask).item() == 2.0
    assert masked_mean(values, torch.zeros(3)).item() == 0.0


def leaf(value: float) -> torch.Tensor:
    return torch.tensor(value, requires_grad=True)


def test_exp_clamped_kl_is_too_small_and_its_gradient_has_the_wrong_sign():
    """Hand-computed values: 3.0 at log_var = 3 (exact 8.04), -0.5 at 10 (exact 11007.7), gradient -0.5."""
    zero = torch.tensor(0.0)
    assert kl_exp_clamped(zero, torch.tensor(3.0)).item() == pytest.approx(3.0)
    assert kl_exp_clamped(zero, torch.tensor(10.0)).item() == pytest.approx(-0.5)
    assert kl_standard_normal(zero, torch.tensor(10.0)).item() == pytest.approx(11007.7, rel=1e-5)
    log_var = leaf(5.0)
    kl_exp_clamped(zero, log_var).backward()
    assert log_var.grad.item() == pytest.approx(-0.5)
    huge = leaf(100.0)  # where exp overflows, so does its gradient
    kl_exp_clamped(zero, huge).backward()
    assert torch.isnan(huge.grad)
    below = torch.tensor([-2.0, 0.0, 2.0])
    torch.testing.assert_close(kl_exp_clamped(zero, below), kl_standard_normal(zero, below))


def test_clamp_bound_has_no_gradient_outside():
    raw = torch.tensor([-9.0, 0.5, 9.0], requires_grad=True)
    bounded = clamp_bound(raw, 5.0)
    assert bounded.tolist() == [-5.0, 0.5, 5.0]
    bounded.sum().backward()
    assert raw.grad.tolist() == [0.0, 1.0, 0.0]


def test_softplus_std_is_one_at_zero_and_grows_linearly():
    std = (0.5 * softplus_bound(torch.tensor([0.0, 100.0, 200.0]))).exp()
    assert std.tolist() == pytest.approx([1.0, 100.0, 200.0], rel=1e-4)
    raw = leaf(-1000.0)
    softplus_bound(raw).backward()
    assert torch.isfinite(raw.grad)


def test_kl_between_gaussians_agrees_with_torch_and_with_the_standard_normal():
    mu_q, lv_q, mu_p, lv_p = (torch.randn(40, 3) for _ in range(4))
    reference = kl_divergence(Normal(mu_q, (0.5 * lv_q).exp()), Normal(mu_p, (0.5 * lv_p).exp()))
    torch.testing.assert_close(kl_gaussians(mu_q, lv_q, mu_p, lv_p), reference)
    zero = torch.zeros(40, 3)
    torch.testing.assert_close(kl_gaussians(mu_q, lv_q, zero, zero), kl_standard_normal(mu_q, lv_q))


def test_free_bits_clamp_each_latents_mean_kl_from_below():
    kl = torch.tensor([[0.1, 2.0], [0.3, 4.0]], requires_grad=True)
    counted = free_bits(kl, 0.5)
    assert counted.tolist() == [0.5, 3.0]  # means 0.2 and 3
    counted.sum().backward()
    assert kl.grad.tolist() == [[0.0, 0.5], [0.0, 0.5]]


def test_calibrated_nll_is_the_gaussian_likelihood_at_the_optimal_variance():
    torch.manual_seed(0)
    target, prediction = torch.randn(400, 6), torch.zeros(400, 6)
    sigma = target.square().mean().sqrt()
    reference = -Normal(prediction, sigma).log_prob(target).sum(-1).mean() - 3 * math.log(2 * math.pi)
    assert calibrated_nll(prediction, target).item() == pytest.approx(reference.item(), rel=1e-2)
    assert torch.isfinite(calibrated_nll(target, target))
    # halving every error lowers the loss by S log 2 at every scale
    gain = calibrated_nll(prediction, 4 * target) - calibrated_nll(prediction, 2 * target)
    assert gain.item() == pytest.approx(6 * math.log(2), rel=2e-2)
