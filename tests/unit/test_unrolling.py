"""Recurrent networks along rows in which episodes begin."""

from types import SimpleNamespace

import pytest
import torch
from omarl.modules.agents.rnn_agent import MinGRUAgent, RNNAgent
from omarl.modules.gaussian_policy import WithLogStd
from omarl.modules.unrolling import unroll_rows

ROWS, STEPS, SIZE = 37, 9, 5  # two chunks of rows, of which one is not full


def network(layer_norm=False, kind=RNNAgent):
    torch.manual_seed(0)
    return kind(SIZE, SimpleNamespace(hidden_dim=12, n_actions=3, layer_norm=layer_norm, duelling=True))


def rows():
    torch.manual_seed(1)
    inputs, hidden = torch.randn(ROWS, STEPS, SIZE), torch.randn(ROWS, 12)
    begins = (torch.rand(ROWS, STEPS, 1) < 0.2).float()
    begins[3, 0] = begins[4, -1] = begins[5, 1] = begins[5, 2] = 1  # the first: ``hidden`` is the state there
    return inputs.requires_grad_(), hidden.requires_grad_(), begins


def step_by_step(agent, inputs, hidden, begins):
    outputs = []
    for t in range(STEPS):
        if t:
            hidden = hidden * (1 - begins[:, t])
        out, hidden = agent(inputs[:, t], hidden)
        outputs.append(out)
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("compiles", [True, False])
@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("kind", [RNNAgent, MinGRUAgent])
def test_a_network_along_rows_restarts_where_episodes_begin(kind, layer_norm, compiles, monkeypatch):
    agent = network(layer_norm, kind)
    if not compiles:
        monkeypatch.setattr(agent, "may_restart", False)
    assert kind is MinGRUAgent or agent.restarts(torch.zeros(1)) == compiles
    inputs, hidden, begins = rows()
    found, wanted = unroll_rows(agent, inputs, hidden, begins), step_by_step(agent, inputs, hidden, begins)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    leaves, weights = [inputs, hidden, *agent.parameters()], torch.randn_like(wanted)
    for mine, reference in zip(*(torch.autograd.grad(out, leaves, weights) for out in (found, wanted)), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=2e-5)


def test_numbers_of_an_episode_do_not_reach_the_next_one():
    agent = network()
    inputs, hidden, _ = rows()
    begins = torch.zeros(ROWS, STEPS, 1)
    begins[:, 4] = 1
    found = unroll_rows(agent, inputs, hidden, begins)
    gradient, of_hidden = torch.autograd.grad(found[:, 4:].sum(), [inputs, hidden])
    assert gradient[:, 4:].abs().sum(dim=-1).min() > 0
    assert not gradient[:, :4].any() and not of_hidden.any()
    with torch.no_grad():
        inputs[:, 2] = float("nan")
    found = unroll_rows(agent, inputs, hidden, begins)
    assert found[:, 2:4].isnan().all() and not found[:, 4:].isnan().any()


def test_log_standard_deviations_follow_the_outputs_of_restarted_rows():
    agent = network()
    inputs, hidden, begins = rows()
    found = unroll_rows(WithLogStd(agent, 2), inputs, hidden, begins)
    torch.testing.assert_close(found[..., :3], unroll_rows(agent, inputs, hidden, begins))
    assert found.shape[-1] == 5 and not found[..., 3:].any()
