"""Actions other than Discrete: their form in arrays, bounds, masks, errors, and repeated episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from omarl.envs.actions import actions_by_score, actions_of, permitted
from omarl.types import ActionKind, ConfigError, EnvError


def received(env: Any) -> dict[str, Any]:
    """The actions that the environment was given in the last step, converted to lists."""
    given = env._backend._copies[0]._adapter.env.received
    return {agent: np.asarray(action).tolist() for agent, action in given.items()}


def test_continuous_actions_are_padded_and_scaled_to_the_bounds(make: Any) -> None:
    env = make("Continuous")
    info = env.info
    assert info.actions == ActionKind("continuous", limits=(np.inf,) * 3)  # no number is bounded for all agents
    assert (info.n_actions, info.action_sizes, info.agent_types) == (3, (2, 2, 3), ("ant", "ant", "bee"))
    assert env.reset().avail[0].tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    env.step(np.array([[[0.5, -70, 9], [-1, 3, 9], [0, 5, 1]]], np.float32))
    assert received(env) == {"ant_0": [5, -70], "ant_1": [2, 3], "bee": [[0], [5], [1]]}


@pytest.mark.parametrize("number", [-1e9, -1.0001, -1.0, 0.3, 1.0, 1.0001, 1e9])
def test_every_received_action_is_in_its_space(make: Any, number: float) -> None:
    env = make("Continuous")
    env.reset()
    env.step(np.full((1, 3, 3), number, np.float32))
    adapter = env._backend._copies[0]._adapter
    for agent, space in zip(adapter.agents, adapter.action_spaces, strict=True):
        assert space.contains(adapter.env.received[agent]), (agent, adapter.env.received[agent])


def test_limits_are_one_where_the_space_is_bounded_for_all_agents() -> None:
    bounded, half_bounded = spaces.Box(0, 9, (2,)), spaces.Box(np.zeros(2), np.array([3, np.inf]), dtype=np.float64)
    assert actions_of([bounded, half_bounded], ["a", "b"]).kind.limits == (1, np.inf)


@pytest.mark.parametrize("space", [spaces.Box(0, 1, (0,)), spaces.Tuple(())])
def test_agents_without_any_action_are_refused_in_one_line(space: Any) -> None:
    with pytest.raises(ConfigError, match="agent a has no actions"):
        actions_of([space], ["a"])


def test_integer_boxes_receive_rounded_integers() -> None:
    (convert,) = actions_of([spaces.Box(0, 10, (2,), np.int32)], ["a"]).convert
    action = convert([-0.5, 0.98])
    assert action.tolist() == [2, 10] and action.dtype == np.int32


def test_heads_have_masks_and_the_numbers_of_their_spaces(make: Any) -> None:
    env = make("Switches")
    assert env.info.actions == ActionKind("heads", heads=(4, 2))
    assert (env.info.n_actions, env.info.action_sizes) == (6, (5, 5, 4))
    assert env.reset().avail[0].tolist() == [[1, 1, 1, 0, 1, 1]] * 2 + [[1, 1, 1, 1, 1, 0]]
    env.step(np.array([[[2, 1], [0, 0], [3, 0]]]))
    assert received(env) == {"ant_0": [2, 2], "ant_1": [0, 1], "bee": 13}
    with pytest.raises(EnvError, match=r"action \[3, 0\] is not available to ant_1"):
        env.step(np.array([[[2, 1], [3, 0], [3, 0]]]))


@pytest.mark.parametrize("action", [[0, 2], [-1, 0], [4, 0], [0, -1]])
def test_choices_out_of_range_are_refused(make: Any, action: list[int]) -> None:
    env = make("Switches")
    env.reset()
    with pytest.raises(EnvError, match="is not available to ant_0"):
        env.step(np.array([[action, [0, 0], [0, 0]]]))


def test_bits_are_heads_of_two_choices(make: Any) -> None:
    env = make("Bits")
    env.reset()
    env.step(np.array([[[0, 1], [1, 0], [1, 1]]]))
    assert env.info.actions.heads == (2, 2)
    assert received(env) == {"ant_0": [0, 1], "ant_1": [1, 0], "bee": [1, 1]}


def test_choices_and_numbers_in_one_environment(make: Any) -> None:
    env = make("MixedActions")
    assert env.info.actions == ActionKind("mixed", heads=(3,), limits=(1.0, 1.0))
    assert (env.info.n_actions, env.info.action_sizes) == (5, (3, 3, 2))
    assert env.reset().avail[0].tolist() == [[1, 1, 1, 0, 0]] * 2 + [[1, 0, 0, 1, 1]]
    env.step(np.array([[[2, 9, 9], [0, 9, 9], [0, -1, 5]]], np.float32))
    assert received(env) == {"ant_0": 2, "ant_1": 0, "bee": [0, 1]}
    with pytest.raises(EnvError, match="is not available to bee"):
        env.step(np.array([[[2, 0, 0], [0, 0, 0], [1, 0, 0]]], np.float32))


def test_spaces_of_spaces_have_the_heads_and_numbers_of_all_parts() -> None:
    move = spaces.Dict(turn=spaces.Box(-3, 3, (1,)), say=spaces.Discrete(4, start=1))
    both = spaces.Tuple((move, spaces.MultiBinary(2), spaces.Box(0, 2, (2,))))
    actions = actions_of([both, spaces.Discrete(3)], ["a", "b"])
    assert actions.kind == ActionKind("mixed", heads=(4, 2, 2), limits=(1.0, 1.0, 1.0))
    assert [size.tolist() for size in actions.own] == [list(range(11)), [0, 1, 2]]
    said, bits, numbers = actions.convert[0]([3, 1, 0, 0.5, -1, 1])
    assert said == {"turn": 1.5, "say": 4} and bits.tolist() == [1, 0] and numbers.tolist() == [0, 2]
    assert both.contains((said, bits, numbers)) and actions.convert[1]([2, 0, 0, 0, 0, 0]) == 2


def test_numbers_that_are_not_finite_are_refused(make: Any) -> None:
    env = make("Continuous")
    env.reset()
    actions = np.zeros((1, 3, 3), np.float32)
    actions[0, 1, 0] = np.nan
    with pytest.raises(EnvError, match="not available to ant_1"):
        env.step(actions)


def test_wrong_shapes_are_refused(make: Any) -> None:
    env = make("Continuous")
    env.reset()
    with pytest.raises(EnvError, match=r"\(1, 3\); they must be \[E, N, A\] = \(1, 3, 3\)"):
        env.step(np.zeros((1, 3), np.float32))


def test_dead_agents_have_no_numbers_and_their_actions_are_ignored(make: Any) -> None:
    env = make("Continuous", length=4, dies_at=1)
    env.reset()
    step = env.step(np.zeros((1, 3, 3), np.float32))
    assert step.observation.avail[0].tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]
    env.step(np.ones((1, 3, 3), np.float32))  # the toy would refuse an action of the dead agent
    assert set(received(env)) == {"ant_0", "bee"}


def test_waiting_agents_have_no_numbers(make: Any) -> None:
    env = make("ContinuousTurns")
    assert env.reset().avail[0].tolist() == [[1], [0]]
    step = env.step(np.array([[[0.5], [-1.0]]], np.float32))
    assert step.reward.tolist() == [[0.75, 0.75]] and step.observation.avail[0].tolist() == [[0], [1]]


@pytest.mark.parametrize("name, message", [
    ("Words", "agent ant_0 has actions Text"), ("TupleOfWords", r"agent ant_0 has actions Tuple\(Text"),
])  # fmt: skip
def test_other_spaces_are_refused_in_one_line(make: Any, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["Continuous", "Switches"])
def test_results_do_not_depend_on_processes_and_episodes_can_be_repeated(make: Any, name: str) -> None:
    rng = np.random.default_rng(0)
    envs = [make(name, n_envs=3, n_workers=workers, length=9) for workers in (0, 2)]
    kind, shape = envs[0].info.actions, (3, 3, *envs[0].info.actions.shape)
    for env in envs:
        env.reset()
    for _ in range(4):
        actions = rng.normal(size=shape).astype(np.float32) if name == "Continuous" else rng.integers(1, size=shape)
        one, other = (env.step(actions.astype(kind.dtype)) for env in envs)
        assert all((a == b).all() for a, b in zip(one.final, other.final, strict=True))
    state = envs[0].state_dict()
    assert tuple(state["backend"][0]["actions"].shape) == (4, *shape[1:])
    resumed = make(name, n_envs=3, length=9)
    assert resumed.load_state_dict(state).all()
    assert received(resumed) == received(envs[0])


def test_the_first_available_choices_are_permitted() -> None:
    avail = np.array([[[0, 1, 1, 0, 1]]], np.uint8)
    kind = ActionKind("heads", heads=(3, 2))
    assert actions_by_score(kind, avail).tolist() == [[[1, 1]]]
    assert permitted(kind, actions_by_score(kind, avail), avail).all()
    assert not permitted(kind, np.array([[[1, 0]]]), avail).any()
    mixed, scores = ActionKind("mixed", heads=(3,), limits=(1.0,)), np.array([[[0, 0.2, 0.1, 0.75]]])
    assert actions_by_score(mixed, scores).tolist() == [[[1, 0.5]]]
    for action, is_permitted in (([1, 7], True), ([0, 7], False), ([1.5, 0], False), ([1, np.inf], False)):
        assert permitted(mixed, np.array([[action]], np.float32), np.array([[[0, 1, 1, 1]]])) == is_permitted


LIMITED = spaces.Box(np.array([0, 3, -2]), np.array([10, 3, np.inf]), dtype=np.float64)


@pytest.mark.parametrize("space, action, stored", [
    (spaces.Discrete(4, start=2), 5, 3),
    (spaces.MultiDiscrete([3, 4], start=[1, -1]), [3, -1], [2, 0]),
    (spaces.MultiBinary((2, 2)), [[0, 1], [1, 1]], [0, 1, 1, 1]),
    (LIMITED, [2.5, 3, 7], [-0.5, 0, 7]),  # scaled by its range, without a range, and unbounded
    (spaces.Dict(b=spaces.Box(-3, 3, (1,)), a=spaces.Discrete(4)), {"a": 2, "b": [1.5]}, [2, 0.5]),
    (spaces.Tuple((LIMITED, spaces.MultiDiscrete([2, 2]))), ([10, 3, 0], [0, 1]), [0, 1, 1, 0, 0]),
])  # fmt: skip
def test_actions_of_a_space_have_the_form_of_arrays(space: Any, action: Any, stored: Any) -> None:
    actions = actions_of([space], ["a"])
    assert np.array_equal(actions.store[0](action), stored)
    assert np.array_equal(actions.store[0](actions.convert[0](stored)), stored)
    assert np.asarray(actions.store[0](action)).dtype == actions.kind.dtype


def test_parts_that_an_agent_lacks_are_stored_as_zeros() -> None:
    actions = actions_of([spaces.MultiDiscrete([3, 2]), spaces.Discrete(4), spaces.Box(0, 2, (1,))], ["a", "b", "c"])
    assert [list(store(a)) for store, a in zip(actions.store, ([2, 1], 3, [1.5]), strict=True)] == [
        [2, 1, 0], [3, 0, 0], [0, 0, 0.5]
    ]  # fmt: skip
