"""Running mean and variance."""

import pytest
import torch
from omarl.components.normalisers import RunningMeanStd


def test_batches_are_merged_to_the_statistics_of_all_rows():
    torch.manual_seed(0)
    rows, stats = torch.randn(50, 3) * 2 + 5, RunningMeanStd(3)
    for part in (rows[:7], rows[7:7], rows[7:30], rows[30:]):
        stats.update(part)
    torch.testing.assert_close(stats.mean, rows.double().mean(dim=0))
    torch.testing.assert_close(stats.var, rows.double().var(dim=0, unbiased=False))
    assert stats.count == 50


def test_numbers_that_are_not_valid_do_not_count():
    torch.manual_seed(0)
    rows, valid, stats = torch.randn(40, 3), (torch.rand(40, 3) < 0.6).float(), RunningMeanStd(3)
    valid[:, 2] = 0.0
    for part in (slice(0, 15), slice(15, 40)):
        stats.update(torch.where(valid[part] > 0, rows[part], 1e6), valid[part])
    for column in range(2):
        counted = rows[:, column][valid[:, column] > 0].double()
        torch.testing.assert_close(stats.mean[column], counted.mean())
        torch.testing.assert_close(stats.var[column], counted.var(unbiased=False))
    assert stats.count.tolist() == valid.sum(dim=0).tolist() and (stats.mean[2], stats.var[2]) == (0.0, 1.0)


def test_all_valid_numbers_give_the_statistics_without_a_mask():
    rows, one, other = torch.randn(33, 5), RunningMeanStd(5), RunningMeanStd(5)
    one.update(rows)
    other.update(rows, torch.ones_like(rows))
    assert torch.equal(one.mean, other.mean) and torch.equal(one.var, other.var)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rows_with_nan_or_infinity_change_nothing(value):
    stats = RunningMeanStd(3)
    stats.update(torch.randn(10, 3))
    before = stats.state_dict()
    faulty = torch.randn(10, 3)
    faulty[4, 1] = value
    stats.update(faulty)
    assert all(torch.equal(before[name], tensor) for name, tensor in stats.state_dict().items())
