"""Compiled hidden layers, and decisions with normalisation, equal torch: outputs, gradients and NaN."""

import copy
from types import SimpleNamespace

import pytest
import torch
from omarl.modules import hidden as hidden_module
from omarl.modules.agents.feature_agent import ConditionedHead, FeatureAgent
from omarl.modules.agents.rnn_agent import RNNAgent
from omarl.modules.compiled import kernels, threads_set
from omarl.modules.critics.value_critic import ValueCritic
from omarl.modules.hidden import MIN_ROWS, hidden_layer
from omarl.modules.linear import Linear
from torch import nn
from torch.nn import functional as F

SHAPES = [(300, 7, 8, 0), (833, 57, 64, 6), (2000, 40, 33, 1), (1600, 3, 100, 70)]


def layers(inputs, units, outputs, normalises):
    """A layer, its normalisation and the layer behind it, with random parameters."""
    norm = nn.LayerNorm(units) if normalises else nn.Identity()
    for parameter in norm.parameters():
        nn.init.normal_(parameter, 0.5)
    return Linear(inputs, units), norm, Linear(units, outputs) if outputs else None


def by_torch(x, layer, norm, head):
    hidden = F.relu(norm(F.linear(x, layer.weight, layer.bias)))
    return hidden if head is None else F.linear(hidden, head.weight, head.bias)


def ours(x, layer, norm, head):
    return hidden_layer(x, layer, norm, None if head is None else head.pair)


def parameters_of(layer, norm, head):
    return [*layer.parameters(), *norm.parameters(), *([] if head is None else head.parameters())]


@pytest.mark.parametrize("normalises", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "units", "outputs"), SHAPES)
def test_outputs_and_gradients_equal_torch(rows, inputs, units, outputs, normalises):
    assert rows >= MIN_ROWS
    assert kernels("hidden_kernels") is not None
    parts = layers(inputs, units, outputs, normalises)
    x = (3 * torch.randn(rows, inputs)).requires_grad_()
    mine, expected = ours(x, *parts), by_torch(x, *parts)
    assert type(mine.grad_fn.next_functions[0][0]).__name__ == "_HiddenBackward"
    torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)
    leaves, weights = [x, *parameters_of(*parts)], torch.randn_like(mine)
    found, wanted = (torch.autograd.grad(each, leaves, weights) for each in (mine, expected))
    for gradient, reference in zip(found, wanted, strict=True):
        scale = reference.abs().max().clamp(min=1.0)
        torch.testing.assert_close(gradient / scale, reference / scale, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, *parts), expected, rtol=1e-5, atol=1e-5)
        for few in (x[:1], x[:129], x[:0]):
            torch.testing.assert_close(ours(few, *parts), by_torch(few, *parts), rtol=1e-5, atol=1e-5)


def test_the_gradient_of_a_constant_input_is_left_out():
    parts = layers(5, 6, 2, True)
    x = torch.randn(400, 5)
    found = torch.autograd.grad(ours(x, *parts).square().sum(), parameters_of(*parts))
    wanted = torch.autograd.grad(by_torch(x, *parts).square().sum(), parameters_of(*parts))
    for gradient, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-3)


def test_inputs_of_any_shape_and_memory_layout():
    parts = layers(5, 6, 2, True)
    for x in (torch.randn(3, 4, 40, 5), torch.randn(50, 12, 5).transpose(0, 1), torch.randn(40, 12, 10)[..., ::2]):
        for seen in (x, x.requires_grad_()):
            found = ours(seen, *parts)
            torch.testing.assert_close(found, by_torch(seen, *parts), rtol=1e-5, atol=1e-5)
            assert found.shape == (*x.shape[:-1], 2)
    assert ours(torch.randn(50, 12, 5).transpose(0, 1), *parts).transpose(0, 1).is_contiguous()


@pytest.mark.parametrize("normalises", [False, True])
@pytest.mark.parametrize("outputs", [0, 3])
def test_nan_remains_where_it_is_with_torch(outputs, normalises):
    parts = layers(5, 6, outputs, normalises)
    x = torch.randn(300, 5, requires_grad=True)
    with torch.no_grad():
        x[7, 2], x[9, 1] = float("nan"), float("inf")
    mine, expected = ours(x, *parts), by_torch(x, *parts)
    assert torch.equal(mine.isnan(), expected.isnan())
    with torch.no_grad():
        assert torch.equal(ours(x, *parts).isnan(), expected.isnan())
    weights = torch.randn_like(mine)
    weights[3, 1] = float("nan")
    leaves = [x, *parameters_of(*parts)]
    found, wanted = (torch.autograd.grad(each, leaves, weights) for each in (mine, expected))
    assert all(torch.equal(a.isnan(), b.isnan()) for a, b in zip(found, wanted, strict=True))


