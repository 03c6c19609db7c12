"""Several teams in one run: views of batches, episodes from rollouts, frozen teams, resumed runs, and learning."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import omarl
import pytest
import torch
from fakes import RecordingLogger, args_for, env_info
from omarl.components.episode_batch import make_scheme
from omarl.components.rollout import Ends, Rollout
from omarl.components.team_views import EpisodesOfRollouts, View
from omarl.configuration.request import from_keywords
from omarl.configuration.teams import with_teams
from omarl.controllers.team_controller import TeamMAC, check_teams, team_name
from omarl.envs.make import make_vec_env
from omarl.learners.team_learner import Replay
from omarl.replay import replay
from omarl.runners.episode_runner import EpisodeRunner
from omarl.runners.rollout_runner import RolloutRunner
from omarl.types import ConfigError
from omarl.utils.metrics import Logger
from omarl.utils.tensor_files import load_tensors

TAG = "simple_tag"
PREDATORS, PREY = "adversary_*", "agent_*"
SMALL = {"t_max": 800, "test_interval": 400, "test_nepisode": 4, "save_model_interval": 400, "batch_size_run": 8,
         "env_workers": 0, "use_tensorboard": False, "seed": 3, "learner_log_interval": 200,
         "runner_log_interval": 200}  # fmt: skip


class Steady:
    """Acts by what it observes, without random numbers."""

    sees_last_actions = False

    def __init__(self, n_agents, n_actions):
        self.n_agents, self.n_actions = n_agents, n_actions

    def initial_carry(self, n):
        return torch.zeros(n, self.n_agents, 1)

    def act(self, observation, last_actions, carry, t_env, test_mode):
        chosen = (np.abs(observation.obs).sum(axis=-1) * 97).astype(np.int64) % self.n_actions
        return torch.from_numpy(chosen), carry + 1.0


def runner_of(kind, **values):
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "episode_limit": 7}, 3, 0, 5)
    scheme, groups = make_scheme(env.info, False)
    args = args_for(env.info, **values)
    return kind(env, Steady(env.info.n_agents, env.info.n_actions), scheme, groups, args), scheme, groups


def test_episodes_of_rollouts_are_those_of_the_episode_runner():
    """Rollouts of 4 steps cut episodes of 7 steps at other places each time."""
    whole, _, _ = runner_of(EpisodeRunner)
    runner, scheme, groups = runner_of(RolloutRunner, rollout_steps=4)
    assembled = EpisodesOfRollouts(scheme, groups, 3, 7)
    found = [episodes for _ in range(6) for episodes in assembled.add(runner.run())]
    assert len(found) == 3
    for mine in found:
        theirs = whole.run()
        assert mine.batch_size == theirs.batch_size == 3
        for name, tensor in theirs.data.items():
            assert torch.equal(mine.data[name], tensor), name


def test_episodes_in_progress_are_saved_and_begin_anew_where_the_environment_does():
    runner, scheme, groups = runner_of(RolloutRunner, rollout_steps=4)
    one, other = (EpisodesOfRollouts(scheme, groups, 3, 7) for _ in range(2))
    list(one.add(runner.run()))
    other.load_state_dict(one.state_dict())
    rollout = runner.run()
    for mine, theirs in zip(one.add(rollout), other.add(rollout), strict=True):
        assert all(torch.equal(mine.data[name], theirs.data[name]) for name in mine.data)
    runner.begin()  # a resumed run whose episodes could not be continued
    runner.observation = None
    (again,) = [batch for _ in range(2) for batch in one.add(runner.run())]
    assert again["filled"].sum(dim=1).flatten().tolist() == [8, 8, 8]


def test_a_short_episode_is_padded_with_zeros_to_a_longer_one_that_ends_with_it():
    """Copy 0 has episodes of 2 and 1 steps, copy 1 one of 3; the short one comes after a longer one in its row."""
    scheme, groups = make_scheme(env_info(), False)
    full = {
        "state": (4,),
        "obs": (2, 3),
        "actions": (2, 1),
        "avail_actions": (2, 2),
        "agent_mask": (2,),
        "reward": (2,),
    }
    data = {name: torch.ones(2, 4, *shape, dtype=scheme[name]["dtype"]) for name, shape in full.items()}
    flags = {name: torch.zeros(2, 4, 1, dtype=torch.uint8) for name in ("terminated", "truncated", "begins")}
    flags["terminated"][0, [1, 2]] = flags["terminated"][1, 2] = 1
    flags["filled"] = torch.ones(2, 4, 1, dtype=torch.uint8)
    flags["begins"][:, 0] = flags["begins"][0, 2] = 1
    copy, step = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
    observed = ("obs", "state", "avail_actions", "agent_mask")
    last = [torch.full((3, *full[name]), 5, dtype=scheme[name]["dtype"]) for name in observed]
    ends = Ends(copy, step, *last, torch.zeros(3, 2, 2), torch.zeros(3, 1))
    rollout = Rollout(scheme, groups, {**data, **flags}, torch.zeros(2, 1), torch.zeros(2, 2, 2), ends)
    first, second = EpisodesOfRollouts(scheme, groups, 2, 5).add(rollout)
    assert first["filled"].flatten().tolist() == [1, 1, 1]
    assert second["filled"].squeeze(-1).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert second["obs"][:, :, 0, 0].tolist() == [[1, 5, 0, 0], [1, 1, 1, 5]]
    assert second["actions"][:, :, 0, 0].tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
    assert second["reward"][:, :, 0].tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
    assert second["terminated"].squeeze(-1).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]


def test_a_view_has_the_teams_agents_and_their_rewards():
    runner, _, _ = runner_of(RolloutRunner, rollout_steps=9)
    batch = runner.run()
    info = runner.env.info
    for agents, common in (([0, 2], ""), ([0, 2], "sum"), ([3], "")):
        view = View(agents, *make_scheme(info, bool(common)), common)
        own = view.rollout(batch, torch.zeros(3, len(agents), 4), torch.zeros(3, len(agents), 4))
        assert torch.equal(own["obs"], batch["obs"][:, :, agents])
        assert torch.equal(own["actions"], batch["actions"][:, :, agents])
        reward = batch["reward"][:, :, agents]
        assert torch.equal(own["reward"], reward.sum(dim=2, keepdim=True) if common else reward)
        assert torch.equal(own.ends.obs, batch.ends.obs[:, agents]) and torch.equal(own["state"], batch["state"])


@pytest.mark.parametrize("pattern, name", [("adversary_*", "adversary"), ("agent_0", "agent_0"), ("*", "all")])
def test_a_team_is_named_after_its_pattern(pattern, name):
    assert team_name(pattern) == name


@pytest.mark.parametrize("teams, message", [
    ({}, "teams: name the teams of adversary_0, "),
    ({"adversary_*": 0}, "teams: agent_0 is in none of adversary_"),
    ({"*": 0, "agent_*": 0}, "teams: agent_0 is in the teams "),
    ({"*_*": 0, "x_*": 0}, "teams: x_. names none of adversary_0"),
    ({"*_0": 0, "*_0*": 0}, "adversary_0 is in the teams"),
])  # fmt: skip
def test_every_agent_is_in_one_team(teams, message):
    info = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3"}, 1, 0, 0).info
    with pytest.raises(ConfigError, match=message):
        check_teams(teams, info)


def test_a_replay_team_makes_one_update_in_each_interval():
    class Filled:
        n_episodes = 4

    replay = Replay.__new__(Replay)
    replay.batch_size, replay.interval, replay.next_update, replay.buffer = 4, 25, None, Filled()
    replay.episodes = type("None_", (), {"add": lambda self, rollout: ()})()
    due = [replay.add(None, t_env) for t_env in range(200, 1000, 200)]
    assert due == [1, 8, 8, 8]  # as the loop: at steps 200, 225, ...


def trained(path, teams, **keys):
    return omarl.train("teams", env=TAG, path=path, teams=teams, **{**SMALL, **keys})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """PPO predators against Q-learning prey."""
    folder = tmp_path_factory.mktemp("teams")
    (folder / "iql.yaml").write_text("extends: iql\nbatch_size: 4\nhidden_dim: 8\n")
    (folder / "ippo.yaml").write_text("extends: ippo\nhidden_dim: 8\nlr_anneal: False\n")
    teams = {PREDATORS: str(folder / "ippo.yaml"), PREY: str(folder / "iql.yaml")}
    return trained(folder / "run", teams), teams


def test_each_team_learns_by_its_own_algorithm(run):
    metrics = run[0].metrics
    assert {"adversary/entropy", "adversary/value_loss", "agent/td_error_abs", "agent/epsilon"} <= set(metrics)
    assert not {"agent/entropy", "adversary/td_error_abs", "loss"} & set(metrics)
    each = sum(metrics[f"test_return_mean/adversary_{i}"].values[-1] for i in range(3))
    assert metrics["test_adversary/return_mean"].values[-1] == pytest.approx(each)
    assert metrics["test_agent/return_mean"].values[-1] == pytest.approx(
        metrics["test_return_mean/agent_0"].values[-1]
    )


def test_a_run_of_teams_can_be_tested_replayed_and_loaded(run, tmp_path):
    result = omarl.evaluate(run[0], episodes=4)
    assert {"test_adversary/return_mean", "test_agent/return_mean"} <= set(result.values)
    asked = from_keywords({"checkpoint_path": run[0].path, "seed": 1}, command="replay").values
    assert replay({**asked, "out": str(tmp_path / "film"), "opponent": ""}, Logger(logging.getLogger("test")))
    assert set(omarl.load(run[0]).agents) == {"adversary_0", "adversary_1", "adversary_2", "agent_0"}


def test_a_resumed_run_of_teams_is_the_uninterrupted_one(run, tmp_path):
    half = trained(tmp_path / "half", run[1], t_max=400)
    omarl.resume(half, t_max=800)
    one, other = ([{k: v for k, v in json.loads(line).items() if k not in ("wall_s", "steps_per_second")}
                   for line in (path / "metrics.jsonl").read_text().splitlines()]
                  for path in (run[0].path, half.path))  # fmt: skip
    assert [line["t_env"] for line in one][-1] == 800
    assert one[-1] == other[-1]
    for name in ("adversary/agent.th", "agent/agent.th", "agent/opt.th"):
        mine, theirs = (load_tensors(path / "checkpoints" / "800" / name) for path in (run[0].path, half.path))
        assert repr(mine) == repr(theirs), name


def weights(run, team, step="800"):
    return load_tensors(run.path / "checkpoints" / step / team / "agent.th")


def test_an_opponent_model_cannot_train_a_team(tmp_path):
    with pytest.raises(ConfigError, match="mac of a team: unknown name 'model_mac'"):
        trained(tmp_path / "run", {PREDATORS: "liam", PREY: "iql"})


@pytest.mark.parametrize("pattern, learns", [(PREY, PREDATORS), (PREDATORS, PREY)])
def test_a_team_can_be_frozen_from_a_checkpoint_of_teams(run, tmp_path, pattern, learns):
    frozen = trained(tmp_path / "frozen", {learns: run[1][learns], pattern: str(run[0].path)})
    before, after = weights(run[0], team_name(pattern)), weights(frozen, team_name(pattern))
    assert all(torch.equal(before[name], after[name]) for name in before)
    changed = weights(run[0], team_name(learns)), weights(frozen, team_name(learns))
    assert not all(torch.equal(changed[0][name], changed[1][name]) for name in changed[0])
    assert not [name for name in frozen.metrics if name.startswith(f"{team_name(pattern)}/")]
    shutil.copytree(frozen.path, tmp_path / "moved")  # a checkpoint contains its frozen team
    shutil.rmtree(frozen.path)
    assert omarl.evaluate(tmp_path / "moved", episodes=4).values


def test_a_team_can_be_frozen_from_a_run_that_trained_all_agents(run, tmp_path):
    """It chooses what the controller of all agents chooses."""
    whole = omarl.train("iql", env=TAG, path=tmp_path / "whole", **{**SMALL, "batch_size": 4, "hidden_dim": 8})
    values = {"trust": False, "env_args": whole.config["env_args"], "env": "pettingzoo", "checkpoint_path": ""}
    values = with_teams({**values, "teams": {PREDATORS: run[1][PREDATORS], PREY: str(whole.path)}})
    env = make_vec_env("pettingzoo", values["env_args"], 5, 0, 0)
    scheme, groups = make_scheme(env.info, False)
    keys = {name: value for name, value in values.items() if name != "env"}
    mac = TeamMAC(scheme, groups, args_for(env.info, **keys, env_info=env.info))
    observation, carry = env.reset(), mac.initial_carry(5)
    predators, prey = mac.split_carry(carry)
    zeros = torch.zeros(5, 4, 5)
    chosen, _ = mac.act(observation, zeros, carry, 0, True)
    alone, _ = mac.teams[1].mac.act(observation, zeros, prey, 10**6, True)
    assert predators.shape[1] == 3 and prey.shape[1] == 4
    assert torch.equal(chosen[:, 3], alone[:, 3])
    stored = load_tensors(next((whole.path / "checkpoints").glob("8*")) / "agent.th")
    assert all(torch.equal(value, stored[name]) for name, value in mac.teams[1].mac.kept.state_dict().items())


@pytest.mark.parametrize("pattern, other", [(PREY, PREDATORS), (PREDATORS, PREY)])
def test_a_hosts_learner_trains_one_team(tmp_path, caplog, pattern, other):
    caplog.set_level(logging.INFO, "omarl")
    (tmp_path / "host.yaml").write_text(
        "extends: iql\nname: host\nlearner: tests.outside:CountingLearner\nmac: tests.outside:MemoryMAC\n"
        "my_scale: 2.0\nbatch_size: 4\n"
    )
    teams = {other: "ippo", pattern: str(tmp_path / "host.yaml")}
    found = trained(tmp_path / "run", teams, test_interval=0)
    name = team_name(pattern)
    assert f"{name}/counted_reward" in found.metrics and f"{team_name(other)}/entropy" in found.metrics
    unsaved = f"the learner's state of team {name} (CountingLearner has no state_dict)"
    lines = [record.getMessage() for record in caplog.records]
    assert f"a resumed run will not continue exactly: without {unsaved}" in lines
    manifest = json.loads((found.path / "checkpoints" / "800" / "checkpoint.json").read_text())
    assert unsaved in manifest["left_out"]


@pytest.mark.parametrize("given, message", [
    ("ippoo", "no such configuration; did you mean 'ippo'"),
    ("tests", "teams: tests holds no checkpoint"),
    (3, "teams: agent_.: 3 is neither an algorithm nor"),
])  # fmt: skip
def test_wrong_teams_are_named(given, message):
    with pytest.raises(ConfigError, match=message):
        with_teams({"env_args": {"key": "x"}, "env": "pettingzoo", "teams": {PREY: given}})


def test_a_checkpoint_of_another_environment_or_without_the_team_is_refused(run):
    asked = {"env": "pettingzoo", "env_args": {"key": "mpe2.simple_spread_v3"}, "teams": {PREY: str(run[0].path)}}
    with pytest.raises(ConfigError, match=r"was trained in mpe2\.simple_tag_v3, and this run is in mpe2\.sim"):
        with_teams(asked)
    asked = {"env": "pettingzoo", "env_args": {"key": "mpe2.simple_tag_v3"}, "teams": {"*_0": str(run[0].path)}}
    with pytest.raises(ConfigError, match=r"has the teams adversary_\*, agent_\*, not \*_0"):
        with_teams(asked)


def test_classes_that_only_a_checkpoint_names_are_not_imported(run, tmp_path):
    folder = next(Path(run[0].path, "checkpoints").glob("800"))
    config = json.loads((folder / "config.json").read_text())
    config["teams"][PREY]["config"]["learner"] = "subprocess:Popen"
    info = make_vec_env("pettingzoo", config["env_args"], 1, 0, 0).info
    keys = {name: config[name] for name in ("teams", "trust", "checkpoint_path")}
    with pytest.raises(ConfigError, match=r"learner: teams: agent_. names subprocess:Popen; to import it, add tr"):
        TeamMAC(*make_scheme(info, False), args_for(info, **keys, env_info=info))


def test_a_shell_gives_teams_without_quotes():
    values = from_keywords({"teams": "{adversary_*: ippo, agent_*: results/x/1}"}, "teams", TAG).values
    assert values["teams"] == {"adversary_*": "ippo", "agent_*": "results/x/1"}


def test_both_teams_learn(tmp_path):
    """Each walker gets 1 on the rightmost cell: 8 at most from the start, below 1 at random."""
    teams = {"walker_0": "ippo", "walker_1": "iql"}
    keys = {"t_max": 9600, "test_interval": 4800, "test_nepisode": 16, "batch_size_run": 16, "gamma": 0.9}
    found = omarl.train("teams", env="tests.outside:Corridor", path=tmp_path / "run", teams=teams,
                        **{**SMALL, **keys, "save_model": False})  # fmt: skip
    for name in ("walker_0", "walker_1"):
        returns = found.metrics[f"test_{name}/return_mean"].values
        assert returns[-1] > 4.0, (name, returns)


def test_the_logger_of_a_team_names_it():
    from omarl.learners.team_learner import Prefixed

    logger = RecordingLogger()
    Prefixed(logger, "agent").log_stat("loss", 1.5, 20)
    assert logger.rows == [("agent/loss", 1.5, 20)]
