"""Nats of mixed features in closed form."""

import math

import pytest
import torch
from omarl.components.feature_types import infer, parse
from omarl.components.likelihood import Likelihood
from omarl.components.normalisers import RunningMeanStd


def likelihood_of(states, types=None):
    normaliser = RunningMeanStd(states.shape[1])
    normaliser.update(states)
    return Likelihood(types or infer(states), normaliser), normaliser


def mixed_states(rows=400):
    generator = torch.Generator().manual_seed(0)
    group = torch.nn.functional.one_hot(torch.randint(0, 3, (rows,), generator=generator), 3).float()
    bit = (torch.rand(rows, 1, generator=generator) < 0.1).float()
    return torch.cat([torch.randn(rows, 1, generator=generator) * 3 + 5, bit, group, torch.ones(rows, 1)], dim=1)


def test_an_output_of_zero_costs_the_entropy_of_the_marginals():
    states = mixed_states()
    likelihood, normaliser = likelihood_of(states)
    inputs = normaliser.normalise(states)
    nats = likelihood.nll(torch.zeros_like(states), states, inputs).mean()
    p = states.mean(dim=0)
    bit = -(p[1] * p[1].log() + (1 - p[1]) * (1 - p[1]).log())
    group = -(p[2:5] * p[2:5].log()).sum()
    assert float(nats) == pytest.approx(float(0.5 + bit + group), rel=1e-4)
    assert likelihood.null_nats() == pytest.approx(float(nats), rel=1e-4)


def test_nats_of_one_state_by_hand():
    states = mixed_states()
    likelihood, normaliser = likelihood_of(states)
    p = normaliser.mean
    outputs = torch.tensor([[0.5, 1.0, 0.2, -0.4, 0.9, 7.0]])
    state = torch.tensor([[8.0, 1.0, 0.0, 1.0, 0.0, 1.0]])
    z = float((8.0 - p[0]) / normaliser.std[0])

    def logit(i, base):
        return base + float(outputs[0, i]) / math.sqrt(float(p[i] * (1 - p[i])))

    bit = math.log1p(math.exp(-logit(1, math.log(float(p[1] / (1 - p[1]))))))
    scores = [logit(i, math.log(float(p[i]))) for i in (2, 3, 4)]
    group = math.log(sum(map(math.exp, scores))) - scores[1]
    nats = likelihood.nll(outputs, state, normaliser.normalise(state))
    assert float(nats) == pytest.approx(0.5 * (0.5 - z) ** 2 + bit + group, rel=1e-4)
    mean = likelihood.mean(outputs)[0]
    assert float(mean[0]) == pytest.approx(float(p[0] + 0.5 * normaliser.std[0]), rel=1e-5)
    assert float(mean[1]) == pytest.approx(math.exp(-bit), rel=1e-4)
    assert float(mean[2:5].sum()) == pytest.approx(1.0, rel=1e-5)
    assert float(mean[3]) == pytest.approx(math.exp(-group), rel=1e-4)
    assert float(mean[5]) == 1.0  # constant, whatever the output


def test_copies_cost_nothing_and_are_decoded_as_their_source():
    once = mixed_states()[:, 1:5]  # a bit and a one-hot group
    twice = torch.cat([once, once], dim=1)
    one, normaliser = likelihood_of(once)
    two, both = likelihood_of(twice)
    outputs = torch.randn(len(once), 4, generator=torch.Generator().manual_seed(1))
    padded = torch.cat([outputs, torch.full_like(outputs, 9.0)], dim=1)
    expected = one.nll(outputs, once, normaliser.normalise(once))
    assert torch.allclose(two.nll(padded, twice, both.normalise(twice)), expected, rtol=1e-5)
    decoded = two.mean(padded)
    assert torch.allclose(decoded[:, :4], one.mean(outputs), atol=1e-6)
    assert torch.equal(decoded[:, :4], decoded[:, 4:])
    assert two.null_nats() == pytest.approx(one.null_nats(), rel=1e-5)


def test_groups_of_unequal_sizes_stand_side_by_side():
    states = torch.eye(5)[torch.arange(40) % 2]
    states[:, 2:] = torch.eye(3)[torch.arange(40) % 3]
    likelihood, normaliser = likelihood_of(states, parse("categorical(2), categorical(3)", 5))
    mean = likelihood.mean(torch.zeros(1, 5))
    assert torch.allclose(mean[0], normaliser.mean.float(), atol=1e-5)
    assert likelihood.null_nats() == pytest.approx(math.log(2) + math.log(3), rel=1e-2)


def test_accuracy_of_a_rare_bit_is_balanced():
    states = torch.zeros(100, 1)
    states[:5] = 1.0
    likelihood, _ = likelihood_of(states)
    assert likelihood.accuracy(torch.zeros(100, 1), states) == pytest.approx(0.5)  # never decoded
    assert likelihood.accuracy(states * 20 - 1, states) == 1.0


def test_accuracy_of_a_group_is_the_share_of_right_places():
    states = torch.eye(4)[torch.arange(100) % 4]
    likelihood, _ = likelihood_of(states)
    assert likelihood.accuracy(states * 5, states) == 1.0
    always_first = torch.tensor([[5.0, 0.0, 0.0, 0.0]]).expand(100, 4)
    assert likelihood.accuracy(always_first, states) == pytest.approx(0.25)


def test_accuracy_is_not_given_where_everything_is_gaussian():
    likelihood, _ = likelihood_of(torch.randn(50, 3))
    assert math.isnan(likelihood.accuracy(torch.zeros(50, 3), torch.randn(50, 3)))
