"""Scripted foraging players and their observer, on boards computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
from omarl.envs.make import make_vec_env
from omarl.games.foraging.layout import board_centre
from omarl.games.foraging.observer import ForagingObserver, offsets
from omarl.games.foraging.scripts import SCRIPTS, ForagingScripts
from omarl.games.lookup import layout_of
from omarl.types import ConfigError, EnvInfo

KEY = "lbforaging:Foraging-8x8-2p-3f-v3"
NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)
ALL = np.arange(1)


def board_info(n_foods=3, key=KEY):
    size = 3 * n_foods + 6
    return EnvInfo(key, ("agent_0", "agent_1"), ("a", "a"), size, (size, size), 6, (6, 6), 2 * size, 50)


def observe(foods, me, other):
    """Both players' observations [1, 2, O]; foods (y, x, level) in reading order, three slots."""
    slots = [value for food in foods for value in food] + [-1, -1, 0] * (3 - len(foods))
    rows = [[*slots, *me, *other], [*slots, *other, *me]]
    return np.array([[rows[1], rows[0]]], np.float32)  # the scripted player is agent_1


def player(script, noise=0.0, info=None):
    group = ForagingScripts([script], [noise], info or board_info(), [1], 1, 0)
    group.begin(ALL, np.zeros(1, int))
    return group


def observer_of(*scripts):
    found = ForagingObserver(list(scripts), board_info(), [1], 1)
    found.begin(ALL)
    return found


FOODS = [(1, 6, 3), (4, 1, 1), (6, 5, 2)]


@pytest.mark.parametrize(
    "script, slot",
    [
        ("nearest", 2), ("farthest", 0), ("second_nearest", 1), ("highest_level", 0), ("lowest_level", 1),
        ("follower", 0), ("avoider", 1), ("first", 0), ("last", 2), ("west", 1), ("east", 0), ("north_east", 0),
        ("south_west", 1), ("diagonal", 2), ("north_west", 1), ("south_east", 2), ("meeting", 0), ("remote", 1),
    ],
)  # fmt: skip
def test_each_script_chooses_its_food(script, slot):
    obs = observe(FOODS, me=(6, 3, 2), other=(0, 7, 1))
    group = player(script)
    group.act(ALL, np.zeros(1, int), obs)
    assert group.goals(ALL, obs)[0, 0].tolist() == [float(i == slot) for i in range(3)]


@pytest.mark.parametrize("size, centre", [("8x8", 0), ("15x15", 1), ("8x15", 2)])
def test_the_script_centre_uses_the_size_of_the_board(size, centre):
    obs = observe([(3, 3, 1), (7, 7, 1), (3, 7, 1)], me=(0, 0, 1), other=(0, 7, 1))
    for script, slots in (("centre", [centre]), ("border", [0, 1, 2])):
        group = player(script, info=board_info(key=f"lbforaging:Foraging-{size}-2p-3f-v3"))
        group.act(ALL, np.zeros(1, int), obs)
        (chosen,) = np.flatnonzero(group.goals(ALL, obs)[0, 0])
        assert chosen in slots and (chosen != centre or script == "centre")


def test_every_script_reaches_its_food_and_loads():
    for script in SCRIPTS:
        group, (y, x) = player(script), (3, 3)
        for _ in range(20):
            obs = observe(FOODS, me=(y, x, 2), other=(7, 7, 1))
            action = group.act(ALL, np.zeros(1, int), obs)[0, 0]
            if action == LOAD:
                break
            y, x = y + (action == SOUTH) - (action == NORTH), x + (action == EAST) - (action == WEST)
        goal = group.goal[0, 0]
        assert action == LOAD
        assert abs(goal[0] - y) + abs(goal[1] - x) == 1, script


def test_a_goal_is_kept_until_the_food_is_eaten():
    group = player("nearest")
    group.act(ALL, np.zeros(1, int), observe(FOODS, me=(6, 3, 2), other=(0, 0, 1)))
    moved = observe(FOODS, me=(4, 2, 2), other=(0, 0, 1))  # another food is nearer now
    assert group.act(ALL, np.zeros(1, int), moved)[0, 0] in (SOUTH, EAST)
    assert group.goals(ALL, moved)[0, 0].tolist() == [0, 0, 1]
    eaten = observe(FOODS[:2], me=(4, 2, 2), other=(0, 0, 1))
    assert group.act(ALL, np.zeros(1, int), eaten)[0, 0] == LOAD


def test_a_script_walks_around_the_other_player():
    group = player("last")  # food at (6, 5); the other player is to the east
    obs = observe(FOODS, me=(5, 2, 2), other=(5, 3, 1))
    assert {group.act(ALL, np.zeros(1, int), obs)[0, 0] for _ in range(20)} == {SOUTH}


def test_a_blocked_script_moves_at_random():
    group = player("last")
    obs = observe(FOODS, me=(6, 2, 2), other=(6, 3, 1))  # the other player is between the script and its food
    assert {group.act(ALL, np.zeros(1, int), obs)[0, 0] for _ in range(60)} == {NORTH, SOUTH, WEST, EAST}


