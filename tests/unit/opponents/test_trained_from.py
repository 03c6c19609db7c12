"""Trained opponents that play only after some steps of training (``trained_opponents_from``)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import args_for, pool_of
from omarl.components.episode_batch import make_scheme
from omarl.controllers.basic_controller import BasicMAC
from omarl.envs.make import make_vec_env
from omarl.opponents import lineup
from omarl.opponents.pool import Member, Pool
from omarl.opponents.pool_env import PoolEnv
from omarl.run import RunConfig, check_keys
from omarl.types import ConfigError

KEY = "lbforaging:Foraging-8x8-2p-3f-v3"
E, STEPS = 40, 5  # copies, steps of an episode
TRAINED = 2  # the index of the trained member


@pytest.fixture
def make(monkeypatch):
    """Environments with two scripts and a trained member."""
    env = make_vec_env("gymnasium", {"key": KEY, "backend": "batched", "episode_limit": STEPS}, E, 0, 0)
    torch.manual_seed(0)
    mac = BasicMAC(*make_scheme(env.info, False), args_for(env.info, env_info=env.info)).requires_grad_(False)
    monkeypatch.setattr(lineup, "load_controller", lambda *given: mac)
    member = Member("iql_1", "iql", "checkpoint", "train", file="iql_1/agent.th")
    pool = Pool(Path("own"), "gymnasium", {}, (*pool_of("nearest", "west").members, member))

    def made(trained_from, in_turn=False, seed=0, only_trained=False):
        env = make_vec_env("gymnasium", {"key": KEY, "backend": "batched", "episode_limit": STEPS}, E, 0, seed)
        chosen = Pool(pool.folder, "gymnasium", {}, (member,)) if only_trained else pool
        return PoolEnv(env, chosen, "train", ["agent_0"], ["actions"], seed, in_turn, trained_from=trained_from)

    return made


def played(env, steps):
    """The members that play in each copy before each of some steps, [steps, E]."""
    found = []
    for _ in range(steps):
        found.append(env.playing.copy())
        env.step(np.zeros((E, 1), np.int64))
    return np.array(found)


def test_scripts_play_the_episodes_that_begin_before_the_step_and_all_members_those_after_it(make):
    env = make(2 * STEPS * E)
    env.reset()
    playing = played(env, 6 * STEPS)
    assert (playing[: 2 * STEPS] != TRAINED).all()
    assert {*np.unique(playing[: 2 * STEPS])} == {0, 1}
    later = (playing[2 * STEPS :: STEPS] == TRAINED).mean()
    assert later == pytest.approx(1 / 3, abs=4 * (2 / 9 / (4 * E)) ** 0.5)


def test_an_episode_that_a_script_began_is_not_taken_over(make):
    env = make(2 * E)
    env.reset()
    playing = played(env, 2 * STEPS)
    assert (playing[:STEPS] == playing[0]).all()
    assert (playing[STEPS] == TRAINED).any()


def test_without_it_all_members_play_from_the_first_step(make):
    env = make(0)
    env.reset()
    assert (env.playing == TRAINED).any()


def test_members_that_play_in_turn_do_so_from_the_first_step(make):
    env = make(10**9, in_turn=True)
    env.reset()
    np.testing.assert_array_equal(env.playing, np.arange(E) % 3)


def test_a_restored_environment_goes_on_counting(make):
    env, other = make(2 * STEPS * E), make(2 * STEPS * E, seed=7)
    env.reset()
    other.reset()
    played(env, STEPS)
    other.load_state_dict(env.state_dict())
    np.testing.assert_array_equal(played(env, 3 * STEPS), played(other, 3 * STEPS))
    assert env.lineup.steps == 4 * STEPS * E


def test_the_state_of_an_older_version_has_no_steps(make):
    env = make(0)
    env.reset()
    state = env.state_dict()
    del state["lineup"]["steps"]
    make(0, seed=3).load_state_dict(state)


def test_a_pool_without_scripts_is_refused(make):
    with pytest.raises(ConfigError, match=r"^trained_opponents_from: own has no scripts that could play before"):
        make(10, only_trained=True)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "^trained_opponents_from: there are no opponents; give pool=FOLDER"),
        ({"pool": "own", "opponents_switch": 5}, "^trained_opponents_from: not together with opponents_switch"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        check_keys(RunConfig(trained_opponents_from=10, **keys))
