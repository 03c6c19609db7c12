"""Softmax over few choices equals torch's, in values and gradients."""

import pytest
import torch
from omarl.modules.softmax import FEW, log_softmax, softmax

PAIRS = [(log_softmax, torch.log_softmax), (softmax, torch.softmax)]


@pytest.mark.parametrize("ours, theirs", PAIRS, ids=["log_softmax", "softmax"])
@pytest.mark.parametrize("shape", [(3,), (4, 2, 1), (4, 2, 5), (6, FEW - 1), (6, FEW), (2, 40)])
def test_values_and_gradients_are_those_of_torch(shape, ours, theirs):
    torch.manual_seed(0)
    one, two = (torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    weights = torch.randn(shape)
    a, b = ours(one), theirs(two, -1)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    assert a.shape == b.shape
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("ours", [log_softmax, softmax])
def test_large_logits_do_not_overflow_and_nan_stays_in_its_row(ours):
    result = ours(torch.tensor([[1e30, 0.0, -1e9], [float("nan"), 0.0, 1.0], [0.0, 1.0, 2.0]]))
    assert torch.isfinite(result[[0, 2]]).all() and result[1].isnan().all()
