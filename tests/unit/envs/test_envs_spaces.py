"""Values of spaces as flat rows, against rows written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from omarl.envs.adapter import agent_types
from omarl.envs.spaces import flattener
from omarl.types import ConfigError

CASES = [
    (spaces.Box(-1, 1, (3,)), np.array([0.5, -1, 1]), [0.5, -1, 1]),
    (spaces.Box(-9, 9, (2, 2), np.int64), np.array([[1, 2], [3, -4]]), [1, 2, 3, -4]),
    (spaces.Box(0, 1, ()), np.float64(0.25), [0.25]),
    (spaces.Box(0, 255, (1, 2), np.uint8), np.array([[51, 255]], np.uint8), [0.2, 1]),
    (spaces.Box(0, 1, (2,), np.uint8), np.array([1, 0], np.uint8), [1, 0]),
    (spaces.Discrete(3), 2, [0, 0, 1]),
    (spaces.Discrete(3, start=-1), np.int64(-1), [1, 0, 0]),
    (spaces.Discrete(2), np.array(1), [0, 1]),
    (spaces.Discrete(2), np.array([1]), [0, 1]),
    (spaces.MultiBinary((1, 3)), np.array([[1, 0, 1]]), [1, 0, 1]),
    (spaces.MultiDiscrete([2, 3]), np.array([1, 0]), [0, 1, 1, 0, 0]),
    (spaces.MultiDiscrete([2, 3], start=[5, -1]), np.array([5, 1]), [1, 0, 0, 0, 1]),
    (spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, 1, (1,)))), (1, [0.5]), [0, 1, 0.5]),
    (
        spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Dict({"c": spaces.MultiBinary(1)})}),
        {"a": {"c": [1]}, "b": 0},
        None,
    ),
]


@pytest.mark.parametrize(("space", "value", "row"), CASES)
def test_flattened_rows_equal_rows_written_by_hand(space: Any, value: Any, row: list[float] | None) -> None:
    size, write = flattener(space)
    out = np.full(size, np.nan, np.float32)
    write(value, out)
    expected = np.asarray(spaces.flatten(space, value)) if row is None else row
    assert np.allclose(out, expected, atol=1e-7)


def test_a_value_outside_its_discrete_space_is_an_error() -> None:
    _, write = flattener(spaces.Discrete(3))
    with pytest.raises(ValueError, match="outside"):
        write(-1, np.zeros(3, np.float32))


def test_a_space_without_a_fixed_size_is_refused_by_name() -> None:
    space = spaces.Dict({"friends": spaces.Sequence(spaces.Discrete(2))})
    with pytest.raises(ConfigError, match=r"observation of bee\['friends'\].*Sequence"):
        flattener(space, "observation of bee")


def test_agents_of_one_name_share_a_type_only_if_their_sizes_agree() -> None:
    assert agent_types(["a_0", "a_1", "b"], [2, 2, 3], [1, 1, 1]) == ("a", "a", "b")
    assert agent_types(["a_0", "a_1", "b"], [2, 3, 3], [1, 1, 1]) == ("a_0", "a_1", "b")
    assert agent_types(["a_0", "a_1"], [2, 2], [1, 4]) == ("a_0", "a_1")
