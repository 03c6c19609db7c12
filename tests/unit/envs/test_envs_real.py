"""Real environments: parity with their packages, and handling of their known faults."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_envs
from omarl.envs.factories import make_gymnasium, make_pettingzoo
from omarl.envs.one_copy import episode_seeds
from omarl.envs.turns import Cycle, lean
from omarl.types import ConfigError, EnvError

TAG = {"key": "mpe2.simple_tag_v3"}


def test_arrays_equal_the_dicts_of_simple_tag(make: Any, play: Any) -> None:
    """Five episodes with resets between them, including the rewards of last steps, which some wrappers lose."""
    toy_envs.recorders.clear()
    log = play(make("recorded_tag", max_cycles=12, num_good=3, num_adversaries=9), 60)
    raw = toy_envs.recorders[1]  # the first one only gave its spaces
    assert len(raw.seeds) == len(set(raw.seeds)) == 6  # every episode has its own seed
    frames = [(log[0][:4], None)]
    for row in log[1:]:
        frames.append((row[:4], row[8:]))
        if row[9][0] or row[10][0]:
            frames.append((row[4:8], None))
    last_rewards = 0.0
    for (frame, ending), (obs, rewards, ends, cuts, state) in zip(frames, raw.log, strict=True):
        for i, agent in enumerate(raw.possible_agents):
            size = len(obs[agent])
            assert np.array_equal(frame[0][0, i, :size], obs[agent]) and not frame[0][0, i, size:].any()
        assert np.array_equal(frame[1][0], state.astype(np.float32))
        if ending is not None:
            expected = np.array([rewards[agent] for agent in raw.possible_agents], np.float32)
            assert np.array_equal(ending[0][0], expected)
            assert ending[1][0] == all(ends.values()) and ending[2][0] == all(cuts.values())
            last_rewards += abs(expected).sum() if ending[2][0] else 0
    assert last_rewards > 0


@pytest.mark.parametrize(
    ("key", "kwargs", "steps"),
    [
        ("mpe2.simple_tag_v3", {}, 30),
        ("mpe2.simple_speaker_listener_v4", {}, 30),
        ("sisl/pursuit-v5", {"max_cycles": 10}, 12),
        ("butterfly/knights_archers_zombies-v11", {"spawn_delay": 2, "line_death": True}, 150),
    ],
)
def test_the_lean_cycle_equals_pettingzoos_wrapper(key: str, kwargs: Any, steps: int) -> None:
    theirs, ours = make_pettingzoo(key, **kwargs), lean(make_pettingzoo(key, **kwargs))
    assert isinstance(ours, Cycle) and ours.possible_agents == theirs.possible_agents
    rng = np.random.default_rng(0)
    seed: int | None = 7
    for _ in range(steps):
        if seed is not None:
            one, other = theirs.reset(seed=seed)[0], ours.reset(seed=seed)[0]
            np.testing.assert_equal(one, other)
        actions = {a: int(rng.integers(theirs.action_space(a).n)) for a in theirs.agents}
        one, other = theirs.step(dict(actions)), ours.step(dict(actions))
        np.testing.assert_equal([*one[:1], dict(one[1]), *one[2:]], list(other))
        assert theirs.agents == ours.agents
        assert np.array_equal(theirs.state(), ours.state())
        seed = None if theirs.agents else 8


@pytest.mark.parametrize("key", ["simple_tag_v3", "simple_speaker_listener_v4", "simple_spread_v3"])
def test_particle_environments(make: Any, play: Any, key: str) -> None:
    env = make("pettingzoo", key=f"mpe2.{key}", n_envs=2)
    info = env.info
    assert info.key == f"mpe2.{key}" and info.episode_limit == 25
    if key == "simple_tag_v3":
        assert info.obs_sizes == (16, 16, 16, 14) and info.state_shape == 62
        assert info.agent_types == ("adversary",) * 3 + ("agent",)
    if key == "simple_speaker_listener_v4":
        assert info.action_sizes == (3, 5) and info.agent_types == ("speaker", "listener")
    log = play(env, 25)
    assert not any(row[9].any() for row in log[1:])
    assert [bool(row[10].all()) for row in log[1:]] == [False] * 24 + [True]
    assert np.abs(log[-1][1]).sum() > 0  # the state of a finished game is observed


def test_mpe_terminates_when_the_prey_is_caught(make: Any) -> None:
    """A prey that does not move is caught in every episode: a termination, not a truncation."""
    env = make("pettingzoo", **TAG, n_envs=4, terminate_on_success=True, num_obstacles=0, max_cycles=200)
    obs = env.reset().obs
    caught = 0
    while caught < 8:
        way = obs[:, :3, 8:10]  # [E, adversaries, 2]: from each to the prey
        across = np.abs(way[..., 0]) > np.abs(way[..., 1])
        chase = np.where(across, 1 + (way[..., 0] > 0), 3 + (way[..., 1] > 0))
        step = env.step(np.pad(chase, ((0, 0), (0, 1))))
        assert not step.truncated.any()
        assert step.final.obs.any(-1).all() and step.final.state.any(-1).all()
        caught += int(step.terminated.sum())
        obs = step.observation.obs


@pytest.mark.parametrize("key", ["pettingzoo.sisl.pursuit_v5", "sisl/pursuit-v5", "sisl/pursuit_v5"])
def test_pursuit_by_each_of_its_names_and_without_warnings(make: Any, play: Any, key: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make("pettingzoo", key=key, max_cycles=6)
    assert env.info.obs_shape == 7 * 7 * 3 and env.info.state_shape == 16 * 16 * 3
    log = play(env, 6)
    assert log[-1][10].all() and log[-1][8].any()


def test_knights_and_archers_die_mid_episode(make: Any, play: Any) -> None:
    env = make("pettingzoo", key="butterfly/knights_archers_zombies-v11", spawn_delay=2, line_death=True)
    died = 0
    for before, row in zip(log := play(env, 150), log[1:], strict=False):
        obs, _, avail, mask, reward = *row[:4], row[8]
        alive_before = before[7] if len(before) > 4 else before[3]
        assert not obs[mask == 0].any() and (avail[mask == 0].sum(-1) == 1).all()
        assert not reward[alive_before == 0].any()
        ended = row[9] | row[10]
        died += int(((alive_before > mask) & ~ended[:, None]).sum())
    assert died


def test_rock_paper_scissors_both_ways(make: Any, play: Any) -> None:
    """Integer observations, and a ``state`` that is a dict."""
    parallel = make("pettingzoo", key="classic/rps-v2")
    assert parallel.info.obs_sizes == (4, 4) and parallel.info.state_shape == 8
    step = (parallel.reset(), parallel.step(np.array([[0, 1]])))[1]
    assert step.reward.tolist() == [[-1, 1]] and step.final.obs[0].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    log = play(parallel, 15)
    assert log[-1][10].all() and not log[-1][9].any()


def test_tictactoe_is_played_in_turns_under_masks(make: Any) -> None:
    env = make("pettingzoo", key="pettingzoo.classic.tictactoe_v3", episode_limit=9)
    observation = env.reset()
    assert env.info.obs_shape == 18 and env.info.agents == ("player_1", "player_2")
    for turn, square in enumerate([0, 3, 1, 4, 2]):
        assert observation.avail[0].sum(-1).tolist() == ([9 - turn, 1] if turn % 2 == 0 else [1, 9 - turn])
        step = env.step(np.full((1, 2), square))
        observation = step.observation
    assert step.terminated[0] and step.reward.tolist() == [[1, -1]]
    assert step.final.obs[0, 0].sum() == 5 and not observation.obs.any()


@pytest.mark.parametrize(("name", "longest"), [("tictactoe", 9), ("connect_four", 42), ("go", 1500), ("chess", 2000)])
def test_classic_games_need_only_their_key(make: Any, name: str, longest: int) -> None:
    if name == "chess":
        pytest.importorskip("chess")
    env = make("pettingzoo", key=f"classic/{name}")
    assert env.info.interface.startswith("AECEnv") and env.info.key.startswith(f"classic/{name}-v")
    assert 0 < env.info.episode_limit <= 4 * longest


def test_a_key_without_a_version_is_that_of_the_newest_version(make: Any) -> None:
    assert make("pettingzoo", key="mpe2.simple_spread", max_cycles=3).info.key == "mpe2.simple_spread_v3"


def test_a_key_names_a_module_of_the_working_directory(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_worlds").mkdir()
    (tmp_path / "own_worlds" / "world_v2.py").write_text("from toy_envs import Toy as parallel_env\n")
    assert make("pettingzoo", key="own_worlds.world").info.key == "own_worlds.world_v2"
    assert make("gymnasium", key="own_worlds.world_v2:parallel_env").info.interface == "ParallelEnv"


def test_a_package_that_raises_when_it_is_imported_gives_one_line(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "raising_worlds").mkdir()
    (tmp_path / "raising_worlds" / "__init__.py").write_text("raise RuntimeError('no licence')\n")
    with pytest.raises(EnvError, match=r"importing raising_worlds.world fails: RuntimeError: no licence"):
        make("pettingzoo", key="raising_worlds.world")


def test_a_package_that_lacks_a_part_of_itself_is_not_said_to_be_missing(
    make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "partial_worlds").mkdir()
    (tmp_path / "partial_worlds" / "__init__.py").write_text("from partial_worlds.render import draw\n")
    lacks = r"importing partial_worlds fails: the installed partial_worlds has no module 'partial_worlds.render'"
    with pytest.raises(ConfigError, match=lacks):
        make("pettingzoo", key="partial_worlds:World")


@pytest.mark.parametrize("name", ["Toy", "Turns", "recorded_tag"])
def test_a_key_may_name_a_class_or_a_function(make: Any, name: str) -> None:
    info = make("gymnasium", key=f"toy_envs:{name}", max_cycles=5).info
    assert info.key == f"toy_envs:{name}" and info.interface.startswith(("Parallel", "AEC"))


@pytest.mark.parametrize(("env_args", "limit"), [({}, 50), ({"max_episode_steps": 30}, 30)])
def test_foraging_terminates_on_an_empty_field_and_is_truncated_otherwise(
    make: Any, play: Any, env_args: Any, limit: int
) -> None:
    """lbforaging reports "done" at its own limit; gymnasium's limit reports "truncated"."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make("gymnasium", key="lbforaging:Foraging-5x5-2p-1f-v3", n_envs=4, **env_args)
        log = play(env, 150)
    assert env.info.episode_limit == limit and env.info.agent_types == ("agent", "agent")
    steps = np.zeros(4, int)
    terminated = truncated = 0
    for row in log[1:]:
        steps += 1
        # The first food's level in the last observation: none is left on an empty field.
        assert (row[9] == (row[0][:, 0, 2] == 0)).all()
        assert (row[10] == ((steps == limit) & ~row[9])).all()
        terminated, truncated = terminated + row[9].sum(), truncated + row[10].sum()
        steps[row[9] | row[10]] = 0
    assert terminated and truncated


