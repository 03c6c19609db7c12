import copy
from types import SimpleNamespace

import pytest
import torch
from fakes import RecordingLogger, args_for, env_info, random_batch, rollouts_for
from omarl.components.kl_weight import BETA_PER_ALPHA
from omarl.controllers.basic_controller import BasicMAC
from omarl.learners.omg_vae_learner import OMGVAELearner, features_of
from omarl.modules.losses import kl_standard_normal
from omarl.types import Block, ConfigError

INFO = env_info()

# a user's keys
USERS = {
    "vae_lr": 5e-4,
    "omg_vae_alpha": 0.001,
    "optim_alpha": 0.9,
    "grad_norm_clip": 5,
    "learner_log_interval": 20,
}


def learner_of(seed=0, as_dict=False, **changes):
    torch.manual_seed(seed)
    values = {**vars(args_for(INFO)), "vae_latent_dim": 3, "vae_hidden_dim": 8, **changes}
    batch = random_batch(INFO, [3])
    mac = BasicMAC(batch.scheme, batch.groups, SimpleNamespace(**values))
    args = values if as_dict else SimpleNamespace(**values)
    return OMGVAELearner(mac, batch.scheme, RecordingLogger(), args)


def agents_of(learner):
    return [p.detach().clone() for p in learner.base.mac.parameters()]


@pytest.mark.parametrize("as_dict", [True, False])
def test_the_users_keys_are_read_from_dicts_and_namespaces(as_dict):
    learner = learner_of(as_dict=as_dict, **USERS)
    c = learner.config
    assert (c.vae_lr, c.omg_vae_alpha, c.grad_norm_clip, c.learner_log_interval) == (5e-4, 0.001, 5.0, 20)
    assert learner.trainer.optimiser.param_groups[0]["lr"] == 5e-4
    assert learner.trainer.optimiser.param_groups[0]["betas"] == (0.5, 0.999)


def test_optim_alpha_is_used_by_rmsprop_and_a_notice_follows_if_it_is_ignored(caplog):
    caplog.set_level("INFO", logger="test")
    for as_dict in (True, False):
        learner_of(vae_optimiser="adam", optim_alpha=0.9, user_keys={"optim_alpha"}, as_dict=as_dict)
        assert "optim_alpha=0.9" in caplog.text and "Adam" in caplog.text
        caplog.clear()
        learner_of(vae_optimiser="adam", optim_alpha=0.9, user_keys={"vae_lr"}, as_dict=as_dict)
        learner_of(vae_optimiser="adam", optim_alpha=0.9, as_dict=as_dict)  # the host passes no user_keys
        assert "optim_alpha" not in caplog.text
    learner = learner_of(vae_optimiser="rmsprop", optim_alpha=0.77, user_keys={"optim_alpha"})
    assert isinstance(learner.trainer.optimiser, torch.optim.RMSprop)
    assert learner.trainer.optimiser.param_groups[0]["alpha"] == 0.77
    assert "optim_alpha" not in caplog.text


def test_a_wrong_value_names_its_key():
    with pytest.raises(ConfigError, match="vae_lr: -1"):
        learner_of(vae_lr=-1)


def test_the_kl_weight_ramps_over_learner_updates():
    learner = learner_of(omg_vae_alpha=0.5, vae_alpha_ramp=4)
    alphas = []
    for _ in range(6):
        alphas.append(learner.trainer.alpha)
        learner.trainer.update(torch.randn(10, 4))
    assert alphas == [0.0, 0.125, 0.25, 0.375, 0.5, 0.5]
    assert learner_of(omg_vae_alpha=0.5, vae_alpha_ramp=0).trainer.alpha == 0.5


@pytest.mark.parametrize("formula", ["nats", "mean", "raw_mean"])
def test_the_loss_is_reconstruction_plus_weighted_kl_by_hand(formula):
    learner = learner_of(omg_vae_alpha=0.03, vae_alpha_ramp=0, vae_mu_l2=0.02, vae_formula=formula)
    states = torch.randn(64, 4) * 5 + 2
    twin = copy.deepcopy(learner.trainer.vae)
    target = (states - states.mean(0)) / states.std(0, unbiased=False) if formula != "raw_mean" else states
    torch.manual_seed(7)
    out = twin(target)
    error = (out.recon - target).square()
    recon = (0.5 * error.sum(-1) if formula == "nats" else error.mean(-1)).mean().item()
    unit = BETA_PER_ALPHA if formula == "nats" else 1.0
    kl = kl_standard_normal(out.mu, out.log_var).sum(-1).mean().item()
    torch.manual_seed(7)
    logged = {name: float(value) for name, value in learner.trainer.update(states).items()}
    assert logged["vae_recon_loss"] == pytest.approx(recon, rel=1e-4)
    assert logged["vae_kl_loss"] == pytest.approx(kl, rel=1e-4)
    l2 = out.mu.square().sum(-1).mean().item()
    assert logged["vae_beta"] == pytest.approx(unit * 0.03)
    assert logged["vae_loss"] == pytest.approx(recon + unit * (0.03 * kl + 0.02 * l2), rel=1e-4)


