import copy

import pytest
import torch
from fakes import random_batch
from omarl.components import action_selectors
from omarl.components.action_selectors import EpsilonGreedy
from omarl.components.optimisers import make_optimiser
from omarl.types import TrainingError
from unit.test_q_learner import INFO, learner_of


def test_a_soft_update_moves_the_target_by_tau():
    learner = learner_of(target_update_interval_or_tau=0.1, lr=0.1)
    before = [p.clone() for p in learner.target_mac.parameters()]
    learner.train(random_batch(INFO, [3]), 0, 0)
    for old, online, target in zip(before, learner.mac.parameters(), learner.target_mac.parameters(), strict=True):
        torch.testing.assert_close(target, 0.9 * old + 0.1 * online)


def test_standardised_rewards_are_not_shifted():
    learner = learner_of(standardise_rewards=True)
    batch = random_batch(INFO, [4])
    batch.data["reward"][:, :4] = torch.tensor([10.0, 10.0, 10.0, 14.0])[None, :, None]
    scaled = learner._rewards(batch, torch.ones(1, 4, 1))
    torch.testing.assert_close(scaled, batch["reward"][:, :4] / 3.0**0.5)


def test_the_optimiser_reads_its_keys_and_gradients_are_clipped():
    rms = learner_of(optimiser="rmsprop", optim_alpha=0.77, optim_eps=1e-3, lr=0.5).optimiser.param_groups[0]
    assert (rms["alpha"], rms["eps"], rms["lr"]) == (0.77, 1e-3, 0.5)
    assert learner_of(optim_eps=1e-3).optimiser.param_groups[0]["eps"] == 1e-3
    learner = learner_of(grad_norm_clip=1e-4)
    learner.train(random_batch(INFO, [3]), 0, 0)
    norm = torch.stack([p.grad.norm() for p in learner.parameters]).norm()
    assert norm == pytest.approx(1e-4, rel=1e-3)


def test_logged_metrics_ignore_padding():
    learner = learner_of(learner_log_interval=1)
    batch = random_batch(INFO, [2, 4])
    dirty = copy.deepcopy(batch)
    dirty.data["reward"][0, 2:] = 1e6
    other = learner_of(learner_log_interval=1)
    learner.train(batch, 1, 0)
    other.train(dirty, 1, 0)
    for name in ("td_error_abs", "target_mean", "q_taken_mean"):
        assert other.logger.series(name)[0][1] == pytest.approx(learner.logger.series(name)[0][1], rel=1e-5), name


def test_three_non_finite_losses_in_a_row_stop_training():
    learner = learner_of(learner_log_interval=1)
    batch = random_batch(INFO, [3])
    batch.data["reward"][0, 0] = torch.inf
    learner.train(batch, 1, 0)
    learner.train(batch, 1, 0)
    with pytest.raises(TrainingError, match="lower lr"):
        learner.train(batch, 1, 0)


def test_the_target_network_gets_no_gradient():
    learner = learner_of()
    learner.train(random_batch(INFO, [3]), 0, 0)
    assert all(p.grad is None for p in learner.target_mac.parameters())


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_optimisers_read_their_keys(name):
    p = torch.nn.Parameter(torch.zeros(1))
    group = make_optimiser(name, [p], 0.3, betas=(0.1, 0.2), alpha=0.4, eps=0.5).param_groups[0]
    assert group["eps"] == 0.5 and group["lr"] == 0.3
    assert group["betas"] == (0.1, 0.2) if name == "adam" else group["alpha"] == 0.4


@pytest.mark.parametrize("compiled", [True, False])
def test_epsilon_greedy_is_uniform_over_available_actions_and_independent_for_agents(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(action_selectors, "is_compiled", lambda name, values: False)
    torch.manual_seed(0)
    from types import SimpleNamespace

    selector = EpsilonGreedy(SimpleNamespace(epsilon_start=1.0, epsilon_finish=1.0))
    values, avail = torch.zeros(20_000, 2, 4), torch.ones(20_000, 2, 4)
    avail[..., 1] = 0
    chosen = selector.select_action(values, avail, 0)
    share = torch.bincount(chosen.flatten(), minlength=4) / chosen.numel()
    torch.testing.assert_close(share, torch.tensor([1.0, 0.0, 1.0, 1.0]) / 3, atol=0.01, rtol=0)
    half = EpsilonGreedy(SimpleNamespace(epsilon_start=0.5, epsilon_finish=0.5))
    values[..., 0] = 1.0
    explored = half.select_action(values, torch.ones_like(avail), 0) != 0
    both = explored.all(dim=1).float().mean()
    assert both == pytest.approx(0.375**2, abs=0.01)
    assert (half.select_action(values, avail, 0, test_mode=True) == 0).all()


def test_the_learning_rate_decays_linearly_on_request():
    steady, falling = learner_of(lr=0.5), learner_of(lr=0.5, lr_anneal=True, t_max=100)
    for learner in (steady, falling):
        learner.train(random_batch(INFO, [3, 4]), 25, 0)
    assert steady.optimiser.param_groups[0]["lr"] == 0.5
    assert falling.optimiser.param_groups[0]["lr"] == pytest.approx(0.375)
