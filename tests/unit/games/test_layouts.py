"""Positions of players and objects, read from states, against the packages' worlds."""

from dataclasses import replace

import numpy as np
import pytest
from omarl.analysis.film import Board, Film, Pictures, drawn
from omarl.envs.make import make_vec_env
from omarl.games.layout import observation_indices
from omarl.games.lookup import layout_of
from omarl.opponent_models.places import _passes


@pytest.mark.parametrize("key", ["lbforaging:Foraging-8x8-2p-3f-v3", "lbforaging:Foraging-10x10-3p-4f-v3"])
def test_foraging_positions_and_foods_are_those_of_the_package(key):
    with make_vec_env("gymnasium", {"key": key, "backend": "pettingzoo"}, 1, 0, 3) as env:
        layout = layout_of(env.info)
        rng = np.random.default_rng(0)
        observation = env.reset()
        for _ in range(20):
            state, world = observation.state[0], env._backend._copies[0]._adapter.env.unwrapped
            assert state[layout.places].tolist() == [list(map(float, p.position)) for p in world.players]
            foods = {(r, c): world.field[r, c] for r, c in zip(*world.field.nonzero(), strict=True)}
            assert {(r, c): float(level) for r, c, level in layout.objects(state)} == foods
            scores = rng.random(observation.avail.shape) * observation.avail
            observation = env.step(scores.argmax(-1)).observation
    assert layout.is_grid and layout.high == int(key.split("x")[0].split("-")[-1]) - 1


@pytest.mark.parametrize("key", ["mpe2.simple_tag_v3", "mpe2.simple_spread_v3"])
def test_particle_positions_and_landmarks_are_those_of_the_package(key):
    with make_vec_env("pettingzoo", {"key": key, "backend": "pettingzoo"}, 1, 0, 3) as env:
        layout, state = layout_of(env.info), env.reset().state[0]
        world = env._backend._copies[0]._adapter.env.unwrapped.world
        np.testing.assert_allclose(state[layout.places], [a.state.p_pos for a in world.agents], atol=1e-6)
        things = [place[:2] for place in layout.objects(state)]
        np.testing.assert_allclose(things, [entity.state.p_pos for entity in world.landmarks], atol=1e-6)


def test_observations_of_agents_are_found_in_the_state():
    with make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "backend": "batched"}, 1, 0, 3) as env:
        seen = env.reset()
        names = ("adversary_1", "agent_0")
        own = [seen.obs[0, i, : env.info.obs_sizes[i]] for i in (1, 3)]  # the prey's is shorter and padded
        np.testing.assert_array_equal(seen.state[0][observation_indices(env.info, names)], np.concatenate(own))
        assert observation_indices(replace(env.info, state_shape=7), names) == list(range(7))


def test_an_unknown_environment_has_no_layout():
    with make_vec_env("pettingzoo", {"key": "mpe2.simple_adversary_v3"}, 1, 0, 3) as env:
        assert layout_of(env.info) is None


def test_caption_states_whether_opponents_pass_the_inferred_place():
    way = np.array([[[0.0, 1.0]], [[0.0, 2.0]], [[0.0, 3.0]]])
    assert _passes(way, np.array([[0.2, 2.4]]), 0.5) == "passes there in 2"
    assert _passes(way, np.array([[1.0, 2.0]]), 0.5) == "does not pass there"
    two = np.concatenate([way, way + 9.0], axis=1)
    assert _passes(two, np.array([[0.2, 2.4], [9.0, 11.0]]), 0.5) == "passes there in 2"
    assert _passes(two, np.array([[0.2, 2.4], [9.0, 12.0]]), 0.5) == "does not pass there"
    assert _passes(way[:0], np.array([[0.0, 0.0]]), 0.5) == "does not pass there"


def test_the_star_is_drawn_at_the_inferred_position():
    positions = np.array([[[0.0, 0.0], [3.0, 1.0]], [[0.0, 0.0], [3.0, 2.0]]])
    board = Board(("agent_0", "agent_1"), (1,), positions, [[], []], np.array([[[1.0, 6.0]]] * 2), None, 5, True, 0.0,
                  7.0)  # fmt: skip
    film = Film("t", ["", ""], board)
    orange = [230, 159, 0]
    image = drawn(film, 0)
    rows, columns = np.nonzero((np.abs(image.astype(int) - orange) < 30).all(-1))
    height, width = image.shape[:2]
    # the board's axes: left 0.06, width 0.88; top 0.08, height 0.78 of the picture; 8.2 square cells each way
    cell = 0.88 * width / 8.2
    assert abs(columns.mean() - (0.06 * width + (6.0 + 0.6) * cell)) < cell / 2
    middle = (0.08 + 0.78 / 2) * height
    assert abs(rows.mean() - (middle + (1.0 - 3.5) * cell)) < cell / 2


def test_areas_of_discs_are_proportional_to_probabilities():
    """Two of three places are likely enough to be drawn: their areas have the ratio 1 to 3."""
    positions = np.zeros((1, 2, 2))
    odds = np.array([[[6.0, 1.0, 0.245], [6.0, 5.0, 0.735], [2.0, 6.0, 0.01]]])
    inferred = np.full((1, 1, 2), np.nan)
    board = Board(("agent_0", "agent_1"), (1,), positions, [[]], inferred, odds, 5, True, 0.0, 7.0)
    image, plain = (drawn(Film("t", [""], each), 0).astype(int) for each in (board, board._replace(odds=None)))
    changed = (np.abs(image - plain).sum(axis=-1) > 30)[: int(0.85 * len(image))]  # without the legend
    assert not changed[: len(changed) // 2].any()
    middle = changed.shape[1] // 2
    small, large = changed[:, :middle].sum(), changed[:, middle:].sum()
    assert 0.26 < small / large < 0.40


def test_pictures_of_an_environment_are_shown_as_they_are():
    frames = [np.full((40, 60, 3), shade, np.uint8) for shade in (90, 200)]
    for t, shade in enumerate((90, 200)):
        image = drawn(Film("t", ["", ""], Pictures(frames)), t)
        assert image[image.shape[0] // 2, image.shape[1] // 2].tolist() == [shade] * 3
