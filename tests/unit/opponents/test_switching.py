"""Opponents that change during an episode: who takes over, when, how it begins, and what is recorded."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from time import perf_counter

import numpy as np
import pytest
import torch
from fakes import args_for, pool_of
from omarl.components.episode_batch import make_scheme
from omarl.controllers.basic_controller import BasicMAC
from omarl.envs.make import make_vec_env
from omarl.games.game import Players
from omarl.opponents.after_switch import Trace, by_steps_since, format_series, steps_since
from omarl.opponents.frozen import FrozenNetworks
from omarl.opponents.lineup import Lineup
from omarl.opponents.pool import Pool
from omarl.opponents.pool_env import PoolEnv
from omarl.opponents.results import episode_record
from omarl.opponents.switching import Switch, next_in_age, switch_of
from omarl.types import ConfigError
from omarl.utils.stateful import packed

ALONE, TOGETHER = (f"lbforaging:Foraging-8x8-2p-3f{kind}-v3" for kind in ("", "-coop"))
NAMES = ("nearest", "farthest", "west")


def foraging(
    switch, n_envs=6, in_turn=False, names=NAMES, information=("actions", "goal"), seed=0, pool=None, key=TOGETHER
):
    """The learner of ``play`` never loads, so that episodes have 25 steps, except with the key ``ALONE``."""
    env = make_vec_env("gymnasium", {"key": key, "backend": "batched", "episode_limit": 25}, n_envs, 0, seed)
    return PoolEnv(env, pool or pool_of(*names), "train", ["agent_0"], list(information), seed, in_turn, switch)


def play(env, steps, seed=0):
    """The members in all copies at each step, [steps + 1, E], and the observations after each step."""
    rng = np.random.default_rng(seed)
    env.reset()
    playing, seen = [env.lineup.playing.copy()], []
    for _ in range(steps):
        step = env.step(rng.integers(0, 5, (env.n_envs, 1)))
        seen.append(step.observation.obs.copy())
        playing.append(env.lineup.playing.copy())
    return np.array(playing), np.array(seen)


def test_without_the_key_no_opponent_changes_and_nothing_is_saved_for_it():
    env = foraging(None)
    playing, _ = play(env, 24)
    assert (playing == playing[0]).all() and type(env.lineup) is Lineup
    assert set(env.lineup.state_dict()) == {"random", "playing", "turn", "groups", "steps"}


@pytest.mark.parametrize("in_turn", [False, True])
def test_another_opponent_takes_over_after_exactly_n_steps(in_turn):
    playing, _ = play(foraging(Switch(4, 4), n_envs=40, in_turn=in_turn), 24)
    for t in range(1, 25):
        changed = playing[t] != playing[t - 1]
        assert changed.all() if t % 4 == 0 else not changed.any(), t


@pytest.mark.parametrize("in_turn", [False, True])
def test_times_between_switches_are_uniform_in_the_range_and_successors_uniform_among_the_others(in_turn):
    env = foraging(Switch(3, 6), n_envs=200, in_turn=in_turn, names=(*NAMES, "east"))
    env.lineup.begin(np.arange(200))
    waits, pairs = Counter(), Counter()
    for _ in range(200):
        age = env.lineup.age + 1
        rows, before, after = env.lineup.advance(np.ones(200, bool))
        waits.update(age[rows].tolist())
        pairs.update(zip(before.tolist(), after.tolist(), strict=True))
    total = sum(waits.values())
    assert set(waits) == {3, 4, 5, 6} and all(abs(n / total - 1 / 4) < 0.03 for n in waits.values())
    assert len(pairs) == 4 * 3 and all(abs(n / total - 1 / 12) < 0.02 for n in pairs.values())


def test_tests_have_one_schedule_whatever_the_seed_the_copies_and_the_learner():
    """The number of the test episode alone determines the members and the steps of its switches."""
    schedules = []
    for seed, n_envs in ((0, 4), (1, 4), (2, 8)):
        env = foraging(Switch(3, 9), n_envs=n_envs, in_turn=True, seed=seed, key=ALONE)
        play(env, 25 * 32 // n_envs + 25, seed)
        count, found = Counter(), {}
        for episode in env.log.finished:
            number = episode.copy + n_envs * count[episode.copy]
            count[episode.copy] += 1
            found[number] = (episode.opponent, episode.switches, episode.length)
        schedules.append(found)
    for number in range(24):
        first, switches, _ = schedules[0][number]
        assert first == number % 3
        for opponent, others, length in (each[number] for each in schedules[1:]):
            known = [switch for switch in switches if switch[0] < min(length, schedules[0][number][2])]
            assert opponent == first and list(others[: len(known)]) == known
    assert len({switches for _, switches, _ in schedules[0].values()}) > 12  # episodes differ from each other


def test_the_new_opponent_plays_as_at_the_first_step_of_an_episode_that_begins_there():
    """A foraging script chooses a new food; the goal of the former one is forgotten."""
    env = foraging(Switch(5, 5), n_envs=64, names=("first", "last"))
    rng = np.random.default_rng(1)
    env.reset()
    for t in range(1, 21):
        before = env.lineup.groups[0].goal.copy()
        env.step(rng.integers(0, 5, (64, 1)))
        if t % 5:
            continue
        (scripts,) = env.lineup.groups
        fresh = foraging(None, n_envs=64, names=("first", "last")).lineup.groups[0]
        rows = np.arange(64)
        fresh.begin(rows, env.lineup.index_of[env.lineup.playing])
        fresh.act(rows, env.lineup.index_of[env.lineup.playing], env.all_obs)
        np.testing.assert_array_equal(scripts.goal, fresh.goal)
        assert (scripts.goal != before).any(axis=(1, 2)).all()


def test_a_trained_opponent_takes_over_with_a_fresh_state_and_no_last_actions():
    """It acts as a network that has just begun; one that kept its state would act otherwise."""
    env, n_envs = foraging(Switch(3, 3), n_envs=64, names=NAMES[:2], information=("actions",)), 64
    info, rows = env.env.info, np.arange(64)
    args = args_for(info, env_info=info, obs_last_action=True)
    torch.manual_seed(0)
    macs = [BasicMAC(*make_scheme(info, False), args).requires_grad_(False) for _ in range(2)]
    env.lineup.groups = [FrozenNetworks(macs, info, [1], n_envs, 0)]
    fresh, kept = (FrozenNetworks(macs, info, [1], n_envs, 0) for _ in range(2))
    env.reset()
    for t in range(1, 7):
        kept.load_state_dict(env.lineup.groups[0].state_dict())
        env.step(np.zeros((n_envs, 1), np.int64))
        kept.remember(rows, env.actions)
        fresh.begin(rows, env.lineup.playing)
        chosen = env.actions[:, 1]
        expected, other = (each.act(rows, env.lineup.playing, env.all_obs, env.current.avail)[:, 0]
                           for each in (fresh, kept))  # fmt: skip
        assert (chosen == expected).all() if t % 3 == 0 else (chosen == other).all(), t
    assert (expected != other).any()


class Silent(Players):
    """Players that wait and whose goals are unknown."""

    changing = ()

    def act(self, rows, which, obs, avail):
        return np.zeros((len(rows), 1), np.int64)


def test_the_goal_of_a_script_is_forgotten_when_an_opponent_without_known_goals_takes_over():
    env = foraging(Switch(3, 3), n_envs=8, names=NAMES[:2], information=("goal",))
    env.lineup.groups = [*env.lineup.groups, Silent()]
    env.lineup.group_of, env.lineup.index_of = np.array([0, 1]), np.zeros(2, np.int64)
    env.reset()
    for _ in range(9):
        step = env.step(np.zeros((8, 1), np.int64))
        known = step.observation.obs[:, 0, env.info.information_slice("goal")].sum(axis=1)
        assert (known == (env.lineup.playing == 0)).all()


def test_learners_observe_the_last_actions_of_the_former_opponent_and_no_sign_of_the_switch():
    env = foraging(Switch(4, 4), information=("actions",), n_envs=16)
    where = env.info.information_slice("actions")
    env.reset()
    for _ in range(12):
        planned = env.actions[:, 1].copy()
        step = env.step(np.zeros((16, 1), np.int64))
        ongoing = ~(step.terminated | step.truncated)
        assert (step.observation.obs[ongoing, 0, where].argmax(axis=1) == planned[ongoing]).all()
        assert (step.observation.obs[ongoing, 0, where].sum(axis=1) == 1).all()


def test_the_log_has_each_switch_and_the_first_opponent_and_only_in_tests():
    env = foraging(Switch(7, 7), n_envs=3, in_turn=True, key=ALONE)
    playing, _ = play(env, 60)
    assert len(env.log.finished) > 5
    for e in env.log.finished:
        assert [step for step, _, _ in e.switches] == list(range(7, e.length, 7))
        chain = [e.opponent, *(new for _, _, new in e.switches)]
        assert [(old, new) for _, old, new in e.switches] == list(pairwise(chain))
    first = next(e for e in env.log.finished if e.copy == 0)
    assert [playing[step, 0] for step in (0, 7)] == [first.opponent, first.switches[0][2]]
    names = [env.members[i].name for i in (first.switches[0][1], first.switches[0][2])]
    assert episode_record(first, env.members)["switches"][0] == {"step": 7, "from": names[0], "to": names[1]}
    training = foraging(Switch(7, 7), n_envs=3)
    play(training, 60)
    assert not training.log.switches and not training.log.finished


@pytest.mark.parametrize("in_turn", [False, True])
def test_a_restored_environment_continues_the_same_switches(in_turn):
    switch, moves = Switch(2, 5), np.random.default_rng(3).integers(0, 6, (60, 6, 1))
    env, other = (foraging(switch, in_turn=in_turn, seed=seed, key=ALONE) for seed in (0, 9))
    env.reset()
    other.reset()
    for t in range(20):
        env.step(moves[t])
    state = packed(env.state_dict())
    other.load_state_dict(state)
    for t in range(20, 60):
        one, two = env.step(moves[t]), other.step(moves[t])
        np.testing.assert_array_equal(env.lineup.playing, other.lineup.playing)
        np.testing.assert_array_equal(one.observation.obs, two.observation.obs)


def of_run(*runs):
    """A pool of scripts that stand for checkpoints of these training runs; an empty name is no checkpoint."""
    members = [
        replace(member, name=f"m{i}", run=run)
        for i, (member, run) in enumerate(zip(pool_of(*[NAMES[0]] * len(runs)).members, runs, strict=True))
    ]
    return Pool(pool_of().folder, "gymnasium", {}, tuple(members))  # fmt: skip


def test_in_the_order_of_age_each_run_is_played_from_its_first_checkpoint_to_its_last():
    pool = of_run("a", "b", "a", "", "a", "b")
    assert next_in_age(pool.members).tolist() == [2, 5, 4, 3, 4, 5]
    for in_turn in (False, True):
        env = foraging(Switch(3, 3, "age"), n_envs=30, pool=pool, in_turn=in_turn)
        playing, _ = play(env, 12)
        courses = {tuple(dict.fromkeys(course)) for course in playing[:13].T.tolist()}
        assert courses == {(0, 2, 4), (1, 5), (3,)}
        assert (playing[0] == playing[2]).all() and (playing[2] != playing[3]).mean() > 0.4
        assert (playing[9] == playing[12]).all()  # the last checkpoint stays


@pytest.mark.parametrize("make, message", [
    (lambda: switch_of([5], "random"), r"opponents_switch: \[5\] is neither a number"),
    (lambda: switch_of([9, 5], "random"), r"opponents_switch: \[9, 5\] is neither"),
    (lambda: switch_of([0, 5], "random"), r"opponents_switch: \[0, 5\] is neither"),
    (lambda: foraging(Switch(3, 3), names=("west",)), "opponents_switch: west is the only opponent"),
    (lambda: foraging(Switch(3, 3, "age")), "opponents_switch_order: age needs two checkpoints of one run"),
    (lambda: foraging(Switch(3, 3), information=("belief",)), "opponent_information: belief assumes"),
])  # fmt: skip
def test_unusable_switches_are_refused_in_one_line(make, message):
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_keys_become_a_switch():
    assert switch_of(0, "random") is None
    assert switch_of(10, "random") == Switch(10, 10) and switch_of([5, 9], "age") == Switch(5, 9, "age")


TRACES = (
    Trace((2, 5), np.arange(6.0), np.array([1.0, 0, 1, 1]), np.ones(4)),  # since: 0 1 | 0 1 2 | 0
    Trace((), np.full(3, 10.0), np.zeros(3), np.ones(3)),
)


def test_steps_are_counted_from_the_last_change():
    since, later = steps_since(TRACES[0])
    assert since.tolist() == [0, 1, 0, 1, 2, 0] and later.tolist() == [False] * 2 + [True] * 4
    after = by_steps_since(TRACES, True)
    assert after == {"steps": [0, 1, 2], "count": [2, 1, 1], "reward": [3.5, 3.0, 4.0], "predictions": [1, 1, 0],
                     "accuracy": [1.0, 1.0, None]}  # fmt: skip
    before = by_steps_since(TRACES, False)
    assert before["count"] == [2, 2, 1] and before["reward"] == [5.0, 5.5, 10.0]
    assert before["accuracy"] == [0.5, 0.0, 0.0]
    assert by_steps_since(TRACES[1:], True) == {}


def test_the_line_has_means_over_steps_that_are_weighted_by_their_number():
    line = format_series(by_steps_since(TRACES, True))
    assert line == "reward per step (and accuracy) by steps since a switch: 0-2: 3.5 (1.00)"
    blind = Trace((2,), np.array([0.0, 0, *range(12)]), np.zeros(0), np.zeros(0))
    line = format_series(by_steps_since([blind], True))
    assert line == "reward per step by steps since a switch: 0-4: 2, 5-9: 7, 10-11: 10.5"


def test_a_step_without_a_switch_costs_no_python_per_copy():
    """The time of ``advance`` does not grow with the number of copies as a loop over them would."""
    env = foraging(Switch(10**6, 10**6), n_envs=2)
    lineup = env.lineup
    lineup.begin(np.arange(2))

    def seconds(n):
        lineup.age, lineup.wait, ongoing = np.zeros(n, np.int64), np.full(n, 10**6), np.ones(n, bool)
        begin = perf_counter()
        for _ in range(200):
            lineup.advance(ongoing)
        return perf_counter() - begin

    assert min(seconds(4096) for _ in range(3)) < 100 * min(seconds(2) for _ in range(3))
