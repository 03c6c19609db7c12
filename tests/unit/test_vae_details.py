import logging
import math

import pytest
import torch
from omarl.components.kl_weight import BETA_PER_ALPHA
from omarl.components.vae_trainer import VAEConfig, VAETrainer
from omarl.modules.losses import calibrated_nll, kl_exp_clamped


def trainer_of(**keys):
    torch.manual_seed(0)
    usual = {"vae_alpha_schedule": "constant", "vae_linear_path": False, "vae_hidden_dim": 8, "vae_latent_dim": 3}
    return VAETrainer(4, VAEConfig(**{**usual, **keys}))


def with_log_var(trainer, *values):
    """Sets the encoder to return mu = 0 and these raw log-variances for any state."""
    with torch.no_grad():
        for p in trainer.vae.encoder.parameters():
            p.zero_()
        trainer.vae.encoder[-1].bias[3:] = torch.tensor(values)
    return trainer


def test_the_vae_clips_its_gradient_and_its_optimiser_uses_optim_eps():
    trainer = trainer_of(grad_norm_clip=1e-4, optim_eps=1e-2)
    trainer.update(torch.randn(20, 4))
    assert torch.stack([p.grad.norm() for p in trainer.parameters]).norm() == pytest.approx(1e-4, rel=1e-3)
    assert trainer.optimiser.param_groups[0]["eps"] == 1e-2


@pytest.mark.parametrize("names", [("adam", "rmsprop"), ("rmsprop", "adam")])
def test_a_resumed_run_with_another_optimiser_starts_without_moments(names, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    one, other = (trainer_of(vae_optimiser=name) for name in names)
    one.update(torch.randn(20, 4))
    other.load_state_dict(one.state_dict())
    assert "starts without moments" in caplog.text
    other.update(torch.randn(20, 4))
    assert other.is_finite()


def resumed(one, **keys):
    other = trainer_of(**keys)
    other.load_state_dict(one.state_dict())
    return other


def test_a_resumed_run_uses_the_new_kl_target_and_weight():
    pi = {"vae_alpha_schedule": "pi", "omg_vae_alpha": 0.01}
    one = trainer_of(**pi, vae_kl_target=0.1)
    for _ in range(20):
        one.update(torch.randn(20, 4))
    same, other = resumed(one, **pi, vae_kl_target=0.1), resumed(one, **pi, vae_kl_target=9.0)
    assert same.alpha == one.alpha > 0 and same.weight.controller.target == 0.1
    assert other.weight.controller.target == 9.0 and other.alpha == one.alpha  # no jump
    assert resumed(one, omg_vae_alpha=0.05).alpha == 0.05


def test_a_controller_that_replaced_a_schedule_is_restored_under_the_same_schedule_only():
    one = trainer_of(omg_vae_alpha=0.02)
    one.weight.hand_over(7.0, one.updates)
    again = resumed(resumed(one, omg_vae_alpha=0.02), omg_vae_alpha=0.02)
    assert again.weight.controller.target == 7.0 and again.alpha == 0.02
    assert resumed(one, vae_alpha_schedule="linear").weight.controller is None


def test_free_bits_add_a_constant_per_latent():
    trainer = trainer_of(omg_vae_alpha=1.0, vae_free_bits=2.0)  # nothing exceeds 2 nats at the start
    out = trainer.update(torch.randn(50, 4))
    assert float(out["vae_loss"] - out["vae_recon_loss"]) == pytest.approx(BETA_PER_ALPHA * 3 * 2.0, rel=1e-4)


def test_the_calibrated_decoder_has_the_calibrated_likelihood_as_loss():
    trainer = trainer_of(omg_vae_alpha=0.0, vae_decoder="calibrated")
    states = torch.randn(50, 4)
    trainer.features.normaliser.update(states)
    target = trainer.features.normaliser.normalise(states)
    torch.manual_seed(1)
    expected = float(calibrated_nll(trainer.vae(target).recon, target))
    torch.manual_seed(1)
    assert float(trainer.update(states)["vae_loss"]) == pytest.approx(expected, rel=1e-3)


def test_exp_clamp_logs_the_clamped_kl():
    trainer = with_log_var(trainer_of(vae_log_var_bound="exp_clamp"), 4.0, 4.0, 4.0)
    kl = trainer.describe(torch.randn(10, 4))["vae_kl_loss"]
    assert kl == pytest.approx(3 * float(kl_exp_clamped(torch.tensor(0.0), torch.tensor(4.0))), rel=1e-4)


def test_metrics_of_log_variances_equal_closed_forms():
    trainer = with_log_var(trainer_of(vae_log_var_limit=2.0), -100.0, 100.0, 0.0)
    described = trainer.describe(torch.randn(10, 4))
    assert described["vae_log_var_max"] == pytest.approx(2.0, abs=1e-3)  # the configured limit
    assert described["vae_log_var_bound_share"] == pytest.approx(2 / 3)  # at either bound
    kl = [0.5 * (math.exp(v) - 1 - v) for v in (-2.0, 2.0)]
    assert described["vae_kl_top_share"] == pytest.approx(max(kl) / sum(kl), rel=1e-3)  # a quarter of 3 latents: one


def test_vae_log_var_init_shifts_the_initial_log_variance():
    torch.manual_seed(0)
    plain = trainer_of(vae_log_var_bound="none").describe(torch.zeros(10, 4))["vae_log_var_mean"]
    torch.manual_seed(0)
    wide = trainer_of(vae_log_var_bound="none", vae_log_var_init=6.0).describe(torch.zeros(10, 4))
    assert wide["vae_log_var_mean"] == pytest.approx(plain + 6.0, abs=1e-4)