def test_noise_is_the_share_of_random_moves():
    group = player("last", noise=0.5)
    obs = observe(FOODS, me=(6, 3, 2), other=(0, 0, 1))
    taken = [group.act(ALL, np.zeros(1, int), obs)[0, 0] for _ in range(2000)]
    assert np.mean(np.array(taken) != EAST) == pytest.approx(0.5 * 0.75, abs=0.04)


def test_beliefs_equal_bayes_rule_computed_by_hand():
    """One script walks west to slot 1, one east to slot 2, and one at random. A step east fits the second."""
    group = observer_of("west", "last")
    obs = observe(FOODS, me=(6, 3, 2), other=(0, 0, 1))
    assert group.beliefs(obs)[0, 0].tolist() == pytest.approx([1 / 9, 4 / 9, 4 / 9])
    group.update(obs, np.array([[EAST]]))
    moved = observe(FOODS, me=(6, 4, 2), other=(0, 0, 1))
    # east half the time towards (1, 6), never towards (4, 1); a slip has 2 parts in 100
    by_hand = 4 * 1.02 / (0.52 + 4 * 0.02 + 4 * 1.02)
    assert group.beliefs(moved)[0, 0, 2] == pytest.approx(by_hand, abs=1e-6)


def test_any_move_fits_a_food_to_which_the_way_is_blocked():
    """The other player stands between the script and slot 2. A step south leads to no other food."""
    group = observer_of("west", "last")
    obs = observe(FOODS, me=(6, 2, 2), other=(6, 3, 1))
    assert group.beliefs(obs)[0, 0].tolist() == pytest.approx([1 / 9, 4 / 9, 4 / 9])
    group.update(obs, np.array([[SOUTH]]))
    moved = observe(FOODS, me=(7, 2, 2), other=(6, 3, 1))
    blocked = 0.02 + 0.25  # a quarter of the moves of a blocked player go south
    assert group.beliefs(moved)[0, 0, 2] == pytest.approx(4 * blocked / (5 * 0.02 + 4 * blocked), abs=1e-6)


def test_beliefs_move_to_the_next_food_when_one_is_eaten():
    group = observer_of("west", "last")
    group.beliefs(observe(FOODS, me=(6, 3, 2), other=(0, 0, 1)))
    left = observe(FOODS[:2], me=(6, 3, 2), other=(0, 0, 1))  # slot 2 was eaten: the goal of "last" is now (4, 1)
    assert group.beliefs(left)[0, 0].tolist() == pytest.approx([1 / 9 + 1 / 18, 2 / 3 + 1 / 9 + 1 / 18, 0.0])


def test_the_observer_believes_the_random_script_equally_in_all_foods():
    group = observer_of("random")
    obs = observe(FOODS, me=(6, 3, 2), other=(0, 0, 1))
    assert group.beliefs(obs)[0, 0].tolist() == pytest.approx([1 / 3] * 3)


def test_offsets_equal_the_hand_computation():
    obs = observe([(4, 3, 2)], me=(4, 2, 1), other=(0, 3, 2))
    values = offsets(obs, [1], board_info())[0, 0].reshape(3, -1)
    assert values[0].tolist() == [0.0, 0.25, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert not values[1:].any()


@pytest.mark.parametrize("key, arguments", [
    ("Foraging-2s-8x8-2p-3f-v3", {}), ("Foraging-8x8-2p-3f-v3", {"sight": 2}),
    ("Foraging-8x8-2p-3f-v3", {"field_size": [12, 12]}),  # sight stays 8
    ("Foraging-8x8-2p-3f-v3", {"observe_agent_levels": False}),
])  # fmt: skip
def test_observations_of_a_window_have_no_layout_and_no_scripts(key, arguments):
    info = replace(board_info(key=f"lbforaging:{key}"), arguments=arguments)
    assert layout_of(info) is None and layout_of(board_info()) is not None
    with pytest.raises(ConfigError, match="scripts need players that see all foods"):
        player("nearest", info=info)


def test_sight_to_the_edge_of_a_larger_board_is_enough_for_scripts():
    env = make_vec_env("gymnasium", {"key": KEY, "field_size": [10, 10], "sight": 9, "episode_limit": 9}, 1, 0, 0)
    env.close()
    assert env.info.arguments == {"field_size": [10, 10], "sight": 9}
    assert board_centre(env.info).tolist() == [4.5, 4.5]
    player("nearest", info=env.info)


def test_unknown_scripts_and_other_games_are_refused():
    with pytest.raises(ConfigError, match="'nearst' is none of"):
        player("nearst")
    partly_seen = board_info(key="mpe2.simple_spread_v3")
    with pytest.raises(ConfigError, match="scripts need players that see all foods"):
        ForagingScripts(["nearest"], [0.0], partly_seen, [1], 1, 0)
