from types import SimpleNamespace

import pytest
import torch
from fakes import args_for, env_info, random_batch
from omarl.components.action_selectors import EpsilonGreedy
from omarl.components.episode_batch import make_scheme
from omarl.components.vae_trainer import VAEConfig, VAETrainer
from omarl.controllers.basic_controller import BasicMAC
from omarl.controllers.model_controller import ModelMAC
from omarl.controllers.pymarl_controller import PyMARLController
from omarl.modules import compiled
from omarl.types import ConfigError, Observation, TrainingError
from unit.test_omg_vae_learner import learner_of

MIXED = env_info(agents=("h_0", "p_0", "h_1"), agent_types=("h", "p", "h"), obs_sizes=(3,) * 3, action_sizes=(2,) * 3)


@pytest.mark.parametrize("hosted", [False, True])
def test_step_by_step_acting_and_unrolling_give_equal_values(hosted):
    """The runner and the learner use the same last actions, recurrent states and agent order."""
    torch.manual_seed(0)
    batch = random_batch(MIXED, [6, 6], seed=3)
    mac = BasicMAC(batch.scheme, batch.groups, args_for(MIXED, epsilon_start=0.0, epsilon_finish=0.0))
    with torch.no_grad():
        for p in mac.parameters():
            p.mul_(3.0)  # larger weights, so that recurrent state and last action have an effect
    actor = PyMARLController(mac, batch.scheme, batch.groups, "cpu") if hosted else mac
    expected = mac.unroll(batch).detach()
    seen = []
    selector = mac.action_selector
    for name in ("select_action", "choose"):  # for tensors and for arrays
        select = getattr(selector, name)
        setattr(selector, name, lambda q, *a, select=select, **k: (
            seen.append(torch.as_tensor(q).clone()) or select(q, *a, **k)))  # fmt: skip
    carry, last = actor.initial_carry(2), torch.zeros(2, 3, 2)
    for t in range(7):
        now = Observation(*(batch[n][:, t].numpy() for n in ("obs", "state", "avail_actions", "agent_mask")))
        _, carry = actor.act(now, last, carry, 0, False)
        mac.init_hidden(2)  # a learner's call between two steps must not change the runner's state
        last = batch["actions_onehot"][:, t]
    torch.testing.assert_close(torch.stack(seen, dim=1), expected, rtol=1e-4, atol=1e-5)


class LastAction(EpsilonGreedy):
    """Ignores the values."""

    def select_action(self, agent_inputs, avail_actions, t_env, test_mode=False):
        return torch.full(agent_inputs.shape[:-1], agent_inputs.shape[-1] - 1)


def test_a_selector_with_another_choice_is_asked():
    batch = random_batch(MIXED, [6, 6], seed=3)
    mac = BasicMAC(batch.scheme, batch.groups, args_for(MIXED, action_selector=f"{__name__}:LastAction"))
    now = Observation(*(batch[n][:, 0].numpy() for n in ("obs", "state", "avail_actions", "agent_mask")))
    actions, _ = mac.act(now, torch.zeros(2, 3, 2), mac.initial_carry(2), 0, True)
    assert (actions == 1).all()


def test_tensors_arrays_and_torch_give_the_same_choices(monkeypatch):
    selector = EpsilonGreedy(SimpleNamespace(epsilon_start=0.5, epsilon_finish=0.5))
    values, avail = torch.randn(40, 3, 4), torch.randint(2, (40, 3, 4), dtype=torch.uint8)
    avail[..., 1] = 1
    found = []
    for choose in (selector.select_action, selector.choose, selector.select_action):
        torch.manual_seed(3)
        given = [each.numpy() if choose == selector.choose else each for each in (values, avail)]
        found.append(torch.as_tensor(choose(*given, 0)))
        if len(found) == 2:
            monkeypatch.setattr(compiled, "kernels", lambda name: None)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_unavailable_actions_are_never_chosen(epsilon):
    selector = EpsilonGreedy(SimpleNamespace(epsilon_start=epsilon, epsilon_finish=epsilon))
    values = torch.tensor([5.0, -1.0, -2.0]).expand(500, 2, 3)
    avail = torch.tensor([0, 1, 1]).expand(500, 2, 3)
    assert (selector.select_action(values, avail, 0) > 0).all()


def test_select_actions_returns_the_requested_rows():
    batch = random_batch(MIXED, [4, 4, 4])
    mac = BasicMAC(batch.scheme, batch.groups, args_for(MIXED))
    mac.init_hidden(3)
    assert mac.select_actions(batch, 0, 0, bs=[0, 2], test_mode=True).shape == (2, 3)


