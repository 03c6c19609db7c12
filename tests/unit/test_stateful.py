"""Objects whose changing attributes go into checkpoints."""

import io

import numpy as np
import pytest
import torch
from omarl.utils.stateful import Stateful


class Inner(Stateful):
    changing = ("goal",)

    def __init__(self) -> None:
        self.goal = np.zeros(3, np.float32)


class Outer(Inner):
    changing = ("random", "torchs", "legacy", "words", "inner", "carry", "last")

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)
        self.torchs = torch.Generator().manual_seed(seed)
        self.legacy = np.random.MT19937(seed)
        self.words = {"a": [1, 2.5, None, "text"]}
        self.inner = Inner()
        self.carry = torch.zeros(2)
        self.last: int | None = None

    def draw(self) -> list[float]:
        self.goal += 1
        self.inner.goal[0] += 2
        self.carry += 1
        self.last = 7
        self.words["a"].append(3)
        legacy = np.random.Generator(self.legacy)
        return [self.random.random(), float(torch.rand(1, generator=self.torchs)), legacy.random()]


def through_a_file(state: dict) -> dict:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_restored_object_continues_as_the_saved_one() -> None:
    saved, other = Outer(1), Outer(2)
    saved.draw()
    other.load_state_dict(through_a_file(saved.state_dict()))
    assert other.draw() == saved.draw()
    assert np.array_equal(other.goal, saved.goal) and np.array_equal(other.inner.goal, saved.inner.goal)
    assert torch.equal(other.carry, saved.carry)
    assert (other.words, other.last) == (saved.words, 7)


def test_later_changes_do_not_alter_a_saved_state() -> None:
    saved, other = Outer(1), Outer(2)
    state = saved.state_dict()
    expected = saved.draw()
    other.load_state_dict(state)
    assert other.goal.tolist() == [0, 0, 0] and other.words == {"a": [1, 2.5, None, "text"]}
    assert other.draw() == expected


def test_views_of_an_array_remain_valid() -> None:
    other = Outer(2)
    view = other.goal[1:]
    saved = Outer(1)
    saved.draw()
    other.load_state_dict(saved.state_dict())
    assert view.tolist() == [1, 1]


def test_a_state_of_another_size_is_refused() -> None:
    saved, other = Outer(1), Outer(2)
    saved.goal = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="shape"):
        other.load_state_dict(saved.state_dict())
    with pytest.raises(KeyError):
        other.load_state_dict({})
