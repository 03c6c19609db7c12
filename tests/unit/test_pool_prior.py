"""Subgoal priors of several runs: the sample of states that a run keeps, and the VAE trained on all samples."""

import pytest
import torch
from omarl.components.state_sample import StateSample
from omarl.components.vae_config import VAEConfig
from omarl.pool_prior import fitted_vae, write_prior
from omarl.types import ConfigError

SMALL = VAEConfig(vae_latent_dim=4, vae_hidden_dim=32, vae_lr=3e-3, vae_alpha_ramp=0, vae_batch_states=128)


def test_every_state_stays_with_the_same_probability():
    counts = torch.zeros(60)
    for seed in range(400):
        sample = StateSample(6, seed)
        for part in torch.arange(60.0).view(12, 5, 1):
            sample.add(part)
        assert sample.states.shape == (6, 1) and len(sample.states.unique()) == 6
        counts[sample.states[:, 0].long()] += 1
    assert counts.mean() == 40 and counts[:30].mean() == pytest.approx(40, abs=3) and counts.std() < 12


def test_a_restored_sample_goes_on_exactly():
    torch.manual_seed(0)
    first, parts = StateSample(10, 3), torch.randn(6, 8, 2)
    for part in parts[:3]:
        first.add(part)
    other = StateSample(10, 3)
    other.load_state_dict(first.state_dict())
    for part in parts[3:]:
        first.add(part)
        other.add(part)
    assert torch.equal(first.states, other.states)


def test_a_prior_of_two_runs_codes_the_states_of_both():
    """The runs' states vary in different features."""
    torch.manual_seed(1)
    one, two = torch.zeros(600, 6), torch.zeros(600, 6)
    one[:, :2], two[:, 3:5] = torch.randn(600, 2), torch.randn(600, 2)
    before = torch.get_rng_state()
    alone, both = (fitted_vae(states, [], SMALL, 400) for states in (one, torch.cat([one, two])))
    assert torch.equal(torch.get_rng_state(), before)

    def error(vae):
        decoded = vae.decode(vae.encode(two)[0])
        return (decoded - two).square().mean() / two.square().mean()

    assert error(both) < 0.3 < 0.7 < error(alone)
    assert not both.state_dict()["window"]


def test_runs_without_states_or_with_others_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("omarl.pool_prior.prior_of", lambda run: tmp_path / run / "vae.th")
    for run, size in (("a", 3), ("b", 4), ("c", 0)):
        (tmp_path / run).mkdir()
        if size:
            torch.save(torch.zeros(5, size), tmp_path / run / "states.th")
    with pytest.raises(ConfigError, match="prior: c kept no states; several runs need vae_keep_states"):
        write_prior(["a", "c"], [], 1, tmp_path / "prior.th")
    with pytest.raises(ConfigError, match="prior: the states of these runs have different sizes, 3, 4"):
        write_prior(["a", "b"], [], 1, tmp_path / "prior.th")
