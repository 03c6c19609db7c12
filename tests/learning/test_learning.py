"""Short real trainings with margins that a broken learner cannot pass."""

from __future__ import annotations

import logging

import pytest
import torch
from omarl import training
from omarl.components.vae_trainer import VAEConfig, VAETrainer
from omarl.experiment import configuration
from omarl.utils.metrics import Logger


def train(*words: str) -> Logger:
    """Trains in this process and returns the logger with the latest metrics."""
    values = {**configuration(["main.py", *words]).values, "seed": 1}
    logger = Logger(logging.getLogger("test"))
    training.train(values, logger, None)
    return logger


@pytest.fixture
def corridor(tmp_path):
    path = tmp_path / "corridor.yaml"
    path.write_text("env: tests.outside:Corridor\n")
    return f"--env-config={path}"


CORRIDOR = ["with", "t_max=6000", "epsilon_anneal_time=3000", "env_steps_per_update=12", "batch_size=16", "lr=2e-3",
            "hidden_dim=32", "target_update_interval_or_tau=50", "test_interval=6000", "test_nepisode=64",
            "env_workers=0"]  # fmt: skip


@pytest.mark.parametrize(
    "changes", [[], ["use_rnn=False"], ["agent=mingru"], ["share_parameters=none"], ["standardise_rewards=True"]]
)
def test_iql_learns_the_corridor(corridor, changes):
    """The optimal policy always moves right: starting in cell c in 0..4, it spends 5 + c of 12 steps at the end, 7
    on average, for each of two walkers. A random policy gets about 0.4. IQL must reach 90% of the optimum."""
    latest = train("--config=iql", corridor, *CORRIDOR, *changes).latest
    assert latest["test_return_mean"] > 12.6
    assert latest["test_return_mean"] <= 16


def test_iql_learns_with_a_common_reward(corridor):
    latest = train("--config=iql", corridor, *CORRIDOR, "common_reward=True").latest
    assert latest["test_return_mean"] > 12


@pytest.mark.parametrize(
    "changes", [["mixer=None"], ["mixer=vdn"], ["use_rnn=True"], ["mixer=vdn", "common_reward=True"]]
)
def test_pqn_learns_the_corridor(corridor, changes):
    """The optimum is 14 on average, as above."""
    words = ["t_max=24000", "epsilon_anneal_time=8000", "batch_size_run=16", "rollout_steps=8", "hidden_dim=32",
             "test_interval=24000", "test_nepisode=64", "env_workers=0", "lr=3e-3", "td_lambda=0.9"]  # fmt: skip
    latest = train("--config=pqn", corridor, "with", *words, *changes).latest
    assert 12.6 < latest["test_return_mean"] <= 16


@pytest.mark.parametrize("changes", [["--config=ippo"], ["--config=mappo"], ["--config=mappo", "common_reward=True"],
                                     ["--config=ippo", "use_rnn=True"]])  # fmt: skip
def test_ppo_learns_the_corridor(corridor, changes):
    """The optimum is 14 on average, as above."""
    words = ["t_max=30000", "batch_size_run=16", "rollout_steps=12", "hidden_dim=32", "critic_hidden_dim=32",
             "test_interval=30000", "test_nepisode=64", "env_workers=0", "lr=3e-3"]  # fmt: skip
    latest = train(changes[0], corridor, "with", *words, *changes[1:]).latest
    assert 12.6 < latest["test_return_mean"] <= 16


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


def test_the_vae_explains_held_out_states_of_simple_tag():
    """A tenth of the default run: an untrained VAE is below 0, and the complete run ends near 0.9."""
    words = ["with", "t_max=10000", "env_steps_per_update=25", "test_interval=10000"]
    assert train("--config=omg_vae", *words).latest["test_vae_explained_variance"] > 0.6
