"""OMG's hindsight, its mixture and its losses, by hand; and what each part of a model learner may touch."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import RecordingLogger, args_for
from omarl.components.episode_batch import make_scheme
from omarl.components.rollout import Ends, Rollout
from omarl.controllers.model_controller import ModelMAC
from omarl.envs.make import make_vec_env
from omarl.learners.model_reports import added, steps_to_adapt, subgoal_hits
from omarl.learners.opponent_model_learner import OpponentModelLearner
from omarl.learners.subgoals import PlacePrior, horizon_shown, select, selected, states_to_come
from omarl.learners.vae_trainer import VAEConfig, VAETrainer
from omarl.opponents.boards import board_of
from omarl.opponents.pool import Member, Pool
from omarl.opponents.pool_env import PoolEnv
from omarl.runners.rollout_runner import RolloutRunner
from omarl.types import ConfigError

KEY = "lbforaging:Foraging-8x8-2p-3f-v3"


def stamped(terminated_at=()):
    """One copy, five steps; the state at step t is t, the last state of an episode that ends at t is 100 + t."""
    state = torch.arange(6.0).view(1, 6, 1)
    over = torch.zeros(1, 6, 1)
    for t in terminated_at:
        over[0, t] = 1
    ends = None
    if terminated_at:
        at = torch.tensor(terminated_at)
        last = (100.0 + at).view(-1, 1).float()
        empty = torch.zeros(len(at), 1, 1)
        ends = Ends(torch.zeros_like(at), at, empty, last, empty, empty, empty, empty)
    data = {"state": state, "terminated": over, "truncated": torch.zeros(1, 6, 1), "filled": torch.ones(1, 6, 1)}
    return Rollout({"truncated": {}}, {}, data, torch.zeros(1), torch.zeros(1), ends)


def test_candidates_are_the_states_to_come():
    states, valid = states_to_come(stamped(), 3)
    assert states[0, 1, :, 0].tolist() == [2, 3, 4]
    assert valid[0].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 0]]


def test_candidates_stay_inside_the_episode():
    states, valid = states_to_come(stamped([2]), 3)
    assert valid[0].tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert states[0, 0, :, 0].tolist() == [1, 2, 102]  # the last state of the episode, not the next one's first
    assert states[0, 2, 0, 0] == 102
    assert states[0, 3, :2, 0].tolist() == [4, 5]


def test_where_the_whole_horizon_is_shown():
    """Five steps: all three states to come, or the episode's end among them, must be in sight."""
    for ends, shown in (
        ((), [1, 1, 1, 0, 0]),
        ((2,), [1, 1, 1, 0, 0]),
        ((4,), [1, 1, 1, 1, 1]),
        ((1,), [1, 1, 1, 0, 0]),
    ):
        batch = stamped(list(ends))
        _, valid = states_to_come(batch, 3)
        assert horizon_shown(batch, valid)[0].tolist() == shown, ends


