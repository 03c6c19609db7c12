"""The memory of place prediction: traces of the places at which opponents were."""

from types import SimpleNamespace

import pytest
import torch
from omarl.modules.compiled import kernels
from omarl.modules.unrolling import unroll_rows
from omarl.opponent_models.place_traces import KERNELS, PlaceTraces, probabilities

DECAYS = (0.0, 0.5, 0.9)


@pytest.fixture
def traces():
    torch.manual_seed(1)
    return PlaceTraces(5, SimpleNamespace(hidden_dim=8), n_slots=2, n_places=3, decays=DECAYS)


def places_now(traces, inputs):
    """[..., M * C]"""
    return traces.present(inputs).softmax(dim=-1).flatten(-2)


def test_state_is_the_discounted_sum_of_the_places_of_all_steps(traces):
    inputs = torch.randn(4, 7, 5)
    with torch.no_grad():
        features, last = traces.unroll(inputs, traces.init_hidden().expand(4, -1))
        now = places_now(traces, inputs)  # [4, 7, 6]
    for k, decay in enumerate(DECAYS):
        wanted = sum(decay ** (6 - t) * now[:, t] for t in range(7))
        torch.testing.assert_close(last.view(4, 3, 6)[:, k], wanted)
        torch.testing.assert_close(features[:, -1, 5:].view(4, 3, 6)[:, k], wanted * (1 - decay**2) ** 0.5)
    assert torch.equal(features[..., :5], inputs)


def test_unroll_equals_single_steps_and_restarts_where_episodes_begin(traces):
    inputs, begins = torch.randn(4, 7, 5), torch.zeros(4, 7, 1)
    begins[0, 3] = begins[1, 1] = begins[1, 5] = begins[2, 0] = 1
    carry = torch.rand(4, traces.state_size)
    with torch.no_grad():
        found, hidden = unroll_rows(traces, inputs, carry, begins), carry
        for t in range(7):
            fresh = (begins[:, t] > 0) & torch.tensor(t > 0)  # at step 0 the carry is already the episode's
            features, hidden = traces.step(inputs[:, t], torch.where(fresh, traces.init_hidden(), hidden))
            torch.testing.assert_close(found[:, t], features)


def test_compiled_traces_equal_those_of_torch(traces, monkeypatch):
    inputs, begins, carry = torch.randn(4, 7, 5), torch.rand(4, 7) < 0.3, torch.rand(4, traces.state_size)
    assert kernels(KERNELS) is not None
    found = traces.unroll(inputs, carry, begins)
    monkeypatch.setattr("omarl.opponent_models.place_traces.is_compiled", lambda name, values: False)
    for ours, theirs in zip(found, traces.unroll(inputs, carry, begins), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_gradient_passes_through_the_memory(traces):
    inputs = torch.randn(4, 7, 5)
    features, last = traces.unroll(inputs, traces.init_hidden().expand(4, -1))
    assert not features.requires_grad and not last.requires_grad and traces.present(inputs).requires_grad


def test_independent_places_give_traces_of_one_scale(traces):
    """``scale`` divides by the standard deviation that a decay has for independent inputs of variance 1."""
    torch.manual_seed(0)
    noise, state = torch.randn(400, 200), torch.zeros(400, 3)
    for t in range(200):
        state = state * torch.tensor(DECAYS) + noise[:, t, None]
    scaled = state * traces.scale
    assert scaled.std(dim=0).sub(1).abs().max() < 0.12


def test_without_decays_there_is_no_memory():
    traces = PlaceTraces(5, SimpleNamespace(hidden_dim=8), n_slots=1, n_places=3, decays=())
    inputs = torch.randn(2, 4, 5)
    features, last = traces.unroll(inputs, traces.init_hidden().expand(2, -1))
    assert last.shape == (2, 0)
    torch.testing.assert_close(features[:, 3], traces.step(inputs[:, 3], last)[0])


def test_no_number_is_so_small_that_processors_are_slow(traces, monkeypatch):
    """Numbers below 1e-38 are not normal: decayed traces, and probabilities of confident networks."""
    least = torch.finfo(torch.float32).tiny
    with torch.no_grad():
        traces.now2.bias[0] = traces.now2.bias[3] = 90.0  # exp(-90) is not normal
    inputs, carry = torch.randn(2, 400, 5), torch.ones(2, traces.state_size)
    for compiled in (True, False):
        monkeypatch.setattr("omarl.opponent_models.place_traces.is_compiled", lambda *given, is_it=compiled: is_it)
        features, last = traces.unroll(inputs, carry)
        for numbers in (features[..., 5:], last):
            assert ((numbers == 0) | (numbers >= least)).all() and (numbers == 0).any() and (numbers > 0).any()
    assert sorted(set(probabilities(torch.tensor([0.0, -90.0])).tolist())) == [0.0, 1.0]


def test_nan_remains_nan(traces):
    inputs = torch.randn(1, 2, 5)
    inputs[0, 0, 0] = float("nan")
    assert traces.unroll(inputs, traces.init_hidden())[0][0, 1, 5:].isnan().any()
