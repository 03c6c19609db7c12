"""The state VAE without a learner: fitting, feature types, and saved state."""

import logging

import numpy as np
import omarl
import pytest
import torch
from gymnasium import spaces
from omarl.components.vae_trainer import VAEConfig, VAETrainer
from omarl.types import Block, ConfigError, TrainingError


def planes(rows, n_planes=3, size=9, seed=0):
    """States of one-hot planes, uniform and independent."""
    chosen = torch.randint(0, size, (rows, n_planes), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(chosen, size).float().flatten(1)


def trainer_of(features=4, seed=0, **keys):
    torch.manual_seed(seed)
    return VAETrainer(features, VAEConfig(**{"vae_hidden_dim": 16, "vae_latent_dim": 3, **keys}))


def test_one_hot_planes_are_decoded_at_a_kl_below_one_and_a_half_times_their_entropy():
    """Each batch is collected, trained on and discarded. A Gaussian decoder explains less than 0.7."""
    trainer = trainer_of(27, vae_hidden_dim=128, vae_latent_dim=16, vae_lr=1e-3, vae_alpha_ramp=200)
    for batch in range(3):
        trainer.collect(planes(600, seed=batch))
        for _ in range(250):
            trainer.update()
    described = trainer.describe(planes(600, seed=99))
    assert described["vae_explained_variance"] > 0.95 and described["vae_accuracy"] > 0.97
    assert described["vae_kl_loss"] < 1.5 * 3 * np.log(9)
    assert described["vae_active_units"] >= 4


def test_updates_draw_only_from_the_last_vae_window_batches():
    trainer = trainer_of(1, vae_window=2, vae_batch_states=0)
    for value in (1.0, 2.0, 3.0):
        trainer.collect(torch.full((5, 1), value) + torch.arange(5)[:, None] / 100)
    assert sorted({int(v) for v in trainer.draw().flatten()}) == [2, 3]


def test_a_batch_that_is_collected_repeatedly_counts_once():
    trainer = trainer_of(4)
    batch = torch.randn(10, 4)
    for _ in range(5):
        trainer.collect(batch)
    assert len(trainer.window) == 1 and float(trainer.features.normaliser.count) == 10


def test_collected_states_are_copied_from_the_callers_array():
    trainer = trainer_of(4)
    batch = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    trainer.collect(batch)
    batch[:] = 1e6
    assert float(trainer.draw().abs().max()) < 10
    trainer.collect(batch)
    assert len(trainer.window) == 2


def test_an_update_without_states_is_an_error_that_names_collect():
    with pytest.raises(TrainingError, match="collect"):
        trainer_of().update()


@pytest.mark.parametrize("size", [4, 400])
def test_the_gradient_norm_does_not_grow_with_the_number_of_features(size):
    """Nats grow with the number of features; the gradient that is clipped must not."""
    trainer = trainer_of(size, vae_hidden_dim=64)
    factor = torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    norm = float(trainer.update(factor.expand(-1, size) + 0.1 * torch.randn(500, size))["vae_grad_norm"])
    assert 0.02 < norm < 6.0  # the default clip is 10


def test_one_alpha_suits_few_and_many_features_with_the_same_information():
    explained = []
    for repeats in (1, 10):
        trainer = trainer_of(4 * repeats, vae_lr=3e-3, vae_alpha_ramp=0, vae_hidden_dim=32, vae_latent_dim=4)
        for i in range(300):
            rows = torch.randn(128, 4, generator=torch.Generator().manual_seed(i))
            trainer.update(rows.repeat(1, repeats))
        explained.append(trainer.describe(torch.randn(500, 4).repeat(1, repeats))["vae_explained_variance"])
    assert explained[0] == pytest.approx(explained[1], abs=0.1)
    assert min(explained) > 0.6


def test_types_that_later_states_contradict_are_corrected_with_a_notice(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    trainer = trainer_of(3)
    states = torch.cat([torch.randn(50, 2), torch.zeros(50, 1)], dim=1)
    with caplog.at_level(logging.INFO):
        trainer.update(states)
        assert "3 features: 2 Gaussian, 1 constant" in caplog.text
        states[7, 2] = 1.0
        trainer.update(states)
    assert "corrected: 2 is bernoulli, not constant" in caplog.text
    assert float(trainer.decode(torch.zeros(1, 3))[0, 2]) < 1.0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"vae_likelihood": "mixed"}, "vae_feature_types"),
        ({"vae_feature_types": "4*gaussian"}, "vae_feature_types"),
        ({"vae_likelihood": "bernoulli", "vae_formula": "raw_mean"}, "vae_formula=nats"),
        ({"vae_encoder": "cnn"}, "three axes"),
    ],
)
def test_keys_that_contradict_each_other_are_named(keys, message):
    with pytest.raises(ConfigError, match=message):
        trainer_of(**keys)


def test_a_bernoulli_likelihood_refuses_values_other_than_0_and_1():
    with pytest.raises(ConfigError, match="feature 0 has other values"):
        trainer_of(4, vae_likelihood="bernoulli").update(torch.randn(20, 4))


def test_given_feature_types_override_inferred_ones():
    trainer = trainer_of(27, vae_likelihood="mixed", vae_feature_types="27*bernoulli")
    trainer.update(planes(50))
    assert trainer.features.types.describe() == "27 features: 27 binary"


def test_images_get_convolutions_and_small_grids_get_linear_layers():
    image = spaces.Box(0, 255, (16, 20, 3), np.uint8)
    trainer = trainer_of(image)
    assert any(isinstance(layer, torch.nn.Conv2d) for layer in trainer.vae.modules())
    trainer.update(torch.rand(8, image.shape[0] * image.shape[1] * 3))
    assert trainer.decode(torch.zeros(2, 3)).shape == (2, 960)
    small = trainer_of(spaces.Box(0, 1, (5, 4, 4), np.int8))
    assert not any(isinstance(layer, torch.nn.Conv2d) for layer in small.vae.modules())


