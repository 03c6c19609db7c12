"""Hit ratios of opponent models, on episodes with known answers."""

import pytest
import torch
from omarl.opponent_models.evaluation import added, rates, steps_to_adapt
from omarl.opponent_models.places import place_hits


def hits_of(guess, true, filled, horizon, near, acted=None):
    """``place_hits``, summed over episodes; all opponents act at every step, or as ``acted`` [B, T, M] says."""
    everyone = torch.ones(true.shape[0], true.shape[1] - 1, true.shape[2] // 2, dtype=torch.bool)
    counts = place_hits(guess, true, filled, everyone if acted is None else acted, horizon, near)
    return {name: each.sum(dim=0) for name, each in counts.items()}


def test_counts_of_episodes_of_different_lengths_are_added():
    one = {"hits": torch.tensor([1.0, 2.0]), "count": torch.tensor([4.0, 4.0])}
    longer = {"hits": torch.tensor([0.0, 1.0, 3.0]), "count": torch.tensor([4.0, 4.0, 4.0])}
    assert {n: v.tolist() for n, v in added([one, {}, longer]).items()} == {"hits": [1, 3, 3], "count": [8, 8, 4]}
    assert added([{}]) == {}
    by_episode = {name: torch.stack([each - 1, torch.ones(len(each))]) for name, each in one.items()}
    assert {n: v.tolist() for n, v in added([by_episode, longer]).items()} == {"hits": [1, 3, 3], "count": [8, 8, 4]}


@pytest.mark.parametrize(
    ("hits", "count", "steps"),
    [
        ([10, 20, 46, 50, 48], [100] * 5, 2),  # from 0.1 to 0.5: nine tenths of the rise end at 0.46
        ([50, 50, 50], [100] * 3, 0),
        ([50, 55, 60], [100] * 3, 2),  # 0.55 is nine tenths of 0.6, but only half of the rise
        ([10, 20, 30, 4], [100, 100, 100, 4], 2),  # steps that few episodes reach are ignored
    ],
)
def test_steps_to_adapt_is_the_first_step_after_nine_tenths_of_the_rise(hits, count, steps):
    assert steps_to_adapt(torch.tensor(hits).float(), torch.tensor(count).float()) == steps


def test_rates_are_shares_of_all_counts():
    one = {"hits": torch.tensor([1.0, 3.0]), "chance": torch.tensor([1.0, 0.0]), "count": torch.tensor([4.0, 4.0])}
    found = rates("omg_hit_ratio", [one, {}])
    assert found == {"omg_hit_ratio": 0.5, "omg_hit_chance": 0.125, "omg_steps_to_adapt": 1}
    del one["chance"]
    assert set(rates("model_action_accuracy", [one])) == {"model_action_accuracy", "model_steps_to_adapt"}
    assert rates("omg_hit_ratio", [{}]) == rates("omg_hit_ratio", [{name: 0 * v for name, v in one.items()}]) == {}


def test_a_hit_is_a_place_that_the_opponent_passes_within_the_horizon():
    """Two episodes of 6 and 4 steps; the guess is the place two steps ahead: within H = 2, not within H = 1."""
    true = torch.zeros(2, 7, 2)
    true[0, :, 0] = torch.arange(7.0)  # the opponent walks in the first episode and waits in the second
    filled = torch.ones(2, 7)
    filled[1, 5:] = 0
    guess = true.roll(-2, dims=1)
    within_2 = hits_of(guess, true, filled, 2, 0.5)
    assert within_2["count"].tolist() == [2, 2, 2, 1, 1] and within_2["hits"].tolist() == [2, 2, 2, 1, 1]
    assert within_2["chance"][0] == 0  # chance: the place 0 of the other episode is behind the walking opponent
    within_1 = hits_of(guess, true, filled, 1, 0.5)
    assert within_1["hits"].tolist()[:4] == [1, 1, 1, 1]  # only the waiting opponent is at the place


def test_opponents_are_counted_separately():
    """One of two opponents passes through the place inferred for it: half a hit."""
    true = torch.zeros(2, 4, 4)
    true[:, :, 0], true[:, :, 2] = torch.arange(4.0), torch.arange(4.0)
    guess = true + torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert hits_of(guess, true, torch.ones(2, 4), 1, 0.1)["hits"].tolist() == [1.0, 1.0, 1.0]


def test_opponents_that_do_not_act_are_neither_hit_nor_counted():
    """The first of two opponents acts in the first two of four steps; it stays where the guess is."""
    true = torch.zeros(2, 5, 4)
    guess = torch.zeros(2, 5, 4)
    guess[..., 2:] = 9.0  # the second opponent is never there
    acted = torch.ones(2, 4, 2, dtype=torch.bool)
    acted[:, 2:, 0] = False
    counts = hits_of(guess, true, torch.ones(2, 5), 1, 0.1, acted)
    assert counts["hits"].tolist() == [1.0, 1.0, 0.0, 0.0] and counts["count"].tolist() == [2.0] * 4
    acted[:, 2:] = False
    counts = hits_of(guess, true, torch.ones(2, 5), 1, 0.1, acted)
    assert counts["count"].tolist() == [2.0, 2.0, 0.0, 0.0] and counts["chance"].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_nothing_is_counted_without_places_a_second_episode_or_a_horizon():
    true = torch.zeros(2, 4, 2)
    filled = torch.ones(2, 4)
    assert hits_of(true, true, filled, 1, 0.1)
    assert hits_of(true[..., :0], true[..., :0], filled, 1, 0.1) == {}
    assert hits_of(true[:1], true[:1], filled[:1], 1, 0.1) == hits_of(true, true, filled, 4, 0.1) == {}
