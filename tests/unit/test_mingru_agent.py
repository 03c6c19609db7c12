"""minGRU: the whole sequence at once is the steps one after another."""

import pytest
import torch
from omarl.modules.agents.mingru_agent import MinGRUAgent, log_positive, positive


def agent_of(**changes):
    torch.manual_seed(0)
    return MinGRUAgent(5, {"n_actions": 3, "hidden_dim": 8, **changes})


@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_sequence_is_its_steps(layer_norm):
    agent = agent_of(layer_norm=layer_norm)
    inputs, hidden = 3 * torch.randn(4, 30, 5), torch.rand(4, 8)
    at_once, last = agent.unroll(inputs, hidden)
    for t in range(30):
        out, hidden = agent(inputs[:, t], hidden)
        torch.testing.assert_close(at_once[:, t], out, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last, hidden, rtol=1e-4, atol=1e-5)


def test_a_step_by_hand():
    agent = agent_of()
    inputs, hidden = torch.randn(2, 5), torch.rand(2, 8)
    update, candidate = agent.gates(torch.relu(agent.fc1(inputs))).chunk(2, dim=-1)
    z = torch.sigmoid(update)
    g = torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))
    torch.testing.assert_close(agent(inputs, hidden)[1], (1 - z) * hidden + z * g)


def test_it_starts_from_nothing_and_its_gradients_are_finite():
    agent = agent_of()
    inputs = (100 * torch.randn(3, 50, 5)).requires_grad_()
    out, _ = agent.unroll(inputs, agent.init_hidden().expand(3, -1))
    out.square().sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(inputs.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in agent.parameters())
    first, _ = agent(inputs[:, 0], agent.init_hidden().expand(3, -1))
    torch.testing.assert_close(out[:, 0], first, rtol=1e-4, atol=1e-4)


def test_the_past_is_remembered_and_the_future_is_not_known():
    agent = agent_of()
    inputs = torch.randn(1, 6, 5)
    changed = inputs.clone()
    changed[:, 3] += 1
    a, b = (agent.unroll(x, torch.zeros(1, 8))[0] for x in (inputs, changed))
    assert torch.equal(a[:, :3], b[:, :3]) and not torch.equal(a[:, 5], b[:, 5])


def test_the_positive_function_and_its_logarithm():
    x = torch.tensor([-30.0, -1.0, 0.0, 2.0, 300.0])
    torch.testing.assert_close(log_positive(x).exp(), positive(x), rtol=1e-4, atol=1e-12)
