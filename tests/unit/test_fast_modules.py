"""Linear and GRU equal torch's layers: outputs, gradients and state dicts."""

import copy
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import args_for, env_info, random_batch
from omarl.components.action_selectors import EpsilonGreedy
from omarl.controllers.basic_controller import BasicMAC
from omarl.modules import compiled
from omarl.modules import linear as linear_module
from omarl.modules.agents.feature_agent import FeatureAgent
from omarl.modules.agents.rnn_agent import RNNAgent
from omarl.modules.gru import GRU, Around, Given
from omarl.modules.linear import Linear
from omarl.types import Observation
from torch import nn


def gradients(module, inputs, outputs):
    torch.manual_seed(7)
    (outputs * torch.randn_like(outputs)).sum().backward()
    found = [p.grad.clone() for p in module.parameters()] + [x.grad.clone() for x in inputs]
    for tensor in (*module.parameters(), *inputs):
        tensor.grad = None
    return found


@pytest.mark.parametrize(
    ("rows", "sizes"), [(4, (64, 32)), (600, (64, 32)), (600, (21, 64)), (600, (64, 192)), (600, (64, 1))]
)
def test_linear_equals_torch(rows, sizes):
    ours = Linear(*sizes)
    theirs = nn.Linear(*sizes)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(rows // 2, 2, sizes[0], requires_grad=True)
    a, b = ours(x), theirs(x)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    for got, expected in zip(gradients(ours, [x], ours(x)), gradients(theirs, [x], theirs(x)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_linear_works_without_gradient_of_its_input():
    layer = Linear(32, 32)
    layer(torch.randn(500, 32)).sum().backward()
    assert layer.weight.grad is not None


def test_linear_under_vmap_equals_torch():
    """``torch.vmap`` does not support custom autograd functions."""
    x, weight, bias = torch.randn(3, 300, 64), torch.randn(3, 64, 64), torch.randn(3, 64)
    stacked = torch.vmap(linear_module.linear)(x, weight, bias)
    torch.testing.assert_close(stacked, x @ weight.mT + bias[:, None], atol=1e-4, rtol=1e-4)


def test_linear_without_onednn_equals_torch(monkeypatch):
    monkeypatch.setattr(linear_module, "_product", None)
    layer, x = Linear(32, 32), torch.randn(500, 32)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    assert torch.equal(linear_module.product(x, layer.weight), x @ layer.weight.T)


@pytest.mark.parametrize(
    ("rows", "steps", "size", "width"), [(5, 26, 7, 8), (96, 26, 64, 64), (1, 2, 3, 4), (300, 9, 40, 33)]
)
def test_gru_equals_torch(rows, steps, size, width):
    assert compiled.kernels("gru_kernels") is not None
    ours, theirs = GRU(size, width), nn.GRU(size, width, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = (3 * torch.randn(rows, steps, size)).requires_grad_()
    h = torch.randn(1, rows, width).requires_grad_()
    (a, last_a), (b, last_b) = ours(x, h), theirs(x, h)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(last_a, last_b, rtol=1e-5, atol=2e-6)
    for got, expected in zip(
        gradients(ours, [x, h], ours(x, h)[0]), gradients(theirs, [x, h], theirs(x, h)[0]), strict=True
    ):
        scale = expected.abs().max().clamp(min=1.0)
        torch.testing.assert_close(got / scale, expected / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rows", "sizes"), [(5, (7, 6, 8)), (100, (26, 64, 64)), (60, (9, 70, 33))])
def test_gru_with_a_layer_before_it_equals_torch(rows, sizes):
    layer, gru = Linear(*sizes[:2]), GRU(*sizes[1:])
    theirs = nn.GRU(*sizes[1:], batch_first=True)
    theirs.load_state_dict(gru.state_dict())
    x, h = torch.randn(rows, 9, sizes[0], requires_grad=True), torch.randn(1, rows, sizes[2], requires_grad=True)
    weights, parameters = torch.randn(rows, 9, sizes[2]), [*layer.parameters(), *gru.parameters()]
    ours = gru.encoded(layer, x, h)[0]
    expected = theirs(torch.relu(nn.functional.linear(x, layer.weight, layer.bias)), h)[0]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=2e-6)
    found = torch.autograd.grad(ours, [x, h, *parameters], weights)
    wanted = torch.autograd.grad(expected, [x, h, *layer.parameters(), *theirs.parameters()], weights)
    for mine, reference in zip(found, wanted, strict=True):
        scale = reference.abs().max().clamp(min=1.0)
        torch.testing.assert_close(mine / scale, reference / scale, rtol=1e-4, atol=1e-5)
    for head in ([], [Linear(sizes[2], 5)], [Linear(sizes[2], 5), Linear(sizes[2], 1)]):
        with torch.no_grad():
            assert gru.decides(x)
            parts = [p for each in head for p in (each.weight, each.bias)]
            out, step = decision(gru, layer, x.detach()[:, 0], h.detach()[0], parts)
            torch.testing.assert_close(step, ours[:, 0], rtol=1e-5, atol=2e-6)
            given = [each(step) for each in head]
        if len(given) == 2:
            given = [given[1] + given[0] - given[0].mean(dim=1, keepdim=True)]
        torch.testing.assert_close(out, given[0] if given else step, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("rows", "sizes"), [(5, (7, 6, 8, 3)), (100, (26, 64, 64, 5))])
def test_gru_with_layers_before_and_behind_it_equals_torch(rows, sizes):
    layer, gru, head = Linear(*sizes[:2]), GRU(*sizes[1:3]), nn.Linear(*sizes[2:])
    theirs = nn.GRU(*sizes[1:3], batch_first=True)
    theirs.load_state_dict(gru.state_dict())
    x, h = torch.randn(rows, 9, sizes[0], requires_grad=True), torch.randn(1, rows, sizes[2], requires_grad=True)
    ours, last = gru.encoded(layer, x, h, (head.weight, head.bias))
    states, expected_last = theirs(torch.relu(nn.functional.linear(x, layer.weight, layer.bias)), h)
    expected, leaves = head(states), [x, h, *layer.parameters(), *head.parameters()]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=5e-6)
    weights = torch.randn_like(expected), torch.randn_like(last)
    for given in (slice(0, 1), slice(0, 2)):  # the gradient of the outputs, also with one of the last state
        found = torch.autograd.grad(
            (ours, last)[given], [*leaves, *gru.parameters()], weights[given], retain_graph=True
        )
        wanted = torch.autograd.grad(
            (expected, expected_last)[given], [*leaves, *theirs.parameters()], weights[given], retain_graph=True
        )
        for mine, reference in zip(found, wanted, strict=True):
            scale = reference.abs().max().clamp(min=1.0)
            torch.testing.assert_close(mine / scale, reference / scale, rtol=1e-4, atol=1e-5)
    weights[0][3, 4, 1] = float("nan")
    found = torch.autograd.grad(ours, [*leaves, *gru.parameters()], weights[0], retain_graph=True)
    wanted = torch.autograd.grad(expected, [*leaves, *theirs.parameters()], weights[0])
    assert all(torch.equal(a.isnan(), b.isnan()) for a, b in zip(found, wanted, strict=True))


def decision(gru, layer, x, h, head=()):
    """``GRU.decision`` of tensors, for one agent in each copy."""
    rows, before = x.contiguous().numpy()[:, None], h.numpy()[:, None]
    out, after = np.empty((len(x), 1, len(head[0]) if head else h.shape[1]), np.float32), np.empty_like(before)
    gru.decision(Around(layer, head), Given(rows, rows[..., :0], 0, np.zeros(1, np.int64), before), after, out)
    return [torch.from_numpy(each[:, 0]) for each in (out, after)]


def test_a_decision_computes_only_its_agents_from_all_parts_of_their_inputs():
    copies, agents, own = 3, 4, np.array([3, 1])
    layer, gru, head = Linear(5 + 2 + agents, 6), GRU(6, 7), Linear(7, 2)
    obs, last = (np.random.default_rng(0).random((copies, agents, size), np.float32) for size in (5, 2))
    hidden = np.random.default_rng(1).random((copies, agents, 7), np.float32)
    out, after = np.full((copies, agents, 2), -1.0, np.float32), np.full_like(hidden, -1.0)
    with torch.no_grad():
        gru.decision(Around(layer, head.pair), Given(obs, last, agents, own, hidden), after, out)
        ids = np.broadcast_to(np.eye(agents, dtype=np.float32), (copies, agents, agents))
        rows = torch.from_numpy(np.concatenate([obs, last, ids], axis=2)[:, own]).reshape(-1, 5 + 2 + agents)
        state = gru.step(torch.relu(layer(rows)), torch.from_numpy(hidden[:, own]).reshape(-1, 7))
        expected = head(state)
    for found, wanted in ((after, state), (out, expected)):
        torch.testing.assert_close(torch.from_numpy(found[:, own]).reshape(wanted.shape), wanted)
        assert (np.delete(found, own, axis=1) == -1.0).all()


def test_decisions_follow_every_kind_of_change_of_the_weights():
    layer, gru, x, h = Linear(3, 4), GRU(4, 5), torch.randn(6, 3), torch.randn(6, 5)
    with torch.no_grad():
        for change in (
            lambda: gru.weight_hh_l0.mul_(2.0),
            lambda: gru.weight_ih_l0.data.copy_(torch.randn(15, 4)),
            lambda: setattr(gru.bias_ih_l0, "data", torch.randn(15)),
            lambda: layer.load_state_dict(Linear(3, 4).state_dict()),
            lambda: setattr(layer, "weight", nn.Parameter(torch.randn(4, 3))),
            lambda: gru.load_state_dict(copy.deepcopy(GRU(4, 5)).state_dict()),
        ):
            before = decision(gru, layer, x, h)[1]
            change()
            after = decision(gru, layer, x, h)[1]
            torch.testing.assert_close(after, gru.step(torch.relu(layer(x)), h), rtol=1e-5, atol=2e-6)
            assert not torch.equal(before, after)
        other = copy.deepcopy(gru)
        other.weight_hh_l0.add_(1.0)
        torch.testing.assert_close(decision(other, layer, x, h)[1], other.step(torch.relu(layer(x)), h))


VALUES = [1.0, 2.0, -3.0, float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("epsilon", [0.3, 1.0])
def test_compiled_choices_equal_torchs(epsilon, monkeypatch):
    torch.manual_seed(0)
    selector = EpsilonGreedy(SimpleNamespace(epsilon_start=epsilon, epsilon_finish=epsilon))
    values = torch.tensor(VALUES)[torch.randint(len(VALUES), (40, 3, 4))]
    avail = (torch.rand(40, 3, 4) < 0.6).byte()
    avail[..., 2] = 1
    chosen = []
    for _ in range(2):
        torch.manual_seed(1)
        chosen.append(selector.select_action(values, avail, 0))
        monkeypatch.setattr(compiled, "kernels", lambda name: None)
    assert torch.equal(*chosen)


@pytest.mark.parametrize("changes", [{}, {"share_parameters": "none"}, {"obs_agent_id": False}, {"duelling": False}])
def test_compiled_decisions_of_a_controller_equal_torchs(changes, monkeypatch):
    info = env_info(agents=("h_0", "p_0", "h_1"), agent_types=("h", "p", "h"))
    batch = random_batch(info, [3, 3])
    mac = BasicMAC(batch.scheme, batch.groups, args_for(info, **changes))
    now = Observation(*(batch[n][:, 1].numpy() for n in ("obs", "state", "avail_actions", "agent_mask")))
    last, carry = batch["actions_onehot"][:, 1], torch.randn(2, 3, mac.width)
    found = []
    for _ in range(2):
        found.append(mac.act(now, last, carry, 0, True))
        monkeypatch.setattr(compiled, "kernels", lambda name: None)
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["inputs", "decide", "_step"])
def test_a_controller_that_changes_a_part_of_the_decision_acts_by_it(name):
    def changed(self, *args):
        calls.append(name)
        return getattr(BasicMAC, name)(self, *args)

    calls, info = [], env_info()
    batch = random_batch(info, [3, 3])
    mac = type("Own", (BasicMAC,), {name: changed})(batch.scheme, batch.groups, args_for(info))
    now = Observation(*(batch[n][:, 1].numpy() for n in ("obs", "state", "avail_actions", "agent_mask")))
    mac.act(now, batch["actions_onehot"][:, 1], mac.initial_carry(2), 0, True)
    assert calls


def test_gru_gives_the_same_numbers_with_any_number_of_threads():
    torch.manual_seed(1)
    layer, gru, x = Linear(9, 64), GRU(64, 64), torch.randn(200, 7, 9)
    found = []
    for n in (1, 2, 4):
        with compiled.threads_set(n):
            out = gru.encoded(layer, x, torch.zeros(1, 200, 64))[0]
            found.append([out, *torch.autograd.grad(out.square().sum(), [*layer.parameters(), *gru.parameters()])])
    assert compiled.threads() == 1
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_products_of_packed_matrices_equal_numpys(transposed, adds):
    kernels, rng = compiled.kernels("matrix_kernels"), np.random.default_rng(1)
    numbers = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    for rows, depth, width in itertools.product((1, 3, 4, 9), (0, 1, 7), (1, 8, 26, 48, 50)):
        a = numbers(depth, rows).T if transposed else numbers(rows, depth)
        b = numbers(width, depth).T if transposed else numbers(depth, width)
        whole = numbers(rows, width + 2)
        out, beyond = whole[:, 1:-1], whole[:, [0, -1]].copy()
        expected = a @ b + (out if adds else 0.0)
        packed = np.empty(kernels.packed_size(depth, width), np.float32)
        kernels.fill(b, packed)
        kernels.product(a, packed, out, adds)
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
        assert np.array_equal(whole[:, [0, -1]], beyond)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_layer_before_the_gru_has_nan_where_torch_has_it(value):
    layer, gru, x = Linear(9, 16), GRU(16, 16), torch.randn(5, 6, 9)
    x[2, 3, 4] = value
    fast = gru.encoded(layer, x, torch.zeros(1, 5, 16))[0]
    slow = gru(torch.relu(nn.functional.linear(x, layer.weight, layer.bias)), torch.zeros(1, 5, 16))[0]
    assert torch.equal(torch.isfinite(fast), torch.isfinite(slow))
    with torch.no_grad():
        step = decision(gru, layer, x[:, 3], torch.zeros(5, 16))[1]
    assert torch.equal(torch.isfinite(step), torch.isfinite(gru.step(torch.relu(layer(x[:, 3])), torch.zeros(5, 16))))


def test_gru_gradients_match_finite_differences():
    torch.manual_seed(0)
    layer = GRU(3, 4)
    x, h = torch.randn(2, 5, 3), torch.zeros(1, 2, 4)
    weights = torch.randn(2, 5, 4)
    (layer(x, h)[0] * weights).sum().backward()
    for parameter in layer.parameters():
        for index in (0, parameter.numel() // 2, parameter.numel() - 1):
            flat = parameter.data.view(-1)
            ends = []
            for change in (1e-2, -1e-2):
                flat[index] += change
                ends.append(float((layer(x, h)[0] * weights).sum()))
                flat[index] -= change
            slope = (ends[0] - ends[1]) / 2e-2
            assert float(parameter.grad.view(-1)[index]) == pytest.approx(slope, abs=5e-3)


def test_saturated_gates_stay_finite():
    layer = GRU(3, 4)
    x = torch.tensor([1e4, -1e4, 1e30]).expand(2, 5, 3).clone().requires_grad_()
    out, _ = layer(x, torch.zeros(1, 2, 4))
    out.sum().backward()
    assert torch.isfinite(out).all() and out.abs().max() <= 1 and torch.isfinite(x.grad).all()


def test_gru_step_equals_a_sequence_of_one_step():
    layer = GRU(6, 8)
    x, h = torch.randn(10, 6), torch.randn(10, 8)
    torch.testing.assert_close(layer.step(x, h), layer(x.unsqueeze(1), h.unsqueeze(0))[0].squeeze(1))


def test_gru_without_numba_or_in_double_equals_torch(monkeypatch):
    layer, x, h = GRU(6, 8), torch.randn(3, 5, 6), torch.zeros(1, 3, 8)
    fast = layer(x, h)[0]
    double = copy.deepcopy(layer).double()
    torch.testing.assert_close(double(x.double(), h.double())[0].float(), fast, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(compiled, "kernels", lambda name: None)
    slow = layer(x, h)[0]
    torch.testing.assert_close(slow, fast, rtol=1e-5, atol=1e-6)


def test_time_first_layout_is_kept_and_gives_equal_results():
    layer, x = Linear(20, 64), torch.randn(96, 26, 20)
    first = x.transpose(0, 1).contiguous().transpose(0, 1)
    out = layer(first)
    assert out.transpose(0, 1).is_contiguous()
    torch.testing.assert_close(out, layer(x), rtol=1e-5, atol=1e-6)
    gru, h = GRU(64, 64), torch.randn(1, 96, 64)
    steps = gru(out, h)[0]
    assert steps.transpose(0, 1).is_contiguous()
    torch.testing.assert_close(steps, gru(layer(x), h)[0], rtol=1e-5, atol=1e-6)
    both = [gradients(layer, [], gru(layer(each), h)[0]) for each in (first, x)]
    for got, expected in zip(*both, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_gru_outputs_are_equal_without_gradients():
    gru, x, h = GRU(16, 16), torch.randn(7, 9, 16), torch.randn(1, 7, 16)
    with torch.no_grad():
        without_gradient = gru(x, h)[0]
    torch.testing.assert_close(without_gradient, gru(x, h)[0], rtol=0, atol=0)


NOT_FINITE = [float("nan"), float("inf"), float("-inf")]


def values_that_are_not_finite(tensor):
    """NaN, Inf and -Inf at their places, 0 at finite values."""
    return torch.where(torch.isfinite(tensor), torch.zeros_like(tensor), tensor)


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize(
    "where", ["input", "state", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "grad"]
)
def test_gru_has_nan_and_inf_where_torch_has_them(where, value):
    torch.manual_seed(3)
    ours, theirs = GRU(17, 24), nn.GRU(17, 24, batch_first=True)
    x, h, weights = torch.randn(5, 6, 17), torch.randn(1, 5, 24), torch.randn(5, 6, 24)
    if where == "input":
        x[2, 3, 4] = value
    elif where == "state":
        h[0, 2, 3] = value
    elif where == "grad":
        weights[2, 3, 4] = value
    else:
        getattr(ours, where).data.flatten()[5] = value
    theirs.load_state_dict(ours.state_dict())
    x.requires_grad_()
    h.requires_grad_()
    outputs, found = [], []
    for layer in (ours, theirs):
        out = layer(x, h)[0]
        outputs.append(out.detach())
        found.append([torch.isfinite(g) for g in torch.autograd.grad(out, [x, h, *layer.parameters()], weights)])
    torch.testing.assert_close(*map(values_that_are_not_finite, outputs), equal_nan=True)
    for mine, reference in zip(*found, strict=True):
        assert torch.equal(mine, reference)
    if value != value:  # an infinite bias only saturates a gate
        assert not all(each.all() for each in found[0])


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("where", ["input", "weight", "grad"])
def test_linear_has_nan_and_inf_where_torch_has_them(where, value):
    torch.manual_seed(3)
    ours, theirs = Linear(64, 32), nn.Linear(64, 32)
    x, weights = torch.randn(600, 64), torch.randn(600, 32)
    {"input": x, "weight": ours.weight.data, "grad": weights}[where][7, 5] = value
    theirs.load_state_dict(ours.state_dict())
    x.requires_grad_()
    outputs = [layer(x) for layer in (ours, theirs)]
    torch.testing.assert_close(*map(values_that_are_not_finite, outputs), equal_nan=True)
    found = [
        torch.autograd.grad(out, [x, *layer.parameters()], weights)
        for out, layer in zip(outputs, (ours, theirs), strict=True)
    ]
    for mine, reference in zip(*found, strict=True):
        assert torch.equal(torch.isfinite(mine), torch.isfinite(reference))
    assert not all(torch.isfinite(each).all() for each in (outputs[0], *found[0]))


def test_a_subclass_with_its_own_head_or_features_acts_as_it_is_trained():
    class Doubled(RNNAgent):
        def head(self, features):
            return 2.0 * super().head(features)

    class Shifted(RNNAgent):
        def features(self, inputs):
            return super().features(inputs) + 1.0

    args, inputs = SimpleNamespace(n_actions=3, hidden_dim=8), torch.randn(4, 6, 5)
    for kind in (Doubled, Shifted, FeatureAgent):
        agent = kind(5, args)
        hidden = agent.init_hidden().expand(4, -1)
        outputs, _ = agent.unroll(inputs, hidden)
        with torch.no_grad():
            for t in range(6):
                output, hidden = agent(inputs[:, t], hidden)
                torch.testing.assert_close(output, outputs[:, t])
