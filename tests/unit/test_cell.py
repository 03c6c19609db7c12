"""The recurrent layer of agents, critics and opponent models is one key."""

from types import SimpleNamespace

import pytest
import torch
from omarl.modules.agents.rnn_agent import RNNAgent
from omarl.modules.critics.value_critic import ValueCritic

CELLS = ["gru", "mingru", "tests.outside:WindowTransformer"]


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_equals_its_single_steps(cell):
    torch.manual_seed(0)
    agent = RNNAgent(5, SimpleNamespace(n_actions=3, hidden_dim=8, cell=cell))
    inputs, hidden = torch.randn(4, 6, 5), agent.init_hidden().expand(4, -1)
    outputs, last = agent.unroll(inputs, hidden)
    for t in range(6):
        output, hidden = agent(inputs[:, t], hidden)
        torch.testing.assert_close(output, outputs[:, t])
    torch.testing.assert_close(hidden, last)


@pytest.mark.parametrize("cell", CELLS)
def test_a_recurrent_critic_has_equal_values_along_a_row_and_step_by_step(cell):
    torch.manual_seed(0)
    scheme = {"obs": {"vshape": 5}, "state": {"vshape": 7}}
    critic = ValueCritic(scheme, SimpleNamespace(n_agents=2, critic_hidden_dim=8, critic_use_rnn=True, cell=cell))
    obs, state, memory = torch.randn(3, 4, 2, 5), torch.randn(3, 4, 7), critic.init_hidden().expand(3, 2, -1)
    values, memories = critic.along(obs, state, None, torch.zeros(3, 4, 1), memory)
    for t in range(4):
        torch.testing.assert_close(critic(obs[:, t], state[:, t], None, memory), values[:, t])
        memory = memories[:, t]
