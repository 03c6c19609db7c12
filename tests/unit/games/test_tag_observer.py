"""What a perfect observer believes of prey on rounds: Bayes' rule by hand, and belief against frequency."""

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
def whole():
    with make_vec_env("pettingzoo", KEY, 1, 0, 0) as env:
        yield env.info


def seen(place):
    obs = np.zeros((1, 4, 16), np.float32)
    obs[0, 3, 2:4] = place
    return obs


def told(watcher, place):
    return dict(zip(STOPS, watcher.beliefs(seen(place))[0, 2].tolist(), strict=True))


def test_by_hand(whole):
    """North side, south side and the stray: corners have 1/6 + 1/24 each, sides 1/24."""
    watcher = PreyObserver(["guard+north_side", "centre+south_side"], whole, [1, 2, 3], 1)
    before = told(watcher, (0.0, 0.0))
    assert before[NW] == before[SE] == pytest.approx(5 / 24) and sum(before.values()) == pytest.approx(1)
    watcher.update(seen((0.0, 0.0)), np.array([[0, 0, LEFT]]))
    after = told(watcher, (-0.1, 0.0))  # left is the way to both western corners, and to the west
    fits, slip = 1 - SLIP + SLIP / 5, SLIP / 5
    assert after[NW] == after[SW] == pytest.approx(5 * fits / (11 * fits + 13 * slip), abs=1e-6)
    assert after[NE] == pytest.approx(5 * slip / (11 * fits + 13 * slip), abs=1e-6)
    watcher.begin(np.array([0]))
    assert told(watcher, (0.0, 0.0)) == before


def test_prey_that_arrives_goes_on(whole):
    watcher = PreyObserver(["guard+north_side"], whole, [1, 2, 3], 1)
    before = told(watcher, (0.0, 0.0))
    there = told(watcher, NW)  # whoever made for NW goes on: to NE on the north side, to anywhere as a stray
    assert there[NW] == 0.0 and there[NE] == pytest.approx(before[NE] + 1 / 4 + 1 / 16 / 7)
    assert told(watcher, NW) == there  # looking twice changes nothing
    watcher.update(seen(NW), np.array([[0, 0, DOWN]]))
    down = told(watcher, NW)  # no one on the north side goes down: a stray on its way to one of three
    assert down[SW] == down[W] == down[S] > 0.32 and down[NE] < 0.03


def test_rounds_have_a_direction(whole):
    there = told(PreyObserver(["guard+clockwise"], whole, [1, 2, 3], 1), NW)
    assert there[NE] - there[SW] == pytest.approx(1 / 8)


def test_a_patrol_is_seen_through(whole):
    """Prey that came from NW and goes to SE: most likely these are its two corners."""
    watcher = PreyObserver(["guard+pair_corners"], whole, [1, 2, 3], 1)
    assert len(watcher.prior) == 12 + 8 and watcher.prior.sum() == pytest.approx(1)  # six pairs, and the stray
    place = np.array(NW)
    for _ in range(40):
        told(watcher, place)
        action = int(steer(place[None], np.array([SE]))[0])
        watcher.update(seen(place), np.array([[0, 0, action]]))
        if action == 0 or np.linalg.norm(place - SE) < 0.2:
            break
        place = place + 0.1 * np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)][action])
    # Of NW's and SE's pair both halves are left, 2/24; of each other pair with SE one, 1/24; and a stray's 1/16 * 8/7
    there, all_left = told(watcher, place), 4 / 24 + 1 / 14
    assert there[NW] == pytest.approx((2 / 24 + 1 / 98) / all_left, abs=0.002)
    assert there[NE] == there[SW] == pytest.approx((1 / 24 + 1 / 98) / all_left, abs=0.002)


@pytest.mark.parametrize("rounds, early, late", [
    (("clockwise", "zigzag", "north_side", "diamond", "stray_corners", "stray"), 0.2, 0.6),
    (("pair_corners", "pair_any", "triple_sides", "back_corners", "quad_sides", "stray"), 0.2, 0.5),
])  # fmt: skip
def test_belief_is_frequency(rounds, early, late):
    """Bayes' rule with the right prior: on average the true goal has the belief that beliefs have in themselves."""
    env = make_vec_env("pettingzoo", {**KEY, "max_cycles": 50}, 240, 0, 0)
    pool = PoolEnv(env, pool_of(*(f"guard+{name}" for name in rounds)), "train", ["adversary_0"],
                   ["goal", "belief"], 0, False)  # fmt: skip
    info, observation = pool.info, pool.reset()
    of_truth, of_itself = [], []
    for _ in range(100):
        shown = observation.obs[:, 0]
        goal = shown[:, info.information_slice("goal")].reshape(240, 3, 2)[:, 2]
        belief = shown[:, info.information_slice("belief")].reshape(240, 3, 8)
        assert not belief[:, :2].any()
        np.testing.assert_allclose(belief[:, 2].sum(axis=1), 1.0, rtol=1e-5)
        truth = np.abs(goal[:, None] - np.array(STOPS, np.float32)).sum(axis=2).argmin(axis=1)
        of_truth.append(belief[np.arange(240), 2, truth])
        of_itself.append((belief[:, 2] ** 2).sum(axis=1))
        observation = pool.step(np.zeros((240, 1), np.int64)).observation
    assert np.mean(of_truth) == pytest.approx(np.mean(of_itself), abs=0.02)
    assert np.mean(of_truth[0]) < early < late < np.mean(of_truth[20:49])  # it learns within an episode


@pytest.mark.parametrize(
    "scripts, seats, whom", [(["guard+flee"], [1, 2, 3], "flee is on none"), ([], [1, 2], "the prey learns")]
)
def test_prey_without_stops_and_prey_that_learns_are_refused(whole, scripts, seats, whom):
    with pytest.raises(ConfigError, match=f"opponent_information: belief is about prey on rounds; {whom}"):
        PreyObserver(scripts, whole, seats, 1)
