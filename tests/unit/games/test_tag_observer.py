"""The exact belief about the next stop of prey on rounds: Bayes' rule by hand, and belief against frequency."""

import numpy as np
import pytest
from fakes import pool_of
from omarl.envs.make import make_vec_env
from omarl.games.tag.observer import SLIP, PreyObserver
from omarl.games.tag.scripts import DOWN, LEFT, NE, NW, SE, STOPS, SW, S, W, steer
from omarl.opponents.pool_env import PoolEnv
from omarl.types import ConfigError

KEY = {"key": "mpe2.simple_tag_v3", "backend": "batched"}


@pytest.fixture
def env_info():
    with make_vec_env("pettingzoo", KEY, 1, 0, 0) as env:
        yield env.info


def observation_at(place):
    obs = np.zeros((1, 4, 16), np.float32)
    obs[0, 3, 2:4] = place
    return obs


def beliefs_at(observer, place):
    return dict(zip(STOPS, observer.beliefs(observation_at(place))[0, 2].tolist(), strict=True))


def test_beliefs_equal_bayes_rule_computed_by_hand(env_info):
    """North side, south side and the stray: corners have 1/6 + 1/24 each, sides 1/24."""
    observer = PreyObserver(["guard+north_side", "centre+south_side"], env_info, [1, 2, 3], 1)
    before = beliefs_at(observer, (0.0, 0.0))
    assert before[NW] == before[SE] == pytest.approx(5 / 24) and sum(before.values()) == pytest.approx(1)
    observer.update(observation_at((0.0, 0.0)), np.array([[0, 0, LEFT]]))
    after = beliefs_at(observer, (-0.1, 0.0))  # left is the way to both western corners, and to the west
    fits, slip = 1 - SLIP + SLIP / 5, SLIP / 5
    assert after[NW] == after[SW] == pytest.approx(5 * fits / (11 * fits + 13 * slip), abs=1e-6)
    assert after[NE] == pytest.approx(5 * slip / (11 * fits + 13 * slip), abs=1e-6)
    observer.begin(np.array([0]))
    assert beliefs_at(observer, (0.0, 0.0)) == before


def test_at_a_stop_the_belief_moves_to_the_next_stops(env_info):
    observer = PreyObserver(["guard+north_side"], env_info, [1, 2, 3], 1)
    before = beliefs_at(observer, (0.0, 0.0))
    # Prey whose goal was NW has a new goal: NE on the north side, any stop as a stray.
    at_stop = beliefs_at(observer, NW)
    assert at_stop[NW] == 0.0 and at_stop[NE] == pytest.approx(before[NE] + 1 / 4 + 1 / 16 / 7)
    assert beliefs_at(observer, NW) == at_stop  # reading the beliefs again changes nothing
    observer.update(observation_at(NW), np.array([[0, 0, DOWN]]))
    down = beliefs_at(observer, NW)  # prey on the north side never goes down: a stray with one of three goals
    assert down[SW] == down[W] == down[S] > 0.32 and down[NE] < 0.03


def test_beliefs_follow_the_direction_of_a_round(env_info):
    at_stop = beliefs_at(PreyObserver(["guard+clockwise"], env_info, [1, 2, 3], 1), NW)
    assert at_stop[NE] - at_stop[SW] == pytest.approx(1 / 8)


def test_one_leg_makes_its_two_corners_the_most_likely_pair(env_info):
    """The prey has gone from NW to SE: most likely these are its two corners."""
    observer = PreyObserver(["guard+pair_corners"], env_info, [1, 2, 3], 1)
    assert len(observer.prior) == 12 + 8 and observer.prior.sum() == pytest.approx(1)  # six pairs, and the stray
    place = np.array(NW)
    for _ in range(40):
        beliefs_at(observer, place)
        action = int(steer(place[None], np.array([SE]))[0])
        observer.update(observation_at(place), np.array([[0, 0, action]]))
        if action == 0 or np.linalg.norm(place - SE) < 0.2:
            break
        place = place + 0.1 * np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)][action])
    # The pair NW-SE keeps both directions, 2/24; each other pair with SE keeps one, 1/24; a stray has 1/16 * 8/7
    at_stop, all_left = beliefs_at(observer, place), 4 / 24 + 1 / 14
    assert at_stop[NW] == pytest.approx((2 / 24 + 1 / 98) / all_left, abs=0.002)
    assert at_stop[NE] == at_stop[SW] == pytest.approx((1 / 24 + 1 / 98) / all_left, abs=0.002)


@pytest.mark.parametrize("rounds, early, late", [
    (("clockwise", "zigzag", "north_side", "diamond", "stray_corners", "stray"), 0.2, 0.6),
    (("pair_corners", "pair_any", "triple_sides", "back_corners", "quad_sides", "stray"), 0.2, 0.5),
])  # fmt: skip
def test_beliefs_equal_the_frequencies_of_goals(rounds, early, late):
    """With the correct prior, the mean belief in the true goal equals the mean of the sum of squared beliefs."""
    env = make_vec_env("pettingzoo", {**KEY, "max_cycles": 50}, 240, 0, 0)
    pool = PoolEnv(env, pool_of(*(f"guard+{name}" for name in rounds)), "train", ["adversary_0"],
                   ["goal", "belief"], 0, False)  # fmt: skip
    info, observation = pool.info, pool.reset()
    in_truth, expected = [], []
    for _ in range(100):
        obs = observation.obs[:, 0]
        goal = obs[:, info.information_slice("goal")].reshape(240, 3, 2)[:, 2]
        belief = obs[:, info.information_slice("belief")].reshape(240, 3, 8)
        assert not belief[:, :2].any()
        np.testing.assert_allclose(belief[:, 2].sum(axis=1), 1.0, rtol=1e-5)
        truth = np.abs(goal[:, None] - np.array(STOPS, np.float32)).sum(axis=2).argmin(axis=1)
        in_truth.append(belief[np.arange(240), 2, truth])
        expected.append((belief[:, 2] ** 2).sum(axis=1))
        observation = pool.step(np.zeros((240, 1), np.int64)).observation
    assert np.mean(in_truth) == pytest.approx(np.mean(expected), abs=0.02)
    assert np.mean(in_truth[0]) < early < late < np.mean(in_truth[20:49])  # beliefs sharpen within an episode


@pytest.mark.parametrize(
    "scripts, seats, cause", [(["guard+flee"], [1, 2, 3], "flee has no round"), ([], [1, 2], "the prey learns")]
)
def test_prey_without_stops_and_prey_that_learns_are_refused(env_info, scripts, seats, cause):
    with pytest.raises(ConfigError, match=f"opponent_information: belief is about prey on rounds; {cause}"):
        PreyObserver(scripts, env_info, seats, 1)
