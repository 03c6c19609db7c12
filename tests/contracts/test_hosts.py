"""The VAE learner in hosts: test doubles offer only what PyMARL's and EPyMARL's batch, logger and learner offer."""

import logging
from types import SimpleNamespace

import pytest
import torch
from omarl.learners.omg_vae_learner import OMGVAELearner
from omarl.utils.checkpoints import load_checkpoint, save_checkpoint

B, T, N, S, U = 8, 6, 2, 5, 3


class HostBatch:
    """PyMARL's EpisodeBatch as learners use it, without the keys ``truncated`` and ``agent_mask``.

    ``filled`` is an integer in pymarl; rewards are [B, T, 1] there and [B, T, N] in EPyMARL.
    """

    def __init__(self, rewards: int) -> None:
        self.scheme = {"state": {"vshape": S}, "reward": {"vshape": (rewards,)}, "filled": {"vshape": (1,)}}
        self.batch_size, self.max_seq_length, self.device = B, T + 1, "cpu"
        filled = torch.zeros(B, T + 1, 1, dtype=torch.long)
        for b in range(B):
            filled[b, : 2 + b % T] = 1
        state = torch.randn(B, T + 1, 2) @ torch.randn(2, S)
        self.data = {"state": state * filled + 1e6 * (1 - filled), "filled": filled,
                     "reward": torch.zeros(B, T + 1, rewards), "terminated": torch.zeros(B, T + 1, 1)}  # fmt: skip

    def __getitem__(self, item):
        return self.data[item]


class HostLogger:
    """EPyMARL's Logger, which has no standard deviations."""

    def __init__(self):
        self.console_logger, self.stats = logging.getLogger("host"), {}

    def log_stat(self, key, value, t, to_sacred=True):
        assert isinstance(value, float | int), key  # Sacred's JSON cannot contain tensors
        self.stats.setdefault(key, []).append((t, value))


class HostLearner:
    """A host's learner, which has no ``state_dict``."""

    def __init__(self, mac, scheme, logger, args):
        self.mac, self.args, self.seen, self.saved = mac, args, [], []

    def train(self, batch, t_env, episode_num):
        self.seen.append((batch, t_env, episode_num))

    def cuda(self):
        pass

    def save_models(self, path):
        self.saved.append(path)

    def load_models(self, path):
        self.saved.append(path)


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("rewards", [1, N])
def test_the_vae_learner_works_in_a_host(tmp_path, as_dict, rewards):
    torch.manual_seed(0)
    values = {"base_learner": "contracts.test_hosts:HostLearner", "n_agents": N, "n_actions": U, "lr": 1e-3,
              "learner_log_interval": 100, "vae_lr": 3e-3, "vae_alpha_ramp": 20, "vae_hidden_dim": 32,
              "use_cuda": False, "grad_norm_clip": 10, "optim_alpha": 0.99, "target_update_interval": 200,
              "mixer": None, "name": "omg_vae"}  # fmt: skip
    batch, logger = HostBatch(rewards), HostLogger()
    args = values if as_dict else SimpleNamespace(**values)
    learner = OMGVAELearner(mac := object(), batch.scheme, logger, args)
    assert type(learner.base).__name__ == "HostLearner" and learner.base.mac is mac and learner.base.args is args
    for i in range(200):
        learner.train(batch, 10 * i, i)
    assert len(learner.base.seen) == 200 and learner.base.seen[7] == (batch, 70, 7)
    recon = logger.stats["vae_recon_loss"]
    assert [t for t, _ in recon] == list(range(100, 2000, 100))
    assert recon[-1][1] < 0.5 * recon[0][1] and recon[0][1] < 10  # padding has the value 1e6 and would raise the loss
    assert {"vae_kl_loss", "vae_loss", "vae_alpha", "vae_grad_norm"} <= set(logger.stats)
    learner.save_models(str(tmp_path))
    learner.load_models(str(tmp_path))
    assert (tmp_path / "vae.th").is_file() and learner.base.saved == [str(tmp_path)] * 2


def test_a_hosts_learner_is_restored_from_its_own_files(tmp_path):
    """Without ``state_dict``, the files of ``save_models`` must be read; otherwise untrained agents are evaluated."""
    values = {"base_learner": "contracts.test_hosts:HostLearner", "n_agents": N, "n_actions": U}
    learners = [
        OMGVAELearner(None, {"state": {"vshape": S}}, HostLogger(), SimpleNamespace(**values)) for _ in range(2)
    ]
    folder = save_checkpoint(tmp_path, 7, learners[0], {}, {})
    load_checkpoint(folder, learners[1])
    assert learners[1].base.saved == [str(folder)]
    for mine, kept in zip(*(learner.trainer.parameters for learner in learners), strict=True):
        assert torch.equal(mine, kept)