def test_the_vae_ignores_padded_states():
    batch = random_batch(INFO, [2, 5])
    dirty = copy.deepcopy(batch)
    dirty.data["state"][0, 3:] = 1e4
    assert learner_of().real_states(batch).shape == (3 + 6, 4)
    for name in ("mean", "var"):
        one, other = learner_of(), learner_of()
        one.train(batch, 0, 0)
        other.train(dirty, 0, 0)
        assert torch.equal(
            getattr(one.trainer.features.normaliser, name), getattr(other.trainer.features.normaliser, name)
        )


def test_agents_and_vae_share_no_gradients():
    """Agents are the same with and without the VAE's update, and the VAE is not changed by the agents' update."""
    batch = random_batch(INFO, [3, 5])
    learner, agents_only = learner_of(), learner_of()
    vae_before = [p.detach().clone() for p in learner.trainer.vae.parameters()]
    learner.train(batch, 0, 0)
    agents_only.base.train(batch, 0, 0)
    assert all(torch.equal(a, b) for a, b in zip(agents_of(learner), agents_of(agents_only), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(vae_before, agents_only.trainer.vae.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(vae_before, learner.trainer.vae.parameters(), strict=True))
    before = agents_of(learner)
    learner.trainer.update(torch.randn(20, 4))
    assert all(torch.equal(a, b) for a, b in zip(before, agents_of(learner), strict=True))
    assert not {id(p) for p in learner.trainer.parameters} & {id(p) for p in learner.base.parameters}


def test_logs_mean_std_min_max_over_the_interval():
    learner = learner_of(learner_log_interval=100)
    batch = random_batch(INFO, [3, 5])
    values = []
    for t in (20, 40, 60, 80, 100):
        learner.train(batch, t, 0)
        if t < 100:
            values = [v.item() for v in learner.stats.values["vae_recon_loss"]]
    log = learner.logger
    assert [t for t, _ in log.series("vae_recon_loss")] == [100]
    low, high = log.series("vae_recon_loss_min")[0][1], log.series("vae_recon_loss_max")[0][1]
    assert low <= min(values) and high >= max(values) and low < log.series("vae_recon_loss")[0][1] < high
    for name in ("vae_loss", "vae_kl_loss", "vae_alpha", "vae_grad_norm", "vae_clipped_share"):
        assert all(len(log.series(name + end)) == 1 for end in ("", "_std", "_min", "_max")), name
    assert len(log.series("vae_active_units")) == len(log.series("vae_explained_variance")) == 1


def test_clipped_share_is_the_share_of_updates_with_a_clipped_gradient():
    batch = random_batch(INFO, [3, 5])
    for clip, expected in ((1e-6, 1.0), (1e6, 0.0)):
        learner = learner_of(grad_norm_clip=clip, learner_log_interval=1)
        learner.train(batch, 1, 0)
        assert learner.logger.series("vae_clipped_share")[0][1] == expected


def test_diagnostics_in_closed_form():
    """A decoder that ignores its code explains nothing; a constant latent is not active."""
    learner = learner_of()
    states = torch.randn(500, 4)
    learner.trainer.features.normaliser.update(states)
    with torch.no_grad():
        for p in learner.trainer.vae.parameters():
            p.zero_()
    described = learner.trainer.describe(states)
    assert described["vae_explained_variance"] == pytest.approx(0.0, abs=1e-5)
    assert described["vae_active_units"] == 0
    assert described["vae_kl_loss"] == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():  # one latent follows the state's first feature: a ReLU'd pass through
        learner.trainer.vae.encoder[0].weight[0, 0] = 1.0
        learner.trainer.vae.encoder[2].weight[0, 0] = 1.0
        learner.trainer.vae.encoder[4].weight[0, 0] = 1.0
    assert learner.trainer.describe(states)["vae_active_units"] == 1


def test_the_base_learner_may_be_given_as_module_and_class():
    learner = learner_of(base_learner="omarl.learners.q_learner:QLearner")
    learner.train(random_batch(INFO, [3]), 0, 0)
    assert learner.base.updates == learner.trainer.updates == 1


def test_a_reloaded_learner_continues_bit_identically(tmp_path):
    batches = [random_batch(INFO, [3, 5], seed=s) for s in range(4)]
    one, other, third = learner_of(), learner_of(seed=5), learner_of(seed=6)
    for batch in batches[:2]:
        one.train(batch, 0, 0)
    other.load_state_dict(one.state_dict())
    one.save_models(str(tmp_path))
    third.load_models(str(tmp_path))
    results = []
    for learner in (one, other, third):
        torch.manual_seed(3)
        for batch in batches[2:]:
            learner.train(batch, 0, 0)
        results.append(
            [
                *agents_of(learner),
                *(p.detach() for p in learner.trainer.parameters),
                learner.trainer.features.normaliser.mean,
            ]
        )
    assert all(torch.equal(a, b) for a, b in zip(results[0], results[1], strict=True))
    vae_only = slice(len(agents_of(one)), None)
    assert all(torch.equal(a, b) for a, b in zip(results[0][vae_only], results[2][vae_only], strict=True))


def test_state_dict_does_not_change_under_later_training():
    learner = learner_of()
    learner.train(random_batch(INFO, [3]), 0, 0)
    state = learner.state_dict()
    weights = {k: v.clone() for k, v in state["vae"]["vae"].items()}
    learner.train(random_batch(INFO, [4]), 0, 0)
    assert all(torch.equal(weights[k], state["vae"]["vae"][k]) for k in weights)


def test_an_update_draws_the_configured_number_of_distinct_states():
    batch = random_batch(INFO, [30, 40])  # 31 and 41 states, final ones included
    states = learner_of().real_states(batch)
    assert len(states) == 72
    trainer = learner_of(vae_batch_states=20).trainer
    trainer.collect(states)
    drawn = trainer.draw()
    assert drawn.shape == (20, INFO.state_shape)
    rows = [(states == row).all(dim=1).nonzero() for row in drawn]
    places = [int(row) for row in rows]  # fails if a state is not in the batch
    assert len(set(places)) == 20
    assert not torch.equal(drawn, trainer.draw())
    for wanted in (0, 72, 500):
        trainer = learner_of(vae_batch_states=wanted).trainer
        trainer.collect(states)
        assert torch.equal(trainer.draw(), states)


def test_vae_input_obs_models_observations_of_living_agents():
    batch = random_batch(INFO, [2, 5])
    learner = learner_of(vae_input="obs")
    alive = int(batch["agent_mask"][batch["filled"].squeeze(-1) > 0].sum())
    assert learner.real_states(batch).shape == (alive, INFO.obs_shape)
    batch.data["agent_mask"][1, :6, 0] = 0
    assert len(learner.real_states(batch)) == alive - 6
    learner.train(batch, 0, 0)
    assert learner.trainer.state_dim == INFO.obs_shape


def test_blocks_of_observations_are_used_only_if_all_agents_share_them():
    one_hot, unknown = [Block(4, "one_hot")], [Block(4)]

    def features(*obs_blocks):
        args = SimpleNamespace(env_info=env_info(obs_blocks=obs_blocks))
        return features_of({"obs": {"vshape": 4}}, "obs", args)

    assert features(one_hot, one_hot, one_hot) == one_hot
    assert features(one_hot, one_hot, unknown) == 4


@pytest.mark.parametrize("base", ["ppo_learner", "pqn_learner"])
@pytest.mark.parametrize("what", ["state", "obs"])
def test_the_vae_receives_the_last_states_of_episodes_in_rollouts(base, what):
    """Copy 0 plays episodes of 2 and 4 steps, copy 1 of 3; a rollout has 3 steps."""
    values = {"base_learner": base, "vae_input": what, "vae_latent_dim": 3, "action_selector": "softmax"}
    runner, learner = rollouts_for(OMGVAELearner, [[2, 4], [3]], True, 3, **values)
    batch = runner.run()
    agents = 1 if what == "state" else 2
    seen = learner.real_states(batch)[:, 0].tolist()
    assert sorted(seen) == sorted([0, 1, 10, 11, 100, 101, 102, 110, 2, 103] * agents)
    if what == "obs":  # without dead agents
        batch.ends.agent_mask[0, 1] = 0
        assert learner.real_states(batch)[:, 0].tolist().count(2) == 1
    learner.train(batch, runner.t_env, 0)
    assert len(learner.trainer.collected) == len(learner.real_states(batch))
