"""The causal transformer: equal step by step and along rollouts, its window, and the begin of episodes."""

from types import SimpleNamespace

import pytest
import torch
from model_parts import condition, parts
from omarl.modules.agents.transformer_agent import Layer, TransformerAgent
from omarl.modules.unrolling import unroll_rows
from omarl.types import ConfigError
from torch.nn import functional as F


def agent(window=4, layers=2, heads=2, width=8, inputs=3):
    """An agent whose layers, 0 at first, have random weights."""
    torch.manual_seed(0)
    made = TransformerAgent(inputs, SimpleNamespace(
        hidden_dim=width, transformer_window=window, transformer_layers=layers, transformer_heads=heads))  # fmt: skip
    for parameter in made.layers.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def stepwise(network, inputs, hidden):
    outputs = []
    for t in range(inputs.shape[1]):
        out, hidden = network(inputs[:, t], hidden)
        outputs.append(out)
    return torch.stack(outputs, dim=1), hidden


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("before", [0, 2, 9])
def test_steps_and_sequences_are_equal(layers, before):
    """From an empty window, a part of one, and a full one."""
    network, inputs = agent(layers=layers), torch.randn(5, 11, 3)
    _, hidden = network.unroll(torch.randn(5, before, 3), network.init_hidden().expand(5, -1))
    assert hidden.shape == (5, layers * 3 * 8 + 1) and (hidden[:, -1] == min(before, 3)).all()
    with torch.no_grad():
        along, last = network.unroll(inputs, hidden)
        single, other = stepwise(network, inputs, hidden)
    torch.testing.assert_close(along, single)
    torch.testing.assert_close(last, other)


def test_attention_is_that_of_torch_over_the_last_c_steps():
    torch.manual_seed(1)
    layer = Layer(8, window=3, heads=2)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, before, missing = torch.randn(1, 5, 8), torch.randn(1, 2, 8), torch.tensor([[1.0, 0.0]])
    found = layer(x, before, missing)
    every = torch.cat([before, x], dim=1)[0]
    for t in range(5):
        seen = every[t : t + 3] if t else every[1:3]  # the older of the two steps before is missing
        normal = layer.norm1(seen)
        k, v = layer.key_value(normal).chunk(2, dim=-1)
        q, k, v = (each.unflatten(-1, (2, 4)).transpose(0, 1) for each in (layer.query(normal[-1:]), k, v))
        bias = layer.bias[:, : len(seen)].flip(1)[:, None]  # the present step has distance 0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(0, 1).flatten()
        out = every[t + 2] + layer.joined(mixed)
        torch.testing.assert_close(found[0, t], out + layer.fc2(F.relu(layer.fc1(layer.norm2(out)))))


@pytest.mark.parametrize(("window", "layers"), [(2, 1), (4, 1), (4, 2), (3, 3)])
def test_the_features_depend_on_the_last_steps_and_on_no_later_one(window, layers):
    network, inputs = agent(window, layers), torch.randn(2, 14, 3, requires_grad=True)
    features, _ = network.unroll(inputs, network.init_hidden().expand(2, -1))
    (gradient,) = torch.autograd.grad(features[:, 11].pow(3).sum(), inputs)  # the sum alone is constant
    steps = gradient.abs().sum(dim=(0, 2)).nonzero().flatten().tolist()
    assert steps == list(range(11 - layers * (window - 1), 12))


def test_no_information_crosses_the_begin_of_an_episode():
    network, inputs = agent(), torch.randn(2, 8, 3, requires_grad=True)
    begins = torch.zeros(2, 8, 1)
    begins[0, 5] = begins[1, 2] = 1
    _, hidden = network.unroll(torch.randn(2, 6, 3), network.init_hidden().expand(2, -1))
    hidden = hidden.detach().requires_grad_()
    found = unroll_rows(network, inputs, hidden, begins)
    for row, first in ((0, 5), (1, 2)):
        by_input, by_hidden = torch.autograd.grad(
            found[row, first:].pow(3).sum(), (inputs, hidden), retain_graph=True
        )
        assert not by_input[row, :first].any() and by_input[row, first:].any() and not by_hidden.any()
        fresh, _ = network.unroll(inputs[row : row + 1, first:], network.init_hidden())
        torch.testing.assert_close(found[row : row + 1, first:], fresh)


def test_steps_that_do_not_exist_are_not_attended_to():
    """With two steps in the window, what is in the place of older ones does not matter, but these two do."""
    network, inputs = agent(layers=2), torch.randn(5, 6, 3)
    _, hidden = network.unroll(torch.randn(5, 2, 3), network.init_hidden().expand(5, -1))
    other, changed = hidden.clone(), hidden.clone()
    windows = other[:, :-1].view(5, 2, 3, 8)
    windows[:, :, 0] = torch.randn(5, 2, 8)
    changed[:, :-1].view(5, 2, 3, 8)[:, :, 1] += 1.0
    wanted = network.unroll(inputs, hidden)[0]
    torch.testing.assert_close(network.unroll(inputs, other)[0], wanted)
    assert not torch.allclose(network.unroll(inputs, changed)[0], wanted)


def test_an_untrained_network_has_the_features_of_the_present_step():
    torch.manual_seed(0)
    network = TransformerAgent(3, SimpleNamespace(hidden_dim=8))
    inputs = torch.randn(4, 6, 3)
    found, _ = network.unroll(inputs, network.init_hidden().expand(4, -1))
    torch.testing.assert_close(found, network.norm(F.relu(network.fc1(inputs))))


@pytest.mark.parametrize("model", ["liam", "plastic"])
def test_the_policy_is_trained_on_the_outputs_with_which_it_acted(prior, model):
    """Episodes of seven steps in rollouts of nine, and windows of three steps; last actions are inputs."""
    words = {"agent": "transformer", "transformer_window": 3, "obs_last_action": True, "condition_at": "input"}
    runner, learner = parts(prior, model, **words)
    for _ in range(3):
        learner.train(runner.run(), runner.t_env, 0)
    seen, selector = [], runner.mac.action_selector
    select = selector.select_action
    selector.select_action = lambda out, *args, **kwargs: seen.append(out) or select(out, *args, **kwargs)
    batch = runner.run()
    condition(learner, batch)
    assert batch["begins"][:, 1:-1].any() and not batch["begins"][:, 0].all()
    with torch.no_grad():
        torch.testing.assert_close(learner.mac.unroll(batch)[:, :-1], torch.stack(seen, dim=1), atol=1e-5, rtol=1e-4)


def test_it_learns_to_recall_an_earlier_input():
    """The input of two steps before; a network without memory has an error of 1."""
    network, out = agent(window=4, layers=1, width=16), torch.nn.Linear(16, 1)
    optimiser = torch.optim.Adam([*network.parameters(), *out.parameters()], lr=5e-3)
    for _ in range(250):
        inputs = torch.randn(32, 8, 3)
        features, _ = network.unroll(inputs, network.init_hidden().expand(32, -1))
        loss = (out(features)[:, 2:, 0] - inputs[:, :-2, 0]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.3


def test_gradients_are_those_of_double_precision():
    network = agent(window=3, layers=2).double()
    inputs = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    hidden = network.init_hidden()
    assert torch.autograd.gradcheck(lambda x: network.unroll(x, hidden)[0], (inputs,))


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match="transformer_heads: 3 do not divide hidden_dim=8"):
        TransformerAgent(3, SimpleNamespace(hidden_dim=8, transformer_heads=3))