def test_a_field_emptied_on_the_last_step_is_a_termination(make: Any) -> None:
    env = make("gymnasium", key="lbforaging:Foraging-5x5-2p-1f-v3")
    env.reset()
    game = env._backend._copies[0]._adapter.env.unwrapped
    game.field[:] = 0
    game.current_step = 49
    step = env.step(np.zeros((1, 2), np.int64))
    assert step.terminated[0] and not step.truncated[0]


@pytest.mark.parametrize("base_seed", [0, 2, 3])
def test_foraging_parity_with_the_raw_environment(make: Any, base_seed: int) -> None:
    """Exact: lbforaging takes loading players from a set, but keeps its foods so far apart that no player
    reaches two, so that the order makes no difference (0 exceptions had to be allowed).

    Its reset keeps new players off the places of the last episode's, which the adapter prevents: the raw environment
    is a new one in each episode.
    """
    env = make("gymnasium", key="lbforaging:Foraging-5x5-3p-1f-v3", seed=base_seed)

    def begun(episode: int) -> tuple[Any, np.ndarray]:
        raw = make_gymnasium("lbforaging:Foraging-5x5-3p-1f-v3")
        return raw, np.stack(raw.reset(seed=episode_seeds(base_seed, 0, episode).env)[0])

    episode = 1
    raw, first = begun(episode)
    assert np.array_equal(env.reset().obs[0], first)
    rng = np.random.default_rng(1)
    total = 0.0
    for _ in range(2000):
        actions = rng.choice(6, 3, p=[0.1, 0.1, 0.1, 0.1, 0.1, 0.5])
        step = env.step(actions[None])
        observations, rewards, done, _, _ = raw.step(tuple(int(a) for a in actions))
        assert np.array_equal(step.final.obs[0], np.stack(observations))
        assert np.array_equal(step.reward[0], np.array(rewards, np.float32))
        assert (step.terminated | step.truncated)[0] == done
        total += sum(rewards)
        if done:
            episode += 1
            raw, first = begun(episode)
            assert np.array_equal(step.observation.obs[0], first)
    assert total > 0