def test_a_convolutional_vae_keeps_the_order_of_features():
    blocks = [Block(2), Block(3 * 5 * 5, "number", (5, 5, 3))]
    trainer = trainer_of(blocks, vae_encoder="cnn", vae_lr=3e-3, vae_alpha_ramp=0, vae_hidden_dim=64)
    pattern = torch.randn(77, generator=torch.Generator().manual_seed(0))
    for i in range(150):
        scale = torch.randn(64, 1, generator=torch.Generator().manual_seed(i))
        trainer.update(scale * pattern)
    states = torch.tensor([[2.0], [-1.0]]) * pattern
    decoded = trainer.decode(trainer.encode(states)[0])
    assert float((decoded - states).square().mean() / states.square().mean()) < 0.1


def test_a_saved_trainer_is_restored_with_network_types_and_window(tmp_path):
    trainer = trainer_of([Block(27, "binary", (3, 3, 3))])
    trainer.collect(planes(60))
    for _ in range(3):
        trainer.update()
    trainer.save(tmp_path / "vae.pt")
    again = VAETrainer.load(tmp_path / "vae.pt")
    states = planes(10, seed=5)
    assert torch.equal(again.encode(states)[0], trainer.encode(states)[0])
    torch.manual_seed(3)
    one = trainer.update()
    torch.manual_seed(3)
    assert float(again.update()["vae_loss"]) == float(one["vae_loss"])


def test_a_file_that_is_not_a_saved_trainer_is_refused(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="damaged"):
        VAETrainer.load(tmp_path / "x.pt")


def test_a_checkpoint_without_a_formula_uses_that_of_its_release():
    trainer = trainer_of(4, vae_formula="mean")
    trainer.update(torch.randn(30, 4))
    old = {name: value for name, value in trainer.state_dict().items() if name not in ("formula", "types")}
    again = trainer_of(4)
    again.load_state_dict(old)
    assert again.formula == "mean" and again.beta_per_alpha == 1.0
    states = torch.randn(30, 4)
    torch.manual_seed(1)
    expected = float(trainer.update(states)["vae_loss"])
    torch.manual_seed(1)
    assert float(again.update(states)["vae_loss"]) == expected


def test_the_default_number_of_latents_depends_on_the_size_of_the_state():
    assert [trainer_of(size, vae_latent_dim=0).config.vae_latent_dim for size in (4, 32, 80, 1000)] == [
        16,
        16,
        40,
        64,
    ]
    assert trainer_of(80, vae_latent_dim=5).config.vae_latent_dim == 5


def test_a_vae_with_linear_paths_is_linear_at_the_start_and_nonlinear_after_updates():
    trainer, states = trainer_of(4, vae_lr=1e-2, vae_linear_path=True), torch.randn(200, 4)
    vae = trainer.vae
    assert torch.equal(vae.encode(states)[0], vae.encoder_line(states)[:, :3])
    assert torch.equal(vae.decode(states[:, :3]), vae.decoder_line(states[:, :3]))
    for _ in range(20):
        trainer.update(states)
    assert float(vae.encoder(states).abs().max()) > 0.01 and float(vae.decoder(states[:, :3]).abs().max()) > 0.01


def test_linear_paths_explain_combinations_that_were_not_trained_on():
    """Two of 48 bits are 1 in each state. Perceptrons memorise the pairs of 400 states."""

    def pairs(rows, seed):
        chosen = torch.randint(48, (rows, 2), generator=torch.Generator().manual_seed(seed))
        return torch.zeros(rows, 48).scatter_(1, chosen, 1.0)

    explained = {}
    for linear_path in (False, True):
        keys = {"vae_latent_dim": 0, "vae_hidden_dim": 64, "vae_lr": 1e-3, "vae_alpha_ramp": 200}
        trainer = trainer_of(48, vae_linear_path=linear_path, **keys)
        states = pairs(400, seed=0)
        trainer.collect(states)
        for _ in range(600):
            trainer.update()
        explained[linear_path] = trainer.describe(pairs(1000, seed=1))["vae_explained_variance"]
    assert explained[True] > explained[False] + 0.1


def test_a_checkpoint_determines_the_number_of_latents_and_linear_paths():
    old = trainer_of(40, vae_latent_dim=16, vae_linear_path=False)
    old.update(torch.randn(30, 40))
    again = trainer_of(40, vae_latent_dim=0)
    again.load_state_dict(old.state_dict())
    states = torch.randn(30, 40)
    assert torch.equal(again.encode(states)[0], old.encode(states)[0])
    torch.manual_seed(1)
    expected = float(old.update(states)["vae_loss"])
    torch.manual_seed(1)
    assert float(again.update(states)["vae_loss"]) == expected
    assert again.config.vae_latent_dim == 16 and not again.config.vae_linear_path


def test_the_vae_of_the_package_trains_on_arrays_of_a_space():
    trainer = omarl.VAETrainer(spaces.MultiBinary(6), omarl.VAEConfig(vae_latent_dim=2))
    numbers = trainer.update(np.eye(6, dtype=np.float32))
    assert set(numbers) >= {"vae_loss", "vae_recon_loss", "vae_kl_loss", "vae_alpha", "vae_beta", "vae_grad_norm"}


def test_equal_states_have_no_explained_variance():
    trainer = VAETrainer(4)
    trainer.update(torch.randn(64, 4))
    described = trainer.describe(torch.ones(20, 4))
    assert "vae_explained_variance" not in described and described["vae_recon_loss"] > 0
