"""Fixtures of the tests of opponent models."""

import pytest
import torch
from omarl.components.vae_trainer import VAEConfig, VAETrainer


@pytest.fixture
def prior(tmp_path):
    torch.manual_seed(0)
    trainer = VAETrainer(30, VAEConfig(vae_latent_dim=4, vae_hidden_dim=8, vae_linear_path=False))
    trainer.update(torch.randn(64, 30) * 3 + 2)
    with torch.no_grad():  # so that codes differ from state to state
        trainer.vae.encoder[-1].weight[:4] *= 20.0
    torch.save(trainer.state_dict(), tmp_path / "vae.th")
    return tmp_path