@pytest.mark.parametrize(
    ("backend", "env_args", "message"),
    [
        ("pettingzoo", {}, r"env_args\.key is missing"),
        ("gymnasium", {}, r"env_args\.key is missing"),
        ("pettingzoo", {"key": "pettingzoo.mpe.simple_tag_v3"}, r"use mpe2\.simple_tag_v3"),
        ("pettingzoo", {"key": "mpe/simple_tag-v3"}, r"use mpe2\.simple_tag_v3"),
        ("pettingzoo", {"key": "mpe2.simple_tagg_v3"}, r"did you mean 'mpe2\.simple_tag_v3'"),
        ("pettingzoo", {"key": "sisl/pursuitt-v5"}, r"did you mean 'sisl/pursuit-v5'"),
        ("pettingzoo", {"key": "pettingzoo.sisl.pursuit_v4"}, r"did you mean 'sisl/pursuit-v5'"),
        ("pettingzoo", {"key": "no_such_package.thing_v1"}, "pip install no_such_package"),
        ("pettingzoo", {"key": "simple_spread"}, r"no module 'simple_spread'; did you mean 'mpe2\.simple_spread_v3'"),
        ("pettingzoo", {"key": "mpe2.all_modules"}, "neither parallel_env nor env"),
        ("pettingzoo", {**TAG, "num_goods": 2}, r"env_args\.num_goods is unknown.*num_good,"),
        ("pettingzoo", {"key": "classic/rps-v2", "moves": 2}, r"env_args\.moves is unknown.*num_actions"),
        ("gymnasium", {"key": "no_such_package:Thing-v1"}, "pip install no_such_package"),
        ("gymnasium", {"key": "lbforaging:Foraging-8x8-2p-3ff-v3"}, r"did you mean 'Foraging-8x8-2p-3f-v3'"),
        (
            "gymnasium",
            {"key": "lbforaging:Foraging-8x8-2p-3f-v3", "sights": 2},
            r"env_args\.sights is unknown.*sight\)",
        ),
        ("gymnasium", {"key": "CartPole-v1"}, "Tuples of one space for each agent"),
        ("pettingzoo", {"key": "toy_envs:Toyy"}, "gymnasium has no environment 'toy_envs:Toyy'"),
    ],
)
def test_errors_are_one_line_that_names_the_key(make: Any, backend: str, env_args: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make(backend, **env_args)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("absent", "key", "message"),
    [
        ("mpe2", "mpe2.simple_tag_v3", "pip install mpe2"),
        ("pygame", "sisl/pursuit-v5", r"pip install pygame-ce or 'pettingzoo\[sisl\]'"),
        ("lbforaging", "lbforaging:Foraging-8x8-2p-3f-v3", "pip install lbforaging"),
        ("shimmy", "classic/hanabi-v5", r": pip install shimmy or 'pettingzoo\[classic\]'$"),
        ("chess", "classic/chess-v6", r"pip install 'pettingzoo\[classic\]'$"),
    ],
)
def test_a_missing_package_is_an_error_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch, absent: str, key: str, message: str
) -> None:
    import sys

    for name in [n for n in sys.modules if n.partition(".")[0] == absent or "pursuit" in n]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ConfigError, match=message):
        (make_gymnasium if ":" in key else make_pettingzoo)(key)