def test_outlying_states_are_clipped_in_training():
    trainer = VAETrainer(2, VAEConfig(vae_hidden_dim=8))
    states = torch.randn(5000, 2)
    trainer.update(states)
    states[0, 0] = 1e6
    trainer.features.normaliser.update = lambda rows: None
    assert float(trainer.update(states)["vae_recon_loss"]) < 5


def test_explained_variance_compares_each_dimension_with_its_own_mean():
    """States with a mean far from the normaliser's: this offset must not count as variance."""
    trainer = VAETrainer(2, VAEConfig(vae_hidden_dim=8))
    with torch.no_grad():
        for p in trainer.parameters:
            p.zero_()
    trainer.features.observe(torch.randn(2000, 2))
    states = torch.randn(2000, 2) + torch.tensor([2.0, -2.0])
    described = trainer.describe(states)  # decodes to 0: error 1 + 4, variance 1
    assert described["vae_explained_variance"] == pytest.approx(-4.0, abs=0.5)
    assert described["vae_r2"] == pytest.approx(0.0, abs=1e-4)  # deviation from the mean in training: 1 + 4, too


def test_the_out_of_sample_r2_of_states_that_resemble_each_other_counts_where_they_are():
    """A linear VAE with an error of 0.1, on states around one point: their own variance is 0.01 squared."""
    trainer = VAETrainer(2, VAEConfig(vae_hidden_dim=8, vae_latent_dim=2, vae_linear_path=True))
    trainer.features.observe(torch.randn(4000, 2))
    with torch.no_grad():
        for p in trainer.parameters:
            p.zero_()
        trainer.vae.encoder_line.weight[:2] = torch.eye(2)
        trainer.vae.decoder_line.weight[:] = torch.eye(2)
        trainer.vae.decoder_line.bias[:] = 0.1
    near = 0.01 * torch.randn(2000, 2) + 3.0
    described = trainer.describe(near)
    assert described["vae_explained_variance"] == pytest.approx(1 - 0.01 / 1e-4, rel=0.1)
    assert described["vae_r2"] == pytest.approx(1 - 0.01 / 9, abs=5e-4)


def test_active_units_compare_the_variance_of_mu_with_the_threshold():
    trainer = VAETrainer(1, VAEConfig(vae_hidden_dim=4, vae_latent_dim=1))
    with torch.no_grad():
        for p in trainer.parameters:
            p.zero_()
        for i, weight in ((0, 1.0), (2, 1.0), (4, 0.05)):
            trainer.vae.encoder[i].weight[0, 0] = weight
    states = torch.linspace(0, 3, 1000)[:, None]  # mu in 0..0.15: std 0.043 >= 0.01, variance 0.0019 < 0.01
    assert trainer.describe(states)["vae_active_units"] == 0


def test_evaluate_uses_all_batches():
    info = env_info()
    learner = learner_of()
    a, b = random_batch(info, [3], seed=1), random_batch(info, [5], seed=2)
    seen = []
    learner.trainer.describe = lambda states: (
        seen.append(len(states))
        or dict.fromkeys(("vae_explained_variance", "vae_active_units", "vae_recon_loss", "vae_kl_loss"), 0.0)
    )
    learner.evaluate([a, b])
    assert seen == [10]


def test_training_stops_if_the_vae_is_not_finite():
    learner = learner_of(learner_log_interval=1)
    with torch.no_grad():
        learner.trainer.parameters[0].fill_(torch.nan)
    batch = random_batch(env_info(), [3])
    learner.train(batch, 1, 0)
    learner.train(batch, 2, 0)
    assert learner.logger.series("vae_skipped_updates") == [(1, 1.0), (2, 2.0)]
    message = r"the VAE is not finite: 3 updates in a row .* lower vae_lr \(0.0002 now\)"
    with pytest.raises(TrainingError, match=message):
        learner.train(batch, 3, 0)


@pytest.mark.parametrize("mac, agent, message", [
    (BasicMAC, "features", "agent: features gives 8 numbers, and its controller needs one for each of 2 actions"),
    (ModelMAC, "mingru", "agent: mingru gives 2 numbers, and its controller needs its 8 features"),
])  # fmt: skip
def test_an_agent_of_another_controller_is_refused(mac, agent, message):
    scheme, groups = make_scheme(MIXED, False)
    with pytest.raises(ConfigError, match=message):
        mac(scheme, groups, args_for(MIXED, agent=agent))