def test_results_do_not_depend_on_the_number_of_threads():
    parts, x = layers(20, 30, 4, True), torch.randn(2000, 20, requires_grad=True)
    found = []
    for count in (1, 2):
        with threads_set(count):
            out = ours(x, *parts)
            found.append([out, *torch.autograd.grad(out.square().sum(), [x, *parameters_of(*parts)])])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_new_parameters_are_read_and_changed_ones_are_reported():
    layer, norm, head = layers(5, 6, 2, True)
    x = torch.randn(300, 5)
    ours(x, layer, norm, head)
    for parameter in (layer.weight, norm.weight, head.weight):
        parameter.data = torch.randn_like(parameter)  # in other memory
    out = ours(x, layer, norm, head)
    torch.testing.assert_close(out, by_torch(x, layer, norm, head), rtol=1e-5, atol=1e-5)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.zero_()
        torch.testing.assert_close(ours(x, twin, norm, head), by_torch(x, twin, norm, head), rtol=1e-5, atol=1e-5)
        layer.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_torch_takes_over_where_there_are_no_compiled_functions(monkeypatch):
    parts = layers(5, 6, 2, True)
    x = torch.randn(300, 5)
    monkeypatch.setattr(hidden_module, "is_compiled", lambda *_: False)
    assert torch.equal(ours(x, *parts), by_torch(x, *parts))
    monkeypatch.undo()
    doubles = [part.double() for part in parts]
    assert torch.equal(ours(x.double(), *doubles), by_torch(x.double(), *doubles))


def test_stacked_networks():
    """``torch.vmap`` supports no custom autograd function."""
    nets = [layers(5, 6, 2, True) for _ in range(3)]
    x = torch.randn(3, 400, 5)
    stacked, _ = torch.func.stack_module_state([nn.ModuleList(net) for net in nets])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(nets[0])

        def forward(self, x):
            return ours(x, *self.parts)

    net = Net()
    named = {f"parts.{name}": value for name, value in stacked.items()}
    found = torch.vmap(lambda p, x: torch.func.functional_call(net, p, (x,)))(named, x)
    for mine, rows, parts in zip(found, x, nets, strict=True):
        torch.testing.assert_close(mine, by_torch(rows, *parts), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalises", [False, True])
@pytest.mark.parametrize("agent", [RNNAgent, FeatureAgent])
def test_a_decision_equals_the_differentiable_step(agent, normalises):
    net = agent(9, {"n_actions": 4, "hidden_dim": 12, "layer_norm": normalises})
    for name, parameter in net.named_parameters():
        if name.startswith("norm"):
            nn.init.normal_(parameter, 0.5)
    x, h = 3 * torch.randn(30, 9), torch.randn(30, 12)
    expected = net(x, h)
    assert net.decides
    with torch.no_grad():
        found = net(x, h)
    assert not found[0].requires_grad
    for mine, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-5)
    along = net.unroll(x[:, None].expand(-1, 3, -1), h)[0][:, 0]
    torch.testing.assert_close(along, expected[0], rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        x[3, 1] = float("nan")
        out, state = net(x, h)
    assert out[3].isnan().all()
    assert state[3].isnan().all()
    assert not out[:3].isnan().any()


def test_agents_with_normalisation_are_not_unrolled_without_it():
    net = RNNAgent(9, {"n_actions": 4, "layer_norm": True})
    assert net.decides
    assert not net.encodes


@pytest.mark.parametrize("duelling", [False, True])
def test_the_head_is_the_layers_it_has(duelling):
    head = ConditionedHead(6, 4, 3, 5, SimpleNamespace(), duelling=duelling)
    parts = torch.randn(300, 6), torch.randn(300, 4), torch.randn(300, 3)
    hidden = F.relu(F.linear(torch.cat(parts, dim=-1), *head.fc1.pair))
    expected = F.linear(hidden, *head.fc2.pair)
    if duelling:
        expected = expected - expected.mean(dim=-1, keepdim=True) + F.linear(hidden, *head.value.pair)
    torch.testing.assert_close(head(*parts), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalises", [False, True])
def test_the_critic_is_the_layers_it_has(normalises):
    scheme = {"obs": {"vshape": (4,)}, "state": {"vshape": (7,)}}
    args = {"n_agents": 2, "critic": "central", "critic_layer_norm": normalises}
    critic = ValueCritic(scheme, args)
    obs, state = torch.randn(20, 9, 2, 4), torch.randn(20, 9, 7)
    x = torch.cat([obs, torch.eye(2).expand(20, 9, -1, -1), state[:, :, None].expand(-1, -1, 2, -1)], dim=-1)
    hidden = by_torch(x, critic.fc1, critic.norm1, None)
    expected = by_torch(hidden, critic.fc2, critic.norm2, critic.out).squeeze(-1)
    torch.testing.assert_close(critic(obs, state), expected, rtol=1e-5, atol=1e-5)
