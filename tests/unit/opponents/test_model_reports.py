"""How well models tell opponents, on episodes whose answer is known."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omarl.envs.make import make_vec_env
from omarl.learners.model_reports import added, steps_to_adapt, subgoal_hits
from omarl.opponents.boards import board_of
from omarl.opponents.pool import Member, Pool
from omarl.opponents.pool_env import PoolEnv


def test_reports_of_different_lengths_are_added():
    one = {"hits": torch.tensor([1.0, 2.0]), "count": torch.tensor([4.0, 4.0])}
    longer = {"hits": torch.tensor([0.0, 1.0, 3.0]), "count": torch.tensor([4.0, 4.0, 4.0])}
    assert {n: v.tolist() for n, v in added([one, {}, longer]).items()} == {"hits": [1, 3, 3], "count": [8, 8, 4]}
    assert added([{}]) == {}


@pytest.mark.parametrize(
    ("hits", "count", "steps"),
    [
        ([10, 20, 46, 50, 48], [100] * 5, 2),  # from 0.1 to 0.5: nine tenths of the way is 0.46
        ([50, 50, 50], [100] * 3, 0),
        ([10, 20, 30, 4], [100, 100, 100, 4], 2),  # the last few episodes do not count
    ],
)
def test_steps_to_adapt(hits, count, steps):
    assert steps_to_adapt(torch.tensor(hits).float(), torch.tensor(count).float()) == steps


class Whole(dict):
    """Two episodes of at most six steps."""

    max_seq_length, batch_size = 7, 2


def test_a_hit_is_a_place_that_opponents_pass_in_time():
    """Two episodes of 6 steps; the subgoal decodes to the state two steps ahead: within H = 2, not within H = 1."""
    env = PoolEnv(
        make_vec_env("gymnasium", {"key": "lbforaging:Foraging-8x8-2p-3f-v3", "backend": "batched"}, 2, 0, 1),
        Pool(Path(), "gymnasium", {}, (Member("nearest", "script", "scripted", "train", script="nearest"),)),
        "train", ["agent_0"], ["actions"], 0, False,
    )  # fmt: skip
    (place, _), scheme_steps = board_of(env.info.whole).places[1], 7
    state = torch.zeros(2, scheme_steps, env.info.state_shape)
    state[0, :, place] = torch.arange(7.0)  # walks down; the other one stands where it is
    filled = torch.ones(2, 7, 1)
    filled[1, 5:] = 0  # and ends after four steps
    batch = Whole(state=state, filled=filled)
    model = SimpleNamespace(info=env.info, subjects=env.info.opponents, initial_carry=lambda n: None,
                            features=lambda b, c: state[:, :, None], condition=lambda f: f)  # fmt: skip
    ahead = SimpleNamespace(decode=lambda goals: goals.roll(-2, dims=1))
    within_2 = subgoal_hits(model, ahead, batch, 2)
    assert within_2["count"].tolist() == [2, 2, 2, 1, 1] and within_2["hits"].tolist() == [2, 2, 2, 1, 1]
    assert within_2["chance"][0] == 0  # each other's places: 0 is where the first one was, not where it goes
    within_1 = subgoal_hits(model, ahead, batch, 1)
    assert within_1["hits"].tolist()[:4] == [1, 1, 1, 1]  # only who stands still is already there


def test_each_opponent_hits_for_itself(monkeypatch):
    """Two opponents, one of which goes where it is expected: half a hit."""
    monkeypatch.setattr("omarl.learners.model_reports.opponents_places", lambda info, names: ([0, 1, 2, 3], 0.1))
    state = torch.zeros(2, 4, 4)
    state[:, :, 0], state[:, :, 2] = torch.arange(4.0), torch.arange(4.0)
    batch = Whole(state=state, filled=torch.ones(2, 4, 1))
    batch.max_seq_length = 4
    model = SimpleNamespace(info=None, subjects=(), initial_carry=lambda n: None,
                            features=lambda b, c: state[:, :, None], condition=lambda f: f)  # fmt: skip
    guess = SimpleNamespace(decode=lambda goals: goals + torch.tensor([1.0, 0.0, 0.0, 1.0]))
    assert subgoal_hits(model, guess, batch, 1)["hits"].tolist() == [1.0, 1.0, 1.0]
