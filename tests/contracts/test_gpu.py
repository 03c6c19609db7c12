"""Training on a GPU beside training on the CPU. Skipped where torch finds no GPU; benchmarks/gpu.py runs it."""

import copy
import logging

import numpy as np
import omarl
import pytest
import torch
from omarl.components.vae_trainer import VAEConfig, VAETrainer
from omarl.configuration.request import from_keywords
from omarl.run import opened
from omarl.utils.metrics import Logger

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
REPLAY, ROLLOUT = {"batch_size_run": 4}, {"batch_size_run": 4, "minibatches": 1, "epochs": 1}
CASES = {"iql": REPLAY, "vdn": REPLAY, "qmix": REPLAY, "omg_vae": REPLAY, "ippo": ROLLOUT, "mappo": ROLLOUT,
         "pqn_vdn": ROLLOUT, "ppo_history": ROLLOUT}  # fmt: skip


def updated(config, keys, like=None):
    """A batch from a run on the CPU, its learner's state, and the agents' gradients in an update on the batch.

    ``like``: such a batch and state, for an update on the GPU.
    """
    values = from_keywords({**keys, "use_cuda": like is not None}, config, "simple_spread").values
    with opened(values, Logger(logging.getLogger("test")), trains=True) as parts:
        if like is None:
            batch, state = parts.runner.run(), copy.deepcopy(parts.learner.state_dict())
        else:
            batch, state = like
            parts.learner.load_state_dict(state)
        parts.learner.train(copy.deepcopy(batch).to(parts.args.device), 1000, 40)
        base = getattr(parts.learner, "base", parts.learner)
        return batch, state, [p.grad.cpu() for p in base.parameters]


@pytest.mark.parametrize("config", CASES)
def test_the_agents_gradients_equal_those_on_the_cpu(config):
    batch, state, expected = updated(config, CASES[config])
    _, _, found = updated(config, CASES[config], (batch, state))
    assert len(found) == len(expected)
    largest = max(float(gradient.abs().max()) for gradient in expected)
    assert largest > 0
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * largest)


def states(rows=512):
    rng = np.random.default_rng(0)
    free = rng.normal(size=(rows, 4)).astype(np.float32)
    return np.concatenate([free, free @ rng.normal(size=(4, 8)).astype(np.float32)], axis=1)


def test_the_vae_learns_on_the_gpu_and_describes_states_as_on_the_cpu(tmp_path):
    trainer = VAETrainer(12, VAEConfig(vae_lr=2e-3))
    trainer.to("cuda")
    for _ in range(300):
        trainer.update(states())
    described = trainer.describe(states())
    assert described["vae_explained_variance"] > 0.9
    trainer.save(tmp_path / "vae.pt")
    on_cpu = VAETrainer.load(tmp_path / "vae.pt").describe(states())
    for name in ("vae_explained_variance", "vae_kl_loss", "vae_recon_loss"):
        assert described[name] == pytest.approx(on_cpu[name], rel=1e-3)


def test_a_run_on_the_gpu_resumes_there_and_plays_on_the_cpu(tmp_path):
    keys = {"use_cuda": True, "buffer_cpu_only": False, "t_max": 600, "batch_size_run": 4, "batch_size": 4,
            "test_interval": 300, "test_nepisode": 4, "learner_log_interval": 100}  # fmt: skip
    run = omarl.train("omg_vae", env="simple_tag", path=tmp_path / "run", **keys)
    assert torch.isfinite(torch.tensor(run.metrics["vae_recon_loss"].values)).all()
    longer = omarl.resume(run, t_max=1200)
    assert longer.metrics["return_mean"].steps[-1] >= 1000
    policy = omarl.load(longer, use_cuda=False)
    tested = omarl.evaluate(longer, 4, use_cuda=False)
    assert policy.agents
    assert tested.episode_returns.shape[0] >= 4