def test_the_selector():
    values = torch.tensor([[[[1.0, 5.0, 3.0]], [[2.0, 9.0, 9.0]]]])  # [E=1, T=2, N=1, K=3]
    valid = torch.tensor([[[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]])

    def chosen(rule, optimistic=True):
        return select(rule, optimistic, valid, lambda: values, 1)[0, :, 0].tolist()

    assert chosen("value") == [1, 0]  # the best, and the only one there is
    assert chosen("value", optimistic=False) == [0, 0]
    assert chosen("next") == [0, 0]
    assert chosen("third") == [2, 0]
    drawn = {chosen("random")[0] for _ in range(60)}
    assert drawn == {0, 1, 2}
    assert {chosen("random")[1] for _ in range(20)} == {0}


@pytest.fixture
def prior(tmp_path):
    torch.manual_seed(0)
    trainer = VAETrainer(30, VAEConfig(vae_latent_dim=4, vae_hidden_dim=8))
    trainer.update(torch.randn(64, 30) * 3 + 2)
    with torch.no_grad():  # so that codes differ from state to state
        trainer.vae.encoder[-1].weight[:4] *= 20.0
    torch.save(trainer.state_dict(), tmp_path / "vae.th")
    return tmp_path


def parts(prior, model="subgoal", base="ppo_learner", copies=6, **values):
    env = make_vec_env("gymnasium", {"key": KEY, "backend": "batched", "episode_limit": 7}, copies, 0, 0)
    names = ("nearest", "farthest")
    pool = Pool(Path(), "g", {}, tuple(Member(n, "script", "scripted", "train", script=n) for n in names))
    env = PoolEnv(env, pool, "train", ["agent_0"], ["actions"], 0, False)
    args = args_for(
        env.info, env_info=env.info, opponent_model=model, base_learner=base, source=str(prior), rollout_steps=9,
        vae_latent_dim=4, vae_hidden_dim=8, model_hidden_dim=8, agent="features", obs_last_action=False,
        action_selector="softmax", t_max=1000, learner_log_interval=1, omg_anneal_time=0,
    )  # fmt: skip
    vars(args).update(values)
    scheme, groups = make_scheme(env.info, False)
    torch.manual_seed(1)
    mac = ModelMAC(scheme, groups, args)
    learner = OpponentModelLearner(mac, scheme, RecordingLogger(), args)
    return RolloutRunner(env, mac, scheme, groups, args), learner


def believed(learner, runner, t_env=10**6):
    batch = runner.run()
    with torch.no_grad():
        goals = learner._believe(batch, t_env)
    return batch, goals


CATEGORICAL = {"omg_latents": "categorical", "omg_codes": 5, "omg_selection": "random", "omg_input": "inferred"}


@pytest.mark.parametrize("words", [{}, CATEGORICAL], ids=["gaussian", "categorical"])
@pytest.mark.parametrize("model", ["subgoal", "liam", "naive"])
@pytest.mark.parametrize("base", ["ppo_learner", "pqn_learner"])
def test_what_is_trained_on_is_what_was_acted_on(prior, model, base, words):
    """Once the mixture is over, the condition along the rollout is, step by step, the one that acting was told."""
    runner, learner = parts(prior, model, base, **words)
    if words and model == "subgoal":
        learner.train(runner.run(), runner.t_env, 0)  # makes the codebook
    told, step = [], learner.model.step

    def recorded(obs, carry):
        condition, carry = step(obs, carry)
        told.append(condition)
        return condition, carry

    learner.model.step = recorded
    runner.run()
    told.clear()
    batch = runner.run()
    acted = torch.stack(told[: runner.length], dim=1)
    with torch.no_grad():
        learner._believe(batch, 10**6)
    torch.testing.assert_close(batch["condition"][:, :-1], acted, atol=1e-5, rtol=1e-4)


def test_the_mixture_falls_from_what_is_selected_to_what_is_inferred(prior):
    runner, learner = parts(prior, omg_anneal_time=100)
    batch, states = believed(learner, runner, 0)
    selected, _ = learner.prior.encode(states)
    torch.testing.assert_close(batch["condition"][:, :-1], selected)
    batch, states = believed(learner, runner, 50)
    selected, _ = learner.prior.encode(states)
    share = (batch["condition"][:, :-1] == selected).all(dim=-1).float().mean()
    assert 0.3 < share < 0.7
    batch, _ = believed(learner, runner, 100)
    torch.testing.assert_close(batch["condition"], batch["critic_condition"])


def test_the_next_state_keeps_the_goal_in_q_targets_alone(prior):
    runner, learner = parts(prior, base="pqn_learner", action_selector="epsilon_greedy", omg_input="prior")
    batch, _ = believed(learner, runner)
    assert torch.equal(batch.next_condition, batch["condition"][:, :-1])
    e = batch.ends
    assert torch.equal(batch.ends_condition, batch["condition"][e.copy, e.step])
    with torch.no_grad():
        ahead = learner.mac.unroll_ahead(batch)
        here = learner.mac.unroll(batch)
        batch.data["condition"] = torch.cat([batch["condition"][:, :1], batch.next_condition], dim=1)
        shifted = learner.mac.unroll(batch)
    torch.testing.assert_close(ahead, shifted[:, 1:])
    assert not torch.allclose(ahead, here[:, 1:])
    runner, learner = parts(prior, omg_input="prior")
    batch, _ = believed(learner, runner)
    assert batch.next_condition is None  # a critic's baseline must not know what hindsight selects
    assert not torch.allclose(batch["critic_condition"], batch["condition"])
    with torch.no_grad():
        values, _ = learner.base._values(batch)
        told = learner.base.critic(batch["obs"], batch["state"].flatten(2), batch["critic_condition"])
    assert torch.equal(values, told)


@pytest.mark.parametrize("model", ["subgoal", "liam", "naive"])
def test_policy_and_model_share_no_gradient(prior, model):
    runner, learner = parts(prior, model)
    policy = [p.detach().clone() for p in learner.mac.parameters()]
    frozen = [p.detach().clone() for p in learner.model.parameters()]
    batch, goals = believed(learner, runner)
    learner.base.train(batch, 1, 0)
    assert all(torch.equal(a, b) for a, b in zip(frozen, learner.model.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(policy, learner.mac.parameters(), strict=True))
    policy = [p.detach().clone() for p in learner.mac.parameters()]
    vae = [p.detach().clone() for p in learner.prior.trainer.vae.parameters()] if learner.prior else []
    learner._update_model(batch, learner.model.actions_taken(batch), goals)
    assert all(torch.equal(a, b) for a, b in zip(policy, learner.mac.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(frozen, learner.model.parameters(), strict=True))
    if learner.prior:
        assert all(torch.equal(a, b) for a, b in zip(vae, learner.prior.trainer.vae.parameters(), strict=True))


def test_the_cvae_comes_to_the_prior_of_what_is_selected(prior):
    """Taught long enough with a heavy KL, what is inferred is the selected state's code."""
    heavy = {"omg_vae_alpha": 1.0, "vae_alpha_ramp": 0, "vae_lr": 3e-3, "model_hidden_dim": 64}
    runner, learner = parts(prior, copies=32, omg_selection="next", **heavy)
    for _ in range(120):
        batch, goals = believed(learner, runner)
        learner._update_model(batch, learner.model.actions_taken(batch), goals)
    batch, goals = believed(learner, runner)
    mu_p, _ = learner.prior.encode(goals)
    error = (batch["condition"][:, 1:-1] - mu_p[:, 1:]).square().mean()
    assert error < 0.5 * (mu_p - mu_p.mean(dim=(0, 1))).square().mean()


def test_the_decoder_is_given_the_step_before_and_nothing_of_another_episode(prior):
    """Its first step in a rollout has no step before there; where an episode begins, the step before is empty."""
    runner, learner = parts(prior)
    runner.run()
    batch, goals = believed(learner, runner)
    given, decode = [], learner.model.decode

    def recorded(goal, before):
        given.append(before.detach().clone())
        return decode(goal, before)

    learner.model.decode = recorded
    with torch.no_grad():
        features = learner.model.features(batch, learner.mac.split_carry(batch.carry)[1])
    learner._update_model(batch, learner.model.actions_taken(batch), goals)
    before = given[0].view(6, 8, -1)  # six copies, steps 1 to 8 of nine
    begins = batch["begins"][:, 1:9, 0] > 0
    assert begins.any()
    assert not before[begins].any()
    torch.testing.assert_close(before[~begins], features[:, :8, 0][~begins])


@pytest.mark.parametrize("model, number", [("liam", "model_recon_loss"), ("naive", "model_action_accuracy")])
def test_models_learn_what_opponents_do(prior, model, number):
    runner, learner = parts(prior, model, copies=64, vae_lr=5e-3, model_hidden_dim=32, epochs=1)
    for _ in range(150):
        learner.train(runner.run(), runner.t_env, 0)
    accuracy = [value for _, value in learner.logger.series("model_action_accuracy")]
    assert np.mean(accuracy[-10:]) > 0.55 > 0.15 + np.mean(accuracy[:3])
    assert learner.logger.series(number)


def test_opponents_actions_are_read_from_what_comes_after(prior):
    runner, learner = parts(prior, "naive")
    batch = runner.run()
    taken = learner.model.actions_taken(batch)
    at = learner.model.last_actions
    e = batch.ends
    assert (taken[e.copy, e.step, 0, 0] == e.obs[:, 0, at].argmax(dim=-1)).all()
    going_on = (batch["terminated"] + batch["truncated"])[:, :-1, 0] == 0
    told = batch["obs"][:, 1:, 0, at].argmax(dim=-1)
    assert (taken[..., 0, 0] == told)[going_on].all()


@pytest.mark.parametrize("words", [{}, {**CATEGORICAL, "model_tau": 0.5}], ids=["gaussian", "categorical"])
def test_a_state_dict_brings_everything_back(prior, words):
    runner, learner = parts(prior, **words)
    learner.train(runner.run(), runner.t_env, 0)
    kept = learner.state_dict()
    _, fresh = parts(prior, **words)
    fresh.load_state_dict(kept)
    batch = runner.run()
    results = []
    for each in (learner, fresh):
        torch.manual_seed(3)
        each.train(batch, runner.t_env, 0)
        results.append([p.detach().clone() for p in [*each.mac.parameters(), *each.model.parameters()]])
        batch.data.pop("condition")
        batch.data.pop("critic_condition")
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_files_bring_both_networks_back(prior, tmp_path):
    """Else the one that is told by would be drawn back to where the other one began."""
    words = {**CATEGORICAL, "model_tau": 0.5}
    runner, learner = parts(prior, **words)
    learner.train(runner.run(), runner.t_env, 0)
    learner.save_models(tmp_path)
    _, fresh = parts(prior, **words)
    fresh.load_models(tmp_path)
    for name, kept in learner.model.state_dict().items():
        assert torch.equal(fresh.model.state_dict()[name], kept), name
        assert torch.equal(fresh.student.state_dict()[name], kept), name


@pytest.mark.parametrize("bound, most", [("tanh", 1.5), ("clamp", 1.5), ("none", None)])
def test_the_cvae_keeps_the_bounds_of_the_vae(prior, bound, most):
    _, learner = parts(prior, vae_log_var_bound=bound, vae_log_var_limit=1.5)
    _, log_var = learner.model.infer(1e4 * torch.randn(50, 8))
    assert (log_var.abs().max() <= most) if most else (log_var.abs().max() > 100)


def test_what_is_missing_is_said(prior, tmp_path):
    with pytest.raises(ConfigError, match="needs mac=model_mac and a model"):
        parts(prior, None)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        parts(empty)
    with pytest.raises(ConfigError, match="no subgoal prior for this environment"):
        parts(prior, vae_latent_dim=8)


def test_reports_of_different_lengths_are_added():
    one = {"hits": torch.tensor([1.0, 2.0]), "count": torch.tensor([4.0, 4.0])}
    longer = {"hits": torch.tensor([0.0, 1.0, 3.0]), "count": torch.tensor([4.0, 4.0, 4.0])}
    assert {n: v.tolist() for n, v in added([one, {}, longer]).items()} == {"hits": [1, 3, 3], "count": [8, 8, 4]}
    assert added([{}]) == {}


@pytest.mark.parametrize(
    ("hits", "count", "steps"),
    [
        ([10, 20, 46, 50, 48], [100] * 5, 2),  # from 0.1 to 0.5: nine tenths of the way is 0.46
        ([50, 50, 50], [100] * 3, 0),
        ([10, 20, 30, 4], [100, 100, 100, 4], 2),  # the last few episodes do not count
    ],
)
def test_steps_to_adapt(hits, count, steps):
    assert steps_to_adapt(torch.tensor(hits).float(), torch.tensor(count).float()) == steps


def test_how_often_each_step_ahead_was_selected():
    shares = selected(torch.tensor([[0, 0, 2, 1]]), 4)
    assert shares.pop("omg_selected_k") == 1.75
    assert [share.item() for share in shares.values()] == [0.5, 0.25, 0.25, 0.0]
    assert list(shares) == [f"omg_selected_k/{k}" for k in range(1, 5)]


class Whole(dict):
    """Two episodes of at most six steps."""

    max_seq_length, batch_size = 7, 2


def test_a_hit_is_a_place_that_opponents_pass_in_time():
    """Two episodes of 6 steps; the subgoal decodes to the state two steps ahead: within H = 2, not within H = 1."""
    env = PoolEnv(
        make_vec_env("gymnasium", {"key": "lbforaging:Foraging-8x8-2p-3f-v3", "backend": "batched"}, 2, 0, 1),
        Pool(Path(), "gymnasium", {}, (Member("nearest", "script", "scripted", "train", script="nearest"),)),
        "train", ["agent_0"], ["actions"], 0, False,
    )  # fmt: skip
    (place, _), scheme_steps = board_of(env.info.whole).places[1], 7
    state = torch.zeros(2, scheme_steps, env.info.state_shape)
    state[0, :, place] = torch.arange(7.0)  # walks down; the other one stands where it is
    filled = torch.ones(2, 7, 1)
    filled[1, 5:] = 0  # and ends after four steps
    batch = Whole(state=state, filled=filled)
    model = SimpleNamespace(info=env.info, subjects=env.info.opponents, initial_carry=lambda n: None,
                            features=lambda b, c: state[:, :, None], condition=lambda f: f)  # fmt: skip
    ahead = SimpleNamespace(decode=lambda goals: goals.roll(-2, dims=1))
    within_2 = subgoal_hits(model, ahead, batch, 2)
    assert within_2["count"].tolist() == [2, 2, 2, 1, 1] and within_2["hits"].tolist() == [2, 2, 2, 1, 1]
    assert within_2["chance"][0] == 0  # each other's places: 0 is where the first one was, not where it goes
    within_1 = subgoal_hits(model, ahead, batch, 1)
    assert within_1["hits"].tolist()[:4] == [1, 1, 1, 1]  # only who stands still is already there


def test_each_opponent_hits_for_itself(monkeypatch):
    """Two opponents, one of which goes where it is expected: half a hit."""
    monkeypatch.setattr("omarl.learners.model_reports.opponents_places", lambda info, names: ([0, 1, 2, 3], 0.1))
    state = torch.zeros(2, 4, 4)
    state[:, :, 0], state[:, :, 2] = torch.arange(4.0), torch.arange(4.0)
    batch = Whole(state=state, filled=torch.ones(2, 4, 1))
    batch.max_seq_length = 4
    model = SimpleNamespace(info=None, subjects=(), initial_carry=lambda n: None,
                            features=lambda b, c: state[:, :, None], condition=lambda f: f)  # fmt: skip
    guess = SimpleNamespace(decode=lambda goals: goals + torch.tensor([1.0, 0.0, 0.0, 1.0]))
    assert subgoal_hits(model, guess, batch, 1)["hits"].tolist() == [1.0, 1.0, 1.0]


def outputs_in_acting(runner):
    """A rollout, and the policy's outputs at each of its steps as they were when it acted: [E, T, N, U]."""
    seen, mac = [], runner.mac
    select_action = mac.action_selector.select_action

    def recorded(outputs, *args, **kwargs):
        seen.append(outputs)
        return select_action(outputs, *args, **kwargs)

    mac.action_selector.select_action = recorded
    batch = runner.run()
    mac.action_selector.select_action = select_action
    return batch, torch.stack(seen, dim=1)


@pytest.mark.parametrize("model", ["subgoal", "liam", "naive"])
@pytest.mark.parametrize("place", ["head", "input"])
def test_the_policy_learns_from_what_it_acted_on(prior, model, place):
    runner, learner = parts(prior, model, condition_at=place)
    runner.run()
    batch, acted = outputs_in_acting(runner)
    with torch.no_grad():
        learner._believe(batch, 10**6)
        torch.testing.assert_close(learner.mac.unroll(batch)[:, :-1], acted, atol=1e-5, rtol=1e-4)
        features = learner.mac.features(batch)
        batch.data["condition"] = torch.randn_like(batch["condition"])
        told = not torch.allclose(learner.mac.features(batch), features)
    assert told == (place == "input")  # else the agents' memory knows nothing of it


def test_the_input_cannot_keep_a_goal(prior):
    with pytest.raises(ConfigError, match=r"condition_at: pqn_learner judges the next state .* take head"):
        parts(prior, base="pqn_learner", condition_at="input")


def test_places_in_a_states_stead(prior):
    """What is nearest in the codebook is told one-hot, and decodes to that place."""
    _, learner = parts(prior, **CATEGORICAL)
    assert isinstance(learner.prior, PlacePrior)
    places = torch.tensor([[0.0, 0.0], [2.0, 3.0], [7.0, 7.0], [4.0, 1.0], [6.0, 0.0]])
    learner.model.codebook.centres[0] = places
    states = torch.zeros(2, 3, learner.prior.state_dim)
    states[..., learner.prior.places] = torch.tensor([[6.0, 1.0], [3.0, 3.0], [7.0, 6.0]])
    odds, _ = learner.prior.encode(states)
    assert odds.shape == (2, 3, 5) and odds[0].argmax(dim=-1).tolist() == [4, 1, 2] and odds.sum() == 6
    decoded = learner.prior.decode(0.4 * odds + 0.1)
    assert decoded.shape == states.shape
    assert decoded[1][:, learner.prior.places].tolist() == [[6.0, 0.0], [2.0, 3.0], [7.0, 7.0]]
    assert decoded.count_nonzero() == 2 * 5  # nothing else


def test_the_codebook_is_made_once_and_of_what_opponents_do(prior):
    runner, learner = parts(prior, copies=32, **CATEGORICAL)
    learner.train(runner.run(), runner.t_env, 0)
    centres = learner.model.codebook.centres.clone()
    assert centres.min() >= 0 and centres.max() <= 7 and len(centres[0].unique(dim=0)) == 5
    learner.train(runner.run(), runner.t_env, 0)
    assert torch.equal(centres, learner.model.codebook.centres)
    assert any(name == "model.codebook.centres" for name in learner.mac.kept.state_dict())  # agent.th holds it


def test_odds_come_to_be_frequencies(prior):
    """Taught where a coin sends opponents, the model says one half; a Gaussian would say between."""
    runner, learner = parts(prior, vae_lr=1e-2, copies=64, **CATEGORICAL)
    learner.train(runner.run(), runner.t_env, 0)
    batch = runner.run()
    ends = learner.model.codebook.centres[0][[0, 3]]
    for _ in range(150):
        states = torch.zeros(64, 9, 1, learner.prior.state_dim)
        states[..., learner.prior.places] = ends[torch.randint(2, (64, 9, 1))]
        learner._update_model(batch, learner.model.actions_taken(batch), states)
    with torch.no_grad():
        odds = learner.model.condition(learner.model.features(batch, learner.mac.split_carry(batch.carry)[1]))
    assert (odds.sum(dim=-1) - 1.0).abs().max() < 1e-5
    assert odds[..., 0].mean() == pytest.approx(0.5, abs=0.05) and odds[..., 3].mean() == pytest.approx(0.5, abs=0.05)


def test_each_step_is_taught_its_own_place(prior):
    """Where the opponent is now can be seen: taught that, the model says it, of this step and of this copy."""
    runner, learner = parts(prior, vae_lr=1e-2, copies=64, model_hidden_dim=32, **CATEGORICAL)
    learner.train(runner.run(), runner.t_env, 0)

    def told_and_true(batch):
        with torch.no_grad():
            odds = learner.model.condition(learner.model.features(batch, learner.mac.split_carry(batch.carry)[1]))
        now = batch["state"][:, :-1].flatten(2)[:, :, None]
        return odds[:, :-1].argmax(dim=-1), learner.prior.codes(now)[..., 0], now

    for _ in range(80):
        batch = runner.run()
        learner._update_model(batch, learner.model.actions_taken(batch), told_and_true(batch)[2])
    told, true, _ = told_and_true(runner.run())
    assert (told == true).float().mean() > 0.8
    assert (told[:, 1:] == true[:, :-1]).float().mean() < 0.75  # it does move from place to place


def test_steps_whose_horizon_is_cut_teach_nothing(prior):
    runner, learner = parts(prior, **CATEGORICAL)
    learner.train(runner.run(), runner.t_env, 0)
    batch = runner.run()
    given, logits = [], learner.model.logits
    learner.student.logits = lambda features: given.append(len(features)) or logits(features)
    states = torch.zeros(6, 9, 1, learner.prior.state_dim)
    shown = torch.zeros(6, 9)
    shown[:, :4] = 1
    learner._update_model(batch, learner.model.actions_taken(batch), states, shown)
    assert given == [24]


@pytest.mark.parametrize("model", ["subgoal", "liam", "naive"])
def test_what_is_told_follows_what_is_trained(prior, model):
    words = CATEGORICAL if model == "subgoal" else {}
    runner, learner = parts(prior, model, model_tau=0.25, model_epochs=1, model_minibatches=1, **words)
    told = [p.detach().clone() for p in learner.model.parameters()]
    trained = [p.detach().clone() for p in learner.student.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(told, trained, strict=True))
    learner.train(runner.run(), runner.t_env, 0)
    moved = zip(told, learner.model.parameters(), learner.student.parameters(), strict=True)
    for before, now, student in moved:
        torch.testing.assert_close(now, before + 0.25 * (student - before))
    assert any(not torch.equal(a, b) for a, b in zip(told, learner.model.parameters(), strict=True))


def test_a_memory_teaches_from_earlier_rollouts(prior):
    """Four rollouts of nine steps in rows of three: 27 steps at a time, each with a horizon that is shown."""
    words = {**CATEGORICAL, "model_memory": 4, "model_window": 3, "model_epochs": 2, "omg_horizon": 4}
    runner, learner = parts(prior, copies=8, **words)
    lengths, update = [], learner._update_model

    def recorded(batch, taken, states, shown):
        lengths.append(batch.max_seq_length - 1)
        assert states.shape[:3] == (2, lengths[-1], 1) and shown.shape == (2, lengths[-1])
        update(batch, taken, states, shown)

    learner._update_model = recorded
    for _ in range(5):
        learner.train(runner.run(), runner.t_env, 0)
    assert lengths == [9] * 8 + [18] * 8 + [27] * 24
    assert learner.logger.series("omg_selected_k") and learner.logger.series("omg_kl_loss")


def test_where_opponents_are_must_be_known(prior, monkeypatch):
    monkeypatch.setattr("omarl.opponents.models.subgoal.opponents_places", lambda info, names: ([], 0.0))
    with pytest.raises(ConfigError, match="omg_latents: categorical needs a state that says where opponents are"):
        parts(prior, **CATEGORICAL)


@pytest.mark.parametrize(("model", "told"), [("subgoal", 5), ("naive", 5), ("liam", 16)])
def test_a_model_may_be_about_some_of_the_opponents(prior, model, told):
    """Simple_tag's prey alone, of three opponents: its actions, its places."""
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "backend": "batched", "max_cycles": 12}, 6, 0, 0)
    names = ("guard+clockwise", "chase+pair_any")
    pool = Pool(Path(), "p", {}, tuple(Member(n, "script", "scripted", "train", script=n) for n in names))
    env = PoolEnv(env, pool, "train", ["adversary_0"], ["actions"], 0, False)
    args = args_for(
        env.info, env_info=env.info, opponent_model=model, rollout_steps=9, model_hidden_dim=8, agent="features",
        obs_last_action=False, action_selector="softmax", t_max=1000, model_subjects="agent_*", **CATEGORICAL,
    )  # fmt: skip
    scheme, groups = make_scheme(env.info, False)
    mac = ModelMAC(scheme, groups, args)
    learner = OpponentModelLearner(mac, scheme, RecordingLogger(), args)
    runner = RolloutRunner(env, mac, scheme, groups, args)
    learner.train(runner.run(), runner.t_env, 0)
    batch = runner.run()
    assert mac.model.subjects == ("agent_0",) and mac.condition_dim == told
    taken = mac.model.actions_taken(batch)
    assert taken.shape == (6, 9, 1, 1)
    prey = batch["obs"][:, 1:, 0, mac.model.last_actions][..., 10:].argmax(dim=-1)
    going_on = (batch["terminated"] + batch["truncated"])[:, :-1, 0] == 0
    assert (taken[..., 0, 0] == prey)[going_on].all()
    if model == "subgoal":
        assert mac.model.codebook.centres.shape == (1, 5, 2)
        assert learner.prior.places == board_of(env.info.whole).places[3].tolist()
    args.model_subjects = "wolf_*"
    with pytest.raises(ConfigError, match=r"model_subjects: wolf_\* names none of adversary_1, adversary_2, agent_0"):
        ModelMAC(scheme, groups, args)
