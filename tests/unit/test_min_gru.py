"""minGRU: a sequence equals its single steps, and its gradients equal autograd's."""

import pytest
import torch
from omarl.modules.agents.rnn_agent import MinGRUAgent
from omarl.modules.min_gru import MinGRU


def agent_of(**changes):
    torch.manual_seed(0)
    return MinGRUAgent(5, {"n_actions": 3, "hidden_dim": 8, **changes})


def cell_and_inputs():
    torch.manual_seed(0)
    return MinGRU(5, 8).double(), torch.randn(4, 30, 5).double(), torch.randn(4, 8).double()


def steps(cell, inputs, hidden):
    states = []
    for t in range(inputs.shape[1]):
        hidden = cell.step(inputs[:, t], hidden)
        states.append(hidden)
    return torch.stack(states, dim=1)


def test_one_step_matches_the_formula():
    cell, inputs, hidden = cell_and_inputs()
    gate, new = (inputs[:, 0] @ cell.fc.weight.t() + cell.fc.bias).split(8, dim=1)
    z = 1 / (1 + (-gate).exp())
    torch.testing.assert_close(cell.step(inputs[:, 0], hidden), (1 - z) * hidden + z * new)


def test_a_sequence_and_its_gradients_equal_single_steps():
    cell, inputs, hidden = cell_and_inputs()
    given = [inputs.requires_grad_(), hidden.requires_grad_(), *cell.parameters()]
    weight = torch.randn(4, 30, 8).double()
    along, last = cell(inputs, hidden.unsqueeze(0))
    by_step = steps(cell, inputs, hidden)
    torch.testing.assert_close(along, by_step)
    torch.testing.assert_close(last[0], by_step[:, -1])
    ours, torchs = (torch.autograd.grad((x * weight).sum(), given) for x in (along, by_step))
    for mine, theirs in zip(ours, torchs, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["input", "state", "grad"])
def test_a_sequence_has_nan_and_inf_where_single_steps_have_them(where, value):
    cell, inputs, hidden = cell_and_inputs()
    weight = torch.randn(4, 30, 8).double()
    {"input": inputs[:, 9], "state": hidden, "grad": weight[:, 9]}[where][2, 3] = value
    given = [inputs.requires_grad_(), hidden.requires_grad_(), *cell.parameters()]
    along, by_step = cell(inputs, hidden.unsqueeze(0))[0], steps(cell, inputs, hidden)
    assert torch.equal(torch.isfinite(along), torch.isfinite(by_step))
    ours, torchs = (torch.autograd.grad(x, given, weight) for x in (along, by_step))
    for mine, theirs in zip(ours, torchs, strict=True):
        assert torch.equal(torch.isfinite(mine), torch.isfinite(theirs))
    assert not all(torch.isfinite(each).all() for each in (along, *ours))


@pytest.mark.parametrize("changes", [{}, {"layer_norm": True}, {"duelling": False}, {"use_rnn": False}])
def test_unrolling_an_agent_equals_single_steps(changes):
    agent = agent_of(**changes)
    inputs, hidden = 3 * torch.randn(4, 30, 5), torch.rand(4, 8)
    at_once, last = agent.unroll(inputs, hidden)
    for t in range(30):
        out, hidden = agent(inputs[:, t], hidden)
        torch.testing.assert_close(at_once[:, t], out, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last, hidden, rtol=1e-4, atol=1e-5)


def test_outputs_depend_on_past_inputs_and_not_on_future_inputs():
    agent = agent_of()
    inputs = torch.randn(1, 6, 5)
    changed = inputs.clone()
    changed[:, 3] += 1
    a, b = (agent.unroll(x, torch.zeros(1, 8))[0] for x in (inputs, changed))
    assert torch.equal(a[:, :3], b[:, :3]) and not torch.equal(a[:, 5], b[:, 5])
