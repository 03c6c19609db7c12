"""The compiled TD errors equal torch's: values, gradients, and where they are not finite."""

import pytest
import torch
from omarl.modules import compiled
from omarl.modules.td_error import taken_and_next, td_error

B, T, N, U = 4, 6, 3, 5


def results(q, target_q, double_q, common, given, gradient):
    """Everything that the two functions return, and the gradient of ``q``."""
    q = q.clone().requires_grad_()
    taken, next_values = taken_and_next(q, target_q, given["actions"], given["avail"], double_q)
    reward, alive, mask = given["reward"], given["alive"], given["mask"]
    if common:
        taken, next_values = (taken * alive[:, :-1]).sum(2, True), next_values.sum(2, True)
        reward, alive, mask = reward[..., :1], alive.amax(2, True), mask[..., :1]
    found = td_error(taken, next_values, reward, given["terminated"], alive[:, 1:], mask, 0.9)
    (found.loss * gradient).backward()
    return [taken.detach(), next_values, *(each.detach() for each in found), q.grad]


def inputs():
    torch.manual_seed(5)
    q, target_q = (torch.randn(T + 1, B * N, U).transpose(0, 1).unflatten(0, (B, N)).transpose(1, 2) for _ in "12")
    avail = (torch.rand(B, T + 1, N, U) < 0.5).byte()
    avail[..., 1] = 1
    given = {
        "actions": torch.randint(U, (B, T + 1, N, 1)),
        "avail": avail,
        "reward": torch.randn(B, T, N),
        "terminated": (torch.rand(B, T, 1) < 0.3).byte(),
        "alive": (torch.rand(B, T + 1, N) < 0.8).float(),
        "mask": (torch.rand(B, T, N) < 0.7).float(),
    }
    return q, target_q, given


def both(monkeypatch, *arguments):
    """The results of the compiled functions and of torch's."""
    assert compiled.kernels("value_kernels") is not None
    mine = results(*arguments)
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "kernels", lambda name: None)
        return mine, results(*arguments)


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("double_q", [False, True])
def test_compiled_td_errors_equal_torchs(double_q, common, monkeypatch):
    q, target_q, given = inputs()
    for mine, theirs in zip(*both(monkeypatch, q, target_q, double_q, common, given, 3.0), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_an_empty_mask_gives_zeros(monkeypatch):
    q, target_q, given = inputs()
    given["mask"].zero_()
    mine, theirs = both(monkeypatch, q, target_q, True, False, given, 1.0)
    assert not mine[2] and not mine[-1].any()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["q", "target_q", "reward", "gradient"])
def test_td_errors_are_not_finite_where_torchs_are_not(where, value, monkeypatch):
    q, target_q, given = inputs()
    chosen = {"q": q, "target_q": target_q, "reward": given["reward"], "gradient": torch.ones(1)}[where]
    chosen[0] = value
    gradient = chosen if where == "gradient" else 1.0
    mine, theirs = both(monkeypatch, q, target_q, True, False, given, gradient)
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(torch.isfinite(a), torch.isfinite(b))
    assert not torch.isfinite(mine[-1]).all()
