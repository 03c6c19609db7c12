"""Short real trainings with margins that a broken learner cannot pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import omarl
import pytest
import torch
from omarl.components.vae_trainer import VAEConfig, VAETrainer

CORRIDOR = "tests.outside:Corridor"
REPLAY = {
    "t_max": 6000,
    "epsilon_anneal_time": 3000,
    "env_steps_per_update": 12,
    "batch_size": 16,
    "lr": 2e-3,
    "hidden_dim": 32,
    "target_update_interval_or_tau": 50,
    "test_interval": 6000,
    "test_nepisode": 64,
}
PPO = {"t_max": 30000, "batch_size_run": 16, "rollout_steps": 12, "hidden_dim": 32, "critic_hidden_dim": 32,
       "test_interval": 30000, "test_nepisode": 64, "lr": 3e-3}  # fmt: skip
QUIET = {"seed": 1, "env_workers": 0, "use_tensorboard": False, "save_model": False}


def last(folder: Path, metric: str, config: str, env: str = CORRIDOR, **keys: Any) -> float:
    """The last value of a metric, after a training in this process."""
    return float(omarl.train(config, env, path=folder / "run", **{**QUIET, **keys}).metrics[metric].values[-1])


@pytest.mark.parametrize(
    "changes",
    [{}, {"use_rnn": False}, {"agent": "mingru"}, {"share_parameters": "none"}, {"standardise_rewards": True}],
    ids=str,
)
def test_iql_learns_the_corridor(tmp_path, changes):
    """The optimal policy always moves right: starting in cell c in 0..4, it spends 5 + c of 12 steps at the end, 7
    on average, for each of two walkers. A random policy gets about 0.4. IQL must reach 90% of the optimum."""
    assert 12.6 < last(tmp_path, "test_return_mean", "iql", **{**REPLAY, **changes}) <= 16


def test_iql_learns_with_a_common_reward(tmp_path):
    assert last(tmp_path, "test_return_mean", "iql", common_reward=True, **REPLAY) > 12


@pytest.mark.parametrize(
    "changes",
    [{"mixer": None}, {"mixer": "vdn"}, {"use_rnn": True}, {"mixer": "vdn", "common_reward": True}],
    ids=str,
)
def test_pqn_learns_the_corridor(tmp_path, changes):
    """The optimum is 14 on average, as above."""
    keys = {"t_max": 24000, "epsilon_anneal_time": 8000, "batch_size_run": 16, "rollout_steps": 8, "hidden_dim": 32,
            "test_interval": 24000, "test_nepisode": 64, "lr": 3e-3, "td_lambda": 0.9}  # fmt: skip
    assert 12.6 < last(tmp_path, "test_return_mean", "pqn", **{**keys, **changes}) <= 16


@pytest.mark.parametrize("common_reward, config", [(False, "ippo"), (False, "mappo"), (True, "mappo")])
def test_ppo_learns_the_corridor(tmp_path, config, common_reward):
    """The optimum is 14 on average, as above."""
    assert 12.6 < last(tmp_path, "test_return_mean", config, common_reward=common_reward, **PPO) <= 16


def test_recurrent_ppo_learns_the_corridor(tmp_path):
    assert 12.6 < last(tmp_path, "test_return_mean", "ippo", use_rnn=True, **PPO) <= 16


def test_the_vae_finds_the_factors_behind_linear_states():
    """States with S=12 are noisy linear functions of 3 factors. The best linear code explains 1 - noise. With three
    factors, the KL weight must keep the other five of the eight latents inactive."""
    torch.manual_seed(0)
    trainer = VAETrainer(
        12, VAEConfig(vae_latent_dim=8, vae_hidden_dim=64, vae_lr=2e-3, omg_vae_alpha=0.02, vae_alpha_ramp=200)
    )
    mixing = torch.randn(3, 12)

    def states(n: int) -> torch.Tensor:
        clean = torch.randn(n, 3) @ mixing
        return 50.0 + 10.0 * (clean + 0.1 * torch.randn(n, 12))

    for _ in range(1500):
        trainer.update(states(256))
    described = trainer.describe(states(2000))
    assert described["vae_explained_variance"] > 0.93
    assert described["vae_active_units"] == 3


def test_the_vae_explains_held_out_states_of_simple_tag(tmp_path):
    """A tenth of the default run: an untrained VAE is below 0, and the complete run ends near 0.9."""
    keys = {"t_max": 10000, "env_steps_per_update": 25, "test_interval": 10000}
    assert last(tmp_path, "test_vae_explained_variance", "omg_vae", "simple_tag", **keys) > 0.6
