import math

import pytest
import torch
from omarl.components.optimisers import SkippedUpdates, make_optimiser, optimiser_step
from omarl.components.schedules import PIController, cyclical, linear, sigmoid
from omarl.components.vae_trainer import VAEConfig, VAETrainer


def test_linear_ramp_and_a_common_mistake_in_its_unit():
    assert [linear(0, 1, 4, t) for t in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert linear(1.0, 0.05, 0, 0) == 0.05
    # min(0.01, epoch / 1000) is a ramp of 10 epochs, not of 1000
    assert [min(0.01, epoch / 1000) for epoch in (5, 10)] == [linear(0, 0.01, 10, t) for t in (5, 10)]


def test_sigmoid_reaches_half_at_the_middle():
    assert sigmoid(0.4, 100, 50) == pytest.approx(0.2)
    assert sigmoid(0.4, 100, 0) == pytest.approx(0.4 / (1 + math.exp(6)))
    assert sigmoid(0.4, 100, 100) == 0.4 == sigmoid(0.4, 0, 0)


def test_cyclical_rises_over_half_of_every_period():
    assert [cyclical(1.0, 10, t) for t in (0, 1, 5, 9, 10, 12, 25)] == pytest.approx([0, 0.2, 1, 1, 0, 0.4, 1])


def test_pi_controller_matches_hand_computed_weights():
    control = PIController(target=10.0, kp=0.2, ki=0.1, low=0.0, high=1.0)
    # e = (10 - 20) / 10 = -1: 0.2 / (1 + exp(-1)) + 0.1
    assert control.update(20.0) == pytest.approx(0.2 / (1 + math.exp(-1)) + 0.1)
    # then e = 0.5: the sum is 0.1 - 0.05
    assert control.update(5.0) == pytest.approx(0.2 / (1 + math.exp(0.5)) + 0.05)


def test_pi_controller_does_not_wind_up_at_its_bounds():
    control = PIController(10.0, 0.0, 0.1, 0.0, 1.0)
    for _ in range(500):
        assert control.update(30.0) <= 1.0
    for _ in range(12):
        low = control.update(1.0)
    assert low < 0.1  # with wind-up it would take 1000 updates to decrease
    for _ in range(500):
        assert control.update(0.0) >= 0.0


def test_pi_controller_starts_at_the_given_weight_and_ignores_nan():
    control = PIController(10.0, 0.05, 0.01, 0.0, 1.0, start=0.3)
    assert control.weight == 0.3
    assert control.update(10.0) == pytest.approx(0.3)
    assert control.update(float("nan")) == control.update(float("inf")) == pytest.approx(0.3)


def test_pi_controller_brings_a_simulated_kl_to_its_target():
    """KL = 4 / (weight + 0.05) with a time lag: the KL is 10 nats at a weight of 0.35."""
    control, kl = PIController(10.0, 0.02, 0.002, 0.0, 5.0), 1.0
    for _ in range(3000):
        kl += 0.1 * (4.0 / (control.update(kl) + 0.05) - kl)
    assert kl == pytest.approx(10.0, rel=1e-3) and control.weight == pytest.approx(0.35, rel=1e-2)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0.5] * 5), ("linear", [0, 0.125, 0.25, 0.375, 0.5]), ("cyclical", [0, 0.25, 0.5, 0.5, 0])],
)
def test_the_trainer_follows_the_schedule(schedule, expected):
    trainer = VAETrainer(3, VAEConfig(omg_vae_alpha=0.5, vae_alpha_ramp=4, vae_alpha_schedule=schedule))
    seen = []
    for _ in expected:
        seen.append(trainer.alpha)
        trainer.update(torch.randn(8, 3))
    assert seen == pytest.approx(expected)


def test_the_pi_schedule_keeps_the_kl_at_its_target():
    torch.manual_seed(0)
    config = VAEConfig(
        vae_alpha_schedule="pi",
        vae_kl_target=6.0,
        omg_vae_alpha=0.05,
        vae_lr=2e-3,
        vae_latent_dim=4,
        vae_hidden_dim=32,
    )
    trainer = VAETrainer(6, config)
    kl = [float(trainer.update(torch.randn(64, 6))["vae_kl_loss"]) for _ in range(1200)]
    last = kl[-300:]
    assert sum(last) / len(last) == pytest.approx(6.0, rel=0.05)


def test_learning_rate_warm_up_is_linear():
    trainer = VAETrainer(3, VAEConfig(vae_lr=0.1, vae_lr_warmup=4))
    rates = []
    for _ in range(6):
        trainer.update(torch.randn(8, 3))
        rates.append(trainer.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


@pytest.mark.parametrize(("norm", "moves"), [(2.0, True), (4.0, False), (float("nan"), False), (float("inf"), False)])
def test_updates_with_large_or_non_finite_gradients_are_skipped(norm, moves):
    weight = torch.nn.Parameter(torch.tensor(1.0))
    optimiser = make_optimiser("rmsprop", [weight], 0.1)
    skipped = SkippedUpdates("it", "lr")
    optimiser_step(optimiser, weight * norm, [weight], max_norm=1e9, skipped=skipped, skip_above=3.0)
    assert (weight.item() != 1.0) is moves


def test_the_trainer_skips_updates_and_reports_their_share():
    torch.manual_seed(0)
    trainer = VAETrainer(3, VAEConfig(vae_grad_skip=1e-9))
    before = [p.clone() for p in trainer.parameters]
    assert float(trainer.update(torch.randn(8, 3))["vae_skipped_share"]) == 1.0
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.parameters, strict=True))


@pytest.mark.parametrize("bound", ["tanh", "softplus", "clamp", "exp_clamp", "none"])
@pytest.mark.parametrize("decoder", ["mse", "calibrated"])
def test_every_bound_and_decoder_learns(bound, decoder):
    torch.manual_seed(0)
    config = VAEConfig(
        vae_log_var_bound=bound, vae_decoder=decoder, vae_lr=2e-3, vae_hidden_dim=32, vae_latent_dim=4,
        omg_vae_alpha=0.02 if decoder == "mse" else 1.0, vae_free_bits=0.02,
    )  # fmt: skip
    trainer, mixing = VAETrainer(8, config), torch.randn(2, 8)
    for _ in range(400):
        trainer.update(torch.randn(128, 2) @ mixing)
    assert trainer.describe(torch.randn(500, 2) @ mixing)["vae_explained_variance"] > 0.85
    assert trainer.is_finite()


def test_exp_clamp_gives_a_warning():
    assert any("exp_clamp" in line for line in VAEConfig(vae_log_var_bound="exp_clamp").notices())
    assert not any("exp_clamp" in line for line in VAEConfig().notices())


def test_a_checkpoint_restores_the_pi_controller():
    torch.manual_seed(0)
    one = VAETrainer(3, VAEConfig(vae_alpha_ramp=10))
    for _ in range(5):
        one.update(torch.randn(8, 3))
    one.weight.hand_over(2.0, one.updates)
    assert one.alpha == pytest.approx(0.005)  # equal to the ramp's weight
    one.update(torch.randn(8, 3))
    other = VAETrainer(3, VAEConfig(vae_alpha_ramp=10))
    other.load_state_dict(one.state_dict())
    assert other.alpha == one.alpha and other.weight.controller.target == 2.0
    states = torch.randn(8, 3)
    for trainer in (one, other):
        torch.manual_seed(1)
        trainer.update(states)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters, other.parameters, strict=True))
