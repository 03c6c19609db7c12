"""Lambda returns and advantages against hand-computed sums."""

import pytest
import torch
from omarl.components.returns import gae, lambda_returns


def column(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1)


def test_lambda_zero_gives_one_step_returns():
    g = lambda_returns(column(1, 2, 3), column(10, 20, 30), column(0, 0, 0), 0.5, 0.0)
    assert g.flatten().tolist() == [1 + 5, 2 + 10, 3 + 15]


def test_lambda_one_gives_the_discounted_sum():
    g = lambda_returns(column(1, 2, 3), column(10, 20, 30), column(0, 0, 0), 0.5, 1.0)
    assert g.flatten().tolist() == [1 + 0.5 * (2 + 0.5 * 18), 2 + 0.5 * 18, 18]


def test_intermediate_lambda_matches_hand_computed_returns():
    g = lambda_returns(column(1, 2), column(10, 20), column(0, 0), 0.9, 0.25)
    last = 2 + 0.9 * 20
    assert g.flatten().tolist() == pytest.approx([1 + 0.9 * (0.75 * 10 + 0.25 * last), last])


def test_returns_stop_at_the_end_of_an_episode():
    """At a termination the next value is 0; at a truncation it is the value of the last observation."""
    reward, value = column(1, 2, 3, 4), column(10, 0, 30, 40)
    g = lambda_returns(reward, value, column(0, 1, 0, 0), 0.5, 1.0)
    last = 4 + 20
    assert g.flatten().tolist() == [1 + 0.5 * 2, 2, 3 + 0.5 * last, last]
    g = lambda_returns(reward, column(10, 7, 30, 40), column(0, 1, 0, 0), 0.5, 1.0)
    assert g.flatten().tolist()[:2] == [1 + 0.5 * (2 + 3.5), 2 + 3.5]


def test_rows_and_columns_are_independent_and_returns_have_no_gradient():
    reward = torch.randn(3, 4, 2, requires_grad=True)
    value, ended = torch.randn(3, 4, 2), (torch.rand(3, 4, 1) < 0.3).float()
    g = lambda_returns(reward, value, ended, 0.9, 0.7)
    assert not g.requires_grad
    alone = lambda_returns(reward[1:2, :, 1:], value[1:2, :, 1:], ended[1:2], 0.9, 0.7)
    torch.testing.assert_close(g[1:2, :, 1:], alone)


def test_gae_matches_hand_computed_advantages():
    reward, value, ahead = column(1, 2), column(10, 20), column(20, 30)
    advantage, returns = gae(reward, value, ahead, column(0, 0), 0.5, 0.4)
    second = 2 + 0.5 * 30 - 20
    first = 1 + 0.5 * 20 - 10 + 0.5 * 0.4 * second
    assert advantage.flatten().tolist() == pytest.approx([first, second])
    assert returns.flatten().tolist() == pytest.approx([first + 10, second + 20])


def test_gae_with_lambda_one_is_the_discounted_sum_minus_the_value():
    torch.manual_seed(0)
    reward, value = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    ahead = torch.cat([value[:, 1:], torch.randn(2, 1, 3)], dim=1)
    advantage, returns = gae(reward, value, ahead, torch.zeros(2, 5, 1), 0.9, 1.0)
    total = ahead[:, -1]
    for t in reversed(range(5)):
        total = reward[:, t] + 0.9 * total
        torch.testing.assert_close(returns[:, t], total)
        torch.testing.assert_close(advantage[:, t], total - value[:, t])


def test_gae_stops_at_the_end_of_an_episode():
    reward, value, ahead = column(1, 2, 3), column(10, 20, 30), column(20, 0, 40)
    advantage, _ = gae(reward, value, ahead, column(0, 1, 0), 0.5, 1.0)
    third = 3 + 20 - 30
    second = 2 - 20
    assert advantage.flatten().tolist() == pytest.approx([1 + 10 - 10 + 0.5 * second, second, third])
